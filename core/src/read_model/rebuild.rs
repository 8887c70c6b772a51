//! Making all rows anew, while the projector goes on.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::follow::{ProjectionError, row_of};
use super::projector::Projector;
use super::streams::{OrderStream, OrderStreams};
use crate::event_store::{Place, Segment, StoreError};

/// How many rows are written at once.
const IN_FLIGHT: usize = 32;
/// How long a page may take. A run that has less than this left stops before it.
const PAGE_TIME: Duration = Duration::from_secs(10);

/// Where a rebuild of a segment stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Everything up to here is done; the next run goes on after it. None at the start, and when `done`.
    pub token: Option<Place>,
    /// The whole segment is done.
    pub done: bool,
    /// Orders seen, in all runs so far.
    pub orders: u64,
    /// Their events.
    pub events: u64,
    /// Rows written.
    pub written: u64,
    /// Rows that were newer than the scan, and were left.
    pub newer: u64,
    /// Orders of which no row can be made; the log names each. They stay as they are.
    pub unprojectable: u64,
}

enum End {
    Written,
    Newer,
    Unprojectable,
}

impl Projector {
    /// Writes the rows of a segment, from where `progress` stands until the segment or the time ends.
    ///
    /// One pass: the event table is read once, page by page, and each row written once, without reading it. A row is
    /// written on condition that it is not newer, so the projector may go on beside it, and an interrupted or repeated
    /// rebuild does no harm. Rows of orders that can be projected again are unparked.
    ///
    /// # Errors
    /// [`StoreError`], [`ProjectionError::Unavailable`]: the rows so far are written; start again from the last progress.
    pub async fn rebuild(
        &self,
        segment: Segment,
        mut progress: Progress,
        deadline: Instant,
    ) -> Result<Progress, RebuildError> {
        let mut orders = OrderStreams::after(&self.events, segment, progress.token.clone());
        let mut waiting = Vec::new();
        loop {
            // The next page is read while the rows of the last one are written.
            let (next, ends) = tokio::join!(orders.next_page(), self.write_all(&waiting));
            for (order, end) in waiting.iter().zip(ends) {
                progress.count(order, &end?);
            }
            let moved = waiting.last().map(|order: &OrderStream| order.end.clone());
            // However short the time, a run moves on.
            let stop = moved.is_some() && Instant::now() + PAGE_TIME >= deadline;
            progress.token = moved.or(progress.token);
            match next? {
                None => return Ok(Progress { token: None, done: true, ..progress }),
                Some(_) if stop => return Ok(progress),
                Some(complete) => waiting = complete,
            }
        }
    }

    async fn write_all(&self, orders: &[OrderStream]) -> Vec<Result<End, ProjectionError>> {
        stream::iter(orders).map(|order| self.write(order)).buffered(IN_FLIGHT).collect().await
    }

    async fn write(&self, order: &OrderStream) -> Result<End, ProjectionError> {
        let order_id = order.order_id;
        let row = match &order.commits {
            Ok(commits) => row_of(order_id, commits),
            Err(error) => Err(ProjectionError::unreadable(error.version(), error.to_string())),
        };
        let row = match row {
            Ok(row) => row,
            // A scan sees no moment of the table: what looks wrong in it is read once more, strongly.
            Err(_) => match self.fold(order_id).await {
                Err(error @ ProjectionError::Unprojectable { .. }) => {
                    tracing::error!(%order_id, %error, "order not rebuilt");
                    return Ok(End::Unprojectable);
                }
                row => row?,
            },
        };
        let Some((version, row)) = row else { return Ok(End::Newer) };
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(row))
            // A row that is parked for an event which the scan has not seen yet stays parked.
            .condition_expression(
                "(attribute_not_exists(#version) OR #version <= :version) \
                 AND (attribute_not_exists(#parked) OR #parked.#version <= :version)",
            )
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#parked", "parked")
            .expression_attribute_values(":version", AttributeValue::N(version.to_string()))
            .send()
            .await;
        match put {
            Ok(_) => Ok(End::Written),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(End::Newer)
            }
            Err(error) => Err(ProjectionError::Unavailable(error.into())),
        }
    }
}

impl Progress {
    fn count(&mut self, order: &OrderStream, end: &End) {
        self.orders += 1;
        let last = order.commits.as_ref().ok().and_then(|commits| commits.last());
        self.events += last.map_or(0, |commit| commit.last());
        match end {
            End::Written => self.written += 1,
            End::Newer => self.newer += 1,
            End::Unprojectable => self.unprojectable += 1,
        }
    }
}

/// A rebuild that could not go on. The progress before it holds; the same run again is safe.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The event table could not be read.
    #[error(transparent)]
    Events(#[from] StoreError),
    /// A row could not be written.
    #[error(transparent)]
    Rows(#[from] ProjectionError),
}
