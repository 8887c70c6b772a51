//! Rows left behind when the event table was restored to an earlier point: of streams without events, or with other
//! events.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};

use super::Projection;
use super::error::ProjectionError;
use super::follow::MAX_ROUNDS;
use super::model::{ReadModel, RowItem};
use super::state::RowState;
use crate::error::{StoreError, chain};
use crate::scan::Segment;
use crate::stream_id::{StreamId, Version};

/// The page size.
const PAGE: i32 = 1_000;
/// How many rows are processed concurrently.
const IN_FLIGHT: usize = 32;

/// Rows of a segment.
pub(super) struct RowsPage {
    pub rows: Vec<RowItem>,
    /// The position to continue after; `None` at the end of the segment.
    pub next: Option<StreamId>,
}

/// Rows of a page that have no events.
pub(super) struct OrphansPage {
    /// Their keys.
    pub orphans: Vec<StreamId>,
    /// The position to continue after; `None` at the end of the segment.
    pub next: Option<StreamId>,
}

/// The result of a page.
pub(super) struct LoweredPage {
    /// Rows recreated because they differed from their events.
    pub lowered: u64,
    /// Rows without events that were removed.
    pub removed: u64,
    /// The position to continue after; `None` at the end of the segment.
    pub next: Option<StreamId>,
}

/// The result of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowResult {
    Left,
    Lowered,
    Removed,
}

impl<M: ReadModel> Projection<M> {
    /// Finds rows without events in a page of a segment.
    pub(super) async fn orphans(
        &self,
        segment: Segment,
        after: Option<StreamId>,
    ) -> Result<OrphansPage, ProjectionError> {
        let page = self.rows_page(segment, after, &[M::KEY], false).await?;
        let streams: Vec<StreamId> = page.rows.iter().filter_map(Self::stream_of).collect();
        let existing = self.events.existing(&streams).await?;
        let orphans = streams.into_iter().filter(|stream| !existing.contains(stream)).collect();
        Ok(OrphansPage { orphans, next: page.next })
    }

    /// Recreates the rows of a page that differ from their events, and removes those without events.
    ///
    /// Versions do not identify these rows: a restarted stream may grow to the old row's version, and then its events
    /// are added to the old row.
    pub(super) async fn lower_page(
        &self,
        segment: Segment,
        after: Option<StreamId>,
    ) -> Result<LoweredPage, ProjectionError> {
        let RowsPage { rows, next } = self.rows_page(segment, after, &[], false).await?;
        let ends: Vec<RowResult> =
            stream::iter(rows).map(|row| self.lower(row)).buffered(IN_FLIGHT).try_collect().await?;
        let count = |end| ends.iter().filter(|each| **each == end).count() as u64;
        Ok(LoweredPage { lowered: count(RowResult::Lowered), removed: count(RowResult::Removed), next })
    }

    /// Rows of a segment, or only the named attributes.
    pub(super) async fn rows_page(
        &self,
        segment: Segment,
        after: Option<StreamId>,
        attributes: &[&str],
        consistent: bool,
    ) -> Result<RowsPage, ProjectionError> {
        let (segment, total_segments) = segment.parameters();
        let names = attributes.iter().enumerate().map(|(n, name)| (format!("#{n}"), (*name).to_owned()));
        let names = Some(names.collect::<HashMap<_, _>>()).filter(|names| !names.is_empty());
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .set_projection_expression(names.as_ref().map(|names| names.keys().cloned().collect::<Vec<_>>().join(",")))
            .set_expression_attribute_names(names)
            .consistent_read(consistent)
            .set_segment(segment)
            .set_total_segments(total_segments)
            .limit(PAGE)
            .set_exclusive_start_key(after.map(|stream| self.key(&stream)))
            .send()
            .await
            .map_err(ProjectionError::unavailable)?;
        let next = page.last_evaluated_key.as_ref().and_then(Self::stream_of);
        Ok(RowsPage { rows: page.items.unwrap_or_default(), next })
    }

    async fn lower(&self, row: RowItem) -> Result<RowResult, ProjectionError> {
        let Some(stream) = Self::stream_of(&row) else { return Ok(RowResult::Left) };
        if !self.model.includes(&stream) {
            return self.remove_orphan(&stream).await;
        }
        match self.fold(&stream).await {
            Ok(None) => self.remove_orphan(&stream).await,
            Ok(Some((_, made))) if made == row => Ok(RowResult::Left),
            Ok(Some((version, _))) => {
                let made = self.recreate(&stream).await?;
                Ok(if made && !only_lags(row, version) { RowResult::Lowered } else { RowResult::Left })
            }
            // The rebuild has already reported it.
            Err(ProjectionError::Unprojectable { .. }) => Ok(RowResult::Left),
            Err(error) => Err(error),
        }
    }

    /// Removes a row if its stream has no events; recreates it otherwise.
    async fn remove_orphan(&self, stream: &StreamId) -> Result<RowResult, ProjectionError> {
        for _ in 0..MAX_ROUNDS {
            let seen = self.read_row(stream).await?;
            if seen.row.is_empty() {
                return Ok(RowResult::Left);
            }
            if self.has_events(stream).await? {
                return Ok(if self.recreate(stream).await? { RowResult::Lowered } else { RowResult::Left });
            }
            if self.delete(stream, &seen).await?.is_none() {
                return self.recreate(stream).await.map(|_| RowResult::Removed);
            }
        }
        Err(ProjectionError::contended())
    }

    /// Recreates a row from the current events, which the projection took for those of the old row. False if that is
    /// impossible.
    async fn recreate(&self, stream: &StreamId) -> Result<bool, ProjectionError> {
        if !self.model.includes(stream) {
            return Ok(false);
        }
        match self.repair(stream).await {
            Err(error @ ProjectionError::Unprojectable { .. }) => {
                tracing::error!(model = M::NAME, stream_id = %stream, error = chain(&error), "stream not rebuilt");
                Ok(false)
            }
            repaired => Ok(repaired?.is_some()),
        }
    }

    /// Whether a stream has any item, even a broken one, by a consistent read.
    async fn has_events(&self, stream: &StreamId) -> Result<bool, ProjectionError> {
        match self.events.page_after(stream, 0, 1).await {
            Ok(page) => Ok(!page.commits.is_empty() || page.unreadable.is_some()),
            Err(StoreError::Corrupt(_)) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a row only lacks events that the projection is about to add.
fn only_lags(row: RowItem, version: Version) -> bool {
    let state = RowState::of(Some(row));
    state.version < version && state.parked.is_none()
}
