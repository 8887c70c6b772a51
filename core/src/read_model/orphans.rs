//! Rows of orders that have no event: what a table of events that was taken back leaves behind.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, TryStreamExt, stream};

use super::follow::{Expected, MAX_ROUNDS, ProjectionError, settle};
use super::projector::Projector;
use super::row::{RowItem, Standing};
use crate::error::chain;
use crate::event_store::{Segment, StoreError, StreamId};
use crate::order::ids::OrderId;

/// The most rows of a page.
const PAGE: i32 = 1_000;
/// The most streams that are asked for at once.
const BATCH: usize = 100;
/// How many rows are removed at once.
const IN_FLIGHT: usize = 32;

/// Those of a page of rows that have no event.
pub(super) struct OrphansPage {
    /// The rows' keys.
    pub orphans: Vec<String>,
    /// Where to go on after; none at the segment's end.
    pub next: Option<String>,
}

impl Projector {
    /// Looks through a page of a segment of the rows.
    pub(super) async fn orphans(
        &self,
        segment: Segment,
        after: Option<String>,
    ) -> Result<OrphansPage, ProjectionError> {
        let (segment, total_segments) = segment.parameters();
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .projection_expression("order_id")
            .set_segment(segment)
            .set_total_segments(total_segments)
            .limit(PAGE)
            .set_exclusive_start_key(after.map(|order_id| [key(order_id)].into()))
            .send()
            .await
            .map_err(|error| ProjectionError::Unavailable(error.into()))?;
        let order_id = |row: &RowItem| row.get("order_id").and_then(|id| id.as_s().ok()).cloned();
        let rows = page.items.unwrap_or_default();
        let streams: Vec<StreamId> = rows.iter().filter_map(order_id).map(StreamId::new).collect();
        let mut orphans = Vec::new();
        for batch in streams.chunks(BATCH) {
            let existing = self.events.existing(batch).await?;
            orphans.extend(batch.iter().filter(|stream| !existing.contains(*stream)).map(StreamId::to_string));
        }
        Ok(OrphansPage { orphans, next: page.last_evaluated_key.as_ref().and_then(order_id) })
    }

    /// Removes those of a page; answers how many, and where to go on after.
    pub(super) async fn remove_page_of_orphans(
        &self,
        segment: Segment,
        after: Option<String>,
    ) -> Result<(u64, Option<String>), ProjectionError> {
        let page = self.orphans(segment, after).await?;
        let removals = stream::iter(&page.orphans).map(|order_id| self.remove_orphan(order_id)).buffered(IN_FLIGHT);
        let removed: Vec<bool> = removals.try_collect().await?;
        Ok((removed.into_iter().map(u64::from).sum(), page.next))
    }

    /// Removes a row, if its order has no event at all. False if it stays.
    async fn remove_orphan(&self, order_id: &str) -> Result<bool, ProjectionError> {
        for _ in 0..MAX_ROUNDS {
            let get = self.client.get_item().table_name(&self.table).set_key(Some([key(order_id)].into()));
            let row = get.consistent_read(true).send().await;
            let Some(row) = row.map_err(|error| ProjectionError::Unavailable(error.into()))?.item else {
                return Ok(false);
            };
            if self.has_events(order_id).await? {
                return Ok(false);
            }
            let seen = Standing::of(Some(row));
            let (condition, version) = Expected::Unpark(&seen).condition();
            let delete = self
                .client
                .delete_item()
                .table_name(&self.table)
                .set_key(Some([key(order_id)].into()))
                .condition_expression(condition)
                .expression_attribute_names("#version", "version")
                .set_expression_attribute_values(version.map(|version| [(":expected".into(), version)].into()));
            let settled = settle(seen.version, delete.send().await, |error| match error {
                DeleteItemError::ConditionalCheckFailedException(failed) => Some(failed),
                _ => None,
            });
            if settled?.is_none() {
                return self.follow_removal(order_id).await.map(|()| true);
            }
        }
        Err(ProjectionError::Unavailable("others wrote the row between all attempts".into()))
    }

    /// Makes the row of an order that was created meanwhile: the projector took its events for what the row had.
    async fn follow_removal(&self, order_id: &str) -> Result<(), ProjectionError> {
        let Ok(order_id) = order_id.parse::<OrderId>() else { return Ok(()) };
        match self.repair(order_id).await {
            Err(error @ ProjectionError::Unprojectable { .. }) => {
                tracing::error!(%order_id, error = chain(&error), "order not rebuilt");
                Ok(())
            }
            repaired => repaired.map(drop),
        }
    }

    /// Whether there is anything of an order, be it broken; read strongly.
    async fn has_events(&self, order_id: &str) -> Result<bool, ProjectionError> {
        match self.events.page_after(&StreamId::new(order_id), 0, 1).await {
            Ok(page) => Ok(!page.commits.is_empty() || page.obstacle.is_some()),
            Err(StoreError::Corrupt(_)) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn key(order_id: impl Into<String>) -> (String, AttributeValue) {
    ("order_id".into(), AttributeValue::S(order_id.into()))
}
