//! The rows that an event table which was taken back leaves behind: of orders that have no event, or have others by now.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, TryStreamExt, stream};

use super::error::ProjectionError;
use super::follow::{Expected, MAX_ROUNDS, settle};
use super::projector::Projector;
use super::row::{RowItem, Standing};
use crate::domain::ids::OrderId;
use crate::error::chain;
use dynamodb_event_store::{Segment, StoreError, StreamId, Version};

/// The most rows of a page.
const PAGE: i32 = 1_000;
/// The most streams that are asked for at once.
const BATCH: usize = 100;
/// How many rows are lowered at once.
const IN_FLIGHT: usize = 32;

/// Some rows of a segment.
struct RowsPage {
    rows: Vec<RowItem>,
    /// Where to go on after; none at the segment's end.
    next: Option<String>,
}

/// Those of a page of rows that have no event.
pub(super) struct OrphansPage {
    /// The rows' keys.
    pub orphans: Vec<String>,
    /// Where to go on after; none at the segment's end.
    pub next: Option<String>,
}

/// What a page of rows came to.
pub(super) struct LoweredPage {
    /// Rows that were made anew, since they held what is not in their events.
    pub lowered: u64,
    /// Rows without events that were removed.
    pub removed: u64,
    /// Where to go on after; none at the segment's end.
    pub next: Option<String>,
}

/// What became of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Lowered,
    Removed,
}

impl Projector {
    /// Looks through a page of a segment of the rows.
    pub(super) async fn orphans(
        &self,
        segment: Segment,
        after: Option<String>,
    ) -> Result<OrphansPage, ProjectionError> {
        let page = self.rows_page(segment, after, Some("order_id")).await?;
        let streams: Vec<StreamId> = page.rows.iter().filter_map(id_of).map(StreamId::new).collect();
        let mut orphans = Vec::new();
        for batch in streams.chunks(BATCH) {
            let existing = self.events.existing(batch).await?;
            orphans.extend(batch.iter().filter(|stream| !existing.contains(*stream)).map(StreamId::to_string));
        }
        Ok(OrphansPage { orphans, next: page.next })
    }

    /// Makes the rows of a page what their events are now, and removes those that have none.
    ///
    /// Versions do not tell which rows these are: an order that is created again while its old row is still there grows
    /// up to the row's version, and the projector then adds to the old row what comes after it.
    pub(super) async fn lower_page(
        &self,
        segment: Segment,
        after: Option<String>,
    ) -> Result<LoweredPage, ProjectionError> {
        let RowsPage { rows, next } = self.rows_page(segment, after, None).await?;
        let ends: Vec<End> = stream::iter(rows).map(|row| self.lower(row)).buffered(IN_FLIGHT).try_collect().await?;
        let count = |end| ends.iter().filter(|each| **each == end).count() as u64;
        Ok(LoweredPage { lowered: count(End::Lowered), removed: count(End::Removed), next })
    }

    async fn rows_page(
        &self,
        segment: Segment,
        after: Option<String>,
        attributes: Option<&str>,
    ) -> Result<RowsPage, ProjectionError> {
        let (segment, total_segments) = segment.parameters();
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .set_projection_expression(attributes.map(str::to_owned))
            .set_segment(segment)
            .set_total_segments(total_segments)
            .limit(PAGE)
            .set_exclusive_start_key(after.map(|order_id| [key(order_id)].into()))
            .send()
            .await
            .map_err(|error| ProjectionError::Unavailable(error.into()))?;
        let next = page.last_evaluated_key.as_ref().and_then(id_of);
        Ok(RowsPage { rows: page.items.unwrap_or_default(), next })
    }

    async fn lower(&self, row: RowItem) -> Result<End, ProjectionError> {
        let Some(id) = id_of(&row) else { return Ok(End::Left) };
        // Streams have one spelling; a row whose key has another one is of no order.
        let Some(order_id) = id.parse().ok().filter(|order_id: &OrderId| order_id.to_string() == id) else {
            return self.remove_orphan(&id).await;
        };
        match self.fold(order_id).await {
            Ok(None) => self.remove_orphan(&id).await,
            Ok(Some((_, made))) if made == row => Ok(End::Left),
            Ok(Some((version, _))) => {
                let made = self.make_again(&id).await?;
                Ok(if made && !is_late(row, version) { End::Lowered } else { End::Left })
            }
            // The rebuild has named it before.
            Err(ProjectionError::Unprojectable { .. }) => Ok(End::Left),
            Err(error) => Err(error),
        }
    }

    /// Removes a row, if its order has no event at all. If it has, the row is made of these.
    async fn remove_orphan(&self, order_id: &str) -> Result<End, ProjectionError> {
        for _ in 0..MAX_ROUNDS {
            let get = self.client.get_item().table_name(&self.table).set_key(Some([key(order_id)].into()));
            let row = get.consistent_read(true).send().await;
            let Some(row) = row.map_err(|error| ProjectionError::Unavailable(error.into()))?.item else {
                return Ok(End::Left);
            };
            if self.has_events(order_id).await? {
                return Ok(if self.make_again(order_id).await? { End::Lowered } else { End::Left });
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
                return self.make_again(order_id).await.map(|_| End::Removed);
            }
        }
        Err(ProjectionError::Unavailable("others wrote the row between all attempts".into()))
    }

    /// Makes a row of the events that there are by now: the projector took them for what the old row had. False if no
    /// row can be made of them.
    async fn make_again(&self, order_id: &str) -> Result<bool, ProjectionError> {
        let Ok(order_id) = order_id.parse::<OrderId>() else { return Ok(false) };
        match self.repair(order_id).await {
            Err(error @ ProjectionError::Unprojectable { .. }) => {
                tracing::error!(%order_id, error = chain(&error), "order not rebuilt");
                Ok(false)
            }
            repaired => Ok(repaired?.is_some()),
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

/// Whether a row only lacks what the projector is about to add.
fn is_late(row: RowItem, version: Version) -> bool {
    let standing = Standing::of(Some(row));
    standing.version < version && !standing.parked
}

fn id_of(row: &RowItem) -> Option<String> {
    row.get("order_id").and_then(|id| id.as_s().ok()).cloned()
}

fn key(order_id: impl Into<String>) -> (String, AttributeValue) {
    ("order_id".into(), AttributeValue::S(order_id.into()))
}
