//! Making all rows anew, while the projector goes on.

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::ProjectionError;
use super::follow::{row_of, settle_put};
use super::projector::Projector;
use super::row::RowItem;
use super::streams::{OrderStream, OrderStreams};
use crate::error::chain;
use dynamodb_event_store::{Place, Segment, StoreError, Version};

/// How many rows are written at once.
const IN_FLIGHT: usize = 32;

/// What becomes of rows that have more than the events make of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// They are left as they are: it is the scan that is older.
    Left,
    /// The event table was taken back. After all orders come all rows: those that are not what a strong read of their
    /// events makes are made anew, and those without any event are removed.
    Lowered,
}

/// Where a rebuild of a segment stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Everything up to here is done; the next run goes on after it. None at the start, and when `done`.
    pub token: Option<Place>,
    /// The whole segment is done.
    pub done: bool,
    /// Orders seen, in all runs so far.
    pub orders: u64,
    /// Their commits that can be read: items of the event table.
    pub commits: u64,
    /// The events in them.
    pub events: u64,
    /// Rows written.
    pub written: u64,
    /// Rows that were newer than the scan, and were left. Not counted where rows are lowered: these are looked at again.
    pub newer: u64,
    /// Rows that held what is not in their events, and were made anew. Only where rows are lowered.
    pub lowered: u64,
    /// Rows without events that were removed. Only where rows are lowered.
    pub removed: u64,
    /// Where the pass over the rows stands: up to this key, or at the start. It comes after all orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsUpTo>,
    /// Orders of which no row can be made; the log names each. They stay as they are.
    pub unprojectable: u64,
}

/// A place in the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsUpTo {
    /// The last key that was looked at.
    pub order_id: Option<String>,
}

enum End {
    Written,
    Newer,
    Unprojectable,
}

impl Projector {
    /// Writes the rows of a segment, from where `progress` stands until the segment ends, a page does after the deadline,
    /// or something fails after the first orders.
    ///
    /// One pass: the event table is read once, page by page, and each row written once, without reading it. A row is
    /// written on condition that it is not newer, so the projector may go on beside it, and an interrupted or repeated
    /// rebuild does no harm. Rows of orders that can be projected again are unparked.
    ///
    /// If rows are to be lowered, a pass over all rows of the segment follows, with a read of the events of each. That is
    /// safe beside commands and the projector too, as long as no record reaches it of the events that the table has lost.
    ///
    /// # Errors
    /// See [`RebuildError`], at the first orders: start again from the last progress.
    pub async fn rebuild(
        &self,
        segment: Segment,
        progress: Progress,
        ahead: Ahead,
        deadline: Instant,
    ) -> Result<Progress, RebuildError> {
        let (progress, moved) = match progress.rows {
            None => (self.make_rows(segment, progress, ahead, deadline).await?, true),
            Some(_) => (progress, false),
        };
        match progress.rows {
            None => Ok(progress),
            Some(_) => self.lower_rows(segment, progress, moved, deadline).await,
        }
    }

    /// The rows of all orders of the segment.
    async fn make_rows(
        &self,
        segment: Segment,
        mut progress: Progress,
        ahead: Ahead,
        deadline: Instant,
    ) -> Result<Progress, RebuildError> {
        let mut orders = OrderStreams::after(&self.events, segment, progress.token.clone());
        let (mut waiting, before) = (Vec::new(), progress.orders);
        loop {
            // The next page is read while the rows of the last one are written.
            let (next, ends) = tokio::join!(orders.next_page(), self.write_all(&waiting));
            let written =
                waiting.iter().zip(ends).try_for_each(|(order, end)| end.map(|end| progress.count(order, &end, ahead)));
            // However short the time, a run moves on.
            let moved = progress.orders > before;
            let next = match written.map_err(RebuildError::from).and(next.map_err(RebuildError::from)) {
                // What was done before it is not to be done again.
                Err(error) if moved => {
                    tracing::warn!(error = chain(&error), "the rebuild breaks off");
                    return Ok(progress);
                }
                next => next?,
            };
            match next {
                None => {
                    let rows = (ahead == Ahead::Lowered).then(RowsUpTo::default);
                    return Ok(Progress { token: None, done: rows.is_none(), rows, ..progress });
                }
                Some(_) if moved && Instant::now() >= deadline => return Ok(progress),
                Some(complete) => waiting = complete,
            }
        }
    }

    /// The rows of the segment, those of orders without events among them.
    async fn lower_rows(
        &self,
        segment: Segment,
        mut progress: Progress,
        mut moved: bool,
        deadline: Instant,
    ) -> Result<Progress, RebuildError> {
        loop {
            let after = progress.rows.clone().and_then(|rows| rows.order_id);
            let page = match self.lower_page(segment, after).await {
                // What was done before it is not to be done again.
                Err(error) if moved => {
                    tracing::warn!(error = chain(&error), "the rebuild breaks off");
                    return Ok(progress);
                }
                page => page?,
            };
            moved = true;
            progress.lowered += page.lowered;
            progress.removed += page.removed;
            progress.done = page.next.is_none();
            progress.rows = page.next.map(|order_id| RowsUpTo { order_id: Some(order_id) });
            if progress.done || Instant::now() >= deadline {
                return Ok(progress);
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
        let end = match row {
            Ok(row) => self.put_unless_newer(row).await,
            // A scan sees no moment of the table: what looks wrong in it is read once more, strongly.
            Err(_) => match self.fold(order_id).await {
                Ok(row) => self.put_unless_newer(row).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error @ ProjectionError::Unprojectable { .. }) = end {
            tracing::error!(%order_id, error = chain(&error), "order not rebuilt");
            return Ok(End::Unprojectable);
        }
        end
    }

    async fn put_unless_newer(&self, row: Option<(Version, RowItem)>) -> Result<End, ProjectionError> {
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
            .expression_attribute_values(":version", AttributeValue::N(version.to_string()));
        Ok(settle_put(version, put.send().await)?.map_or(End::Written, |_| End::Newer))
    }
}

impl Progress {
    /// An order is done, and all before it are.
    fn count(&mut self, order: &OrderStream, end: &End, ahead: Ahead) {
        self.token = Some(order.end.clone());
        self.orders += 1;
        let commits = order.commits.as_deref().unwrap_or_default();
        self.commits += commits.len() as u64;
        self.events += commits.iter().map(|commit| commit.events.len() as u64).sum::<u64>();
        match (end, ahead) {
            (End::Written, _) => self.written += 1,
            (End::Newer, Ahead::Left) => self.newer += 1,
            // The pass over the rows looks at it.
            (End::Newer, Ahead::Lowered) => {}
            (End::Unprojectable, _) => self.unprojectable += 1,
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
