//! The rows that an event table which was taken back leaves behind: of streams that have no event, or have others by now.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};

use super::Projection;
use super::error::ProjectionError;
use super::follow::MAX_ROUNDS;
use super::model::{ReadModel, RowItem};
use super::state::RowState;
use crate::batch_get::MAX_KEYS;
use crate::error::{StoreError, chain};
use crate::scan::Segment;
use crate::stream_id::{StreamId, Version};

/// The most rows of a page.
const PAGE: i32 = 1_000;
/// How many rows are lowered at once.
const IN_FLIGHT: usize = 32;

/// Some rows of a segment.
pub(super) struct RowsPage {
    pub rows: Vec<RowItem>,
    /// Where to go on after; none at the segment's end.
    pub next: Option<StreamId>,
}

/// Those of a page of rows that have no event.
pub(super) struct OrphansPage {
    /// The rows' keys.
    pub orphans: Vec<StreamId>,
    /// Where to go on after; none at the segment's end.
    pub next: Option<StreamId>,
}

/// What a page of rows came to.
pub(super) struct LoweredPage {
    /// Rows that were made anew, since they held what is not in their events.
    pub lowered: u64,
    /// Rows without events that were removed.
    pub removed: u64,
    /// Where to go on after; none at the segment's end.
    pub next: Option<StreamId>,
}

/// What became of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Lowered,
    Removed,
}

impl<M: ReadModel> Projection<M> {
    /// Looks through a page of a segment of the rows.
    pub(super) async fn orphans(
        &self,
        segment: Segment,
        after: Option<StreamId>,
    ) -> Result<OrphansPage, ProjectionError> {
        let page = self.rows_page(segment, after, &[M::KEY], false).await?;
        let streams: Vec<StreamId> = page.rows.iter().filter_map(Self::stream_of).collect();
        let mut orphans = Vec::new();
        for batch in streams.chunks(MAX_KEYS) {
            let existing = self.events.existing(batch).await?;
            orphans.extend(batch.iter().filter(|stream| !existing.contains(*stream)).cloned());
        }
        Ok(OrphansPage { orphans, next: page.next })
    }

    /// Makes the rows of a page what their events are now, and removes those that have none.
    ///
    /// Versions do not tell which rows these are: a stream that is begun again while its old row is still there grows
    /// up to the row's version, and the projection then adds to the old row what comes after it.
    pub(super) async fn lower_page(
        &self,
        segment: Segment,
        after: Option<StreamId>,
    ) -> Result<LoweredPage, ProjectionError> {
        let RowsPage { rows, next } = self.rows_page(segment, after, &[], false).await?;
        let ends: Vec<End> = stream::iter(rows).map(|row| self.lower(row)).buffered(IN_FLIGHT).try_collect().await?;
        let count = |end| ends.iter().filter(|each| **each == end).count() as u64;
        Ok(LoweredPage { lowered: count(End::Lowered), removed: count(End::Removed), next })
    }

    /// Some rows of a segment, or these of their attributes if any are named.
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

    async fn lower(&self, row: RowItem) -> Result<End, ProjectionError> {
        let Some(stream) = Self::stream_of(&row) else { return Ok(End::Left) };
        if !self.model.includes(&stream) {
            return self.remove_orphan(&stream).await;
        }
        match self.fold(&stream).await {
            Ok(None) => self.remove_orphan(&stream).await,
            Ok(Some((_, made))) if made == row => Ok(End::Left),
            Ok(Some((version, _))) => {
                let made = self.make_again(&stream).await?;
                Ok(if made && !is_late(row, version) { End::Lowered } else { End::Left })
            }
            // The rebuild has named it before.
            Err(ProjectionError::Unprojectable { .. }) => Ok(End::Left),
            Err(error) => Err(error),
        }
    }

    /// Removes a row, if its stream has no event at all. If it has, the row is made of these.
    async fn remove_orphan(&self, stream: &StreamId) -> Result<End, ProjectionError> {
        for _ in 0..MAX_ROUNDS {
            let seen = self.read_row(stream).await?;
            if seen.row.is_empty() {
                return Ok(End::Left);
            }
            if self.has_events(stream).await? {
                return Ok(if self.make_again(stream).await? { End::Lowered } else { End::Left });
            }
            if self.delete(stream, &seen).await?.is_none() {
                return self.make_again(stream).await.map(|_| End::Removed);
            }
        }
        Err(ProjectionError::contended())
    }

    /// Makes a row of the events that there are by now: the projection took them for what the old row had. False if no
    /// row can be made of them.
    async fn make_again(&self, stream: &StreamId) -> Result<bool, ProjectionError> {
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

    /// Whether there is anything of a stream, be it broken; read strongly.
    async fn has_events(&self, stream: &StreamId) -> Result<bool, ProjectionError> {
        match self.events.page_after(stream, 0, 1).await {
            Ok(page) => Ok(!page.commits.is_empty() || page.obstacle.is_some()),
            Err(StoreError::Corrupt(_)) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a row only lacks what the projection is about to add.
fn is_late(row: RowItem, version: Version) -> bool {
    let state = RowState::of(Some(row));
    state.version < version && state.parked.is_none()
}
