//! Recreating all rows while the projection continues.

use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Projection;
use super::error::ProjectionError;
use super::follow::MAX_ROUNDS;
use super::model::{EventOf, ReadModel, RowItem};
use super::state::Expected;
use super::streams::{WholeStream, WholeStreams};
use super::totals::Totals;
use crate::error::{StoreError, chain};
use crate::scan::{CommitPosition, Segment};
use crate::stream_id::{StreamId, Version};

/// How many rows are written concurrently.
const IN_FLIGHT: usize = 32;

/// How rows that are newer than the scanned events are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildMode {
    /// They stay: the projection continues, and the scan is older.
    Live,
    /// For a restored event table: after all streams, every row is compared with a consistent read of its events. Rows
    /// that differ are recreated, rows without events removed.
    AfterRestore,
}

/// The progress of rebuilding a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RebuildProgress {
    /// The position to continue after. `None` at the start, and when `done`.
    pub token: Option<CommitPosition>,
    /// Whether the whole segment is done.
    pub done: bool,
    /// Streams seen, in all runs so far.
    pub streams: u64,
    /// Their readable commits.
    pub commits: u64,
    /// Their events.
    pub events: u64,
    /// Rows written.
    pub written: u64,
    /// Rows that were correct. Only rows that count are read before they are written.
    pub right: u64,
    /// Rows that were newer than the scan. Not counted with [`RebuildMode::AfterRestore`], which checks them again.
    pub newer: u64,
    /// Rows recreated because they differed from their events. Only with [`RebuildMode::AfterRestore`].
    pub lowered: u64,
    /// Rows without events that were removed. Only with [`RebuildMode::AfterRestore`].
    pub removed: u64,
    /// The position in the pass over the rows, which follows all streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowPosition>,
    /// Totals that differed from the sum of the rows' counts and were corrected.
    pub corrected: u64,
    /// Totals that were not compared, because they were being written or the deadline passed.
    pub unsettled: u64,
    /// Whether all rows are done and only the totals remain, in the first segment.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub totals: bool,
    /// Streams that cannot be projected. The log names each; their rows stay unchanged.
    pub unprojectable: u64,
}

/// A position in the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowPosition {
    /// The last row that was checked.
    pub stream_id: Option<StreamId>,
}

enum RowResult {
    Written,
    Right,
    Newer,
    Unprojectable,
}

impl<M: ReadModel> Projection<M> {
    /// Rebuilds the rows of a segment, from `progress` until the end of the segment, the first page after the deadline,
    /// or an error after the first streams.
    ///
    /// The event table is read once, page by page. Each row is written once, on condition that it is not newer. So the
    /// projection may continue, and the run can be interrupted and repeated. A row that counts is read first and only
    /// written if it differs. Rows of streams that can be projected again are unparked.
    ///
    /// With [`RebuildMode::AfterRestore`], a pass over all rows of the segment follows, with a read of each row's events. That
    /// is safe beside commands and the projection, as long as no stream records of lost events arrive.
    ///
    /// # Errors
    /// See [`RebuildError`], at the first streams: start again from the last progress.
    pub async fn rebuild(
        &self,
        segment: Segment,
        progress: RebuildProgress,
        mode: RebuildMode,
        deadline: Instant,
    ) -> Result<RebuildProgress, RebuildError> {
        let (mut progress, mut progressed) = (progress, false);
        if progress.rows.is_none() && !progress.totals {
            (progress, progressed) = (self.write_rows(segment, progress, mode, deadline).await?, true);
        }
        if progress.rows.is_some() {
            (progress, progressed) = (self.recreate_rows_ahead(segment, progress, progressed, deadline).await?, true);
        }
        let Some(totals) = self.audited_totals(segment).filter(|_| progress.done || progress.totals) else {
            return Ok(progress);
        };
        let before = RebuildProgress { done: false, totals: true, ..progress };
        if progressed && Instant::now() >= deadline {
            return Ok(before);
        }
        match self.correct_totals(&totals, before.clone(), deadline).await {
            // Completed work must not be repeated.
            Err(error) if progressed => {
                tracing::warn!(model = M::NAME, error = chain(&error), "rebuild interrupted");
                Ok(before)
            }
            corrected => corrected,
        }
    }

    /// Corrects totals that differ from the sum of the rows' counts, because something else wrote to them.
    async fn correct_totals(
        &self,
        totals: &Totals,
        progress: RebuildProgress,
        deadline: Instant,
    ) -> Result<RebuildProgress, RebuildError> {
        let audited = self.audit(totals, deadline).await?;
        let (mut corrected, mut unsettled) = (progress.corrected, audited.unsettled);
        for wrong in &audited.wrong {
            tracing::warn!(model = M::NAME, ?wrong, "a total differs from the sum of its rows");
            match &self.totals {
                Some(transactions) if transactions.correct(&self.client, wrong).await? => corrected += 1,
                _ => unsettled += 1,
            }
        }
        Ok(RebuildProgress { done: true, totals: false, corrected, unsettled, ..progress })
    }

    /// Writes the rows of all streams of the segment.
    async fn write_rows(
        &self,
        segment: Segment,
        mut progress: RebuildProgress,
        mode: RebuildMode,
        deadline: Instant,
    ) -> Result<RebuildProgress, RebuildError> {
        let mut streams = WholeStreams::after(&self.events, &self.model, segment, progress.token.clone());
        let (mut waiting, before) = (Vec::new(), progress.streams);
        loop {
            // The next page is read while the rows of the last one are written.
            let (next, ends) = tokio::join!(streams.next_page(), self.write_all(&waiting));
            let written =
                waiting.iter().zip(ends).try_for_each(|(each, end)| end.map(|end| progress.count(each, &end, mode)));
            // Every run makes progress, however short its time.
            let progressed = progress.streams > before;
            let next = match written.map_err(RebuildError::from).and(next.map_err(RebuildError::from)) {
                // Completed work must not be repeated.
                Err(error) if progressed => {
                    tracing::warn!(error = chain(&error), "rebuild interrupted");
                    return Ok(progress);
                }
                next => next?,
            };
            match next {
                None => {
                    let rows = (mode == RebuildMode::AfterRestore).then(RowPosition::default);
                    return Ok(RebuildProgress { token: None, done: rows.is_none(), rows, ..progress });
                }
                Some(_) if progressed && Instant::now() >= deadline => return Ok(progress),
                Some(complete) => waiting = complete,
            }
        }
    }

    /// Compares the rows of the segment with their events, including rows without events.
    async fn recreate_rows_ahead(
        &self,
        segment: Segment,
        mut progress: RebuildProgress,
        mut progressed: bool,
        deadline: Instant,
    ) -> Result<RebuildProgress, RebuildError> {
        loop {
            let after = progress.rows.clone().and_then(|rows| rows.stream_id);
            let page = match self.lower_page(segment, after).await {
                // Completed work must not be repeated.
                Err(error) if progressed => {
                    tracing::warn!(error = chain(&error), "rebuild interrupted");
                    return Ok(progress);
                }
                page => page?,
            };
            progressed = true;
            progress.lowered += page.lowered;
            progress.removed += page.removed;
            progress.done = page.next.is_none();
            progress.rows = page.next.map(|stream| RowPosition { stream_id: Some(stream) });
            if progress.done || Instant::now() >= deadline {
                return Ok(progress);
            }
        }
    }

    async fn write_all(&self, streams: &[WholeStream<EventOf<M>>]) -> Vec<Result<RowResult, ProjectionError>> {
        stream::iter(streams).map(|each| self.write_row(each)).buffered(IN_FLIGHT).collect().await
    }

    async fn write_row(&self, whole: &WholeStream<EventOf<M>>) -> Result<RowResult, ProjectionError> {
        let stream = &whole.stream;
        let row = match &whole.commits {
            Ok(commits) => self.row_of(stream, commits),
            Err(error) => Err(ProjectionError::unreadable(error.version(), error.to_string())),
        };
        let end = match row {
            Ok(row) => self.put_unless_newer(stream, row).await,
            // A scan is not a snapshot: what looks wrong is read again consistently.
            Err(_) => match self.fold(stream).await {
                Ok(row) => self.put_unless_newer(stream, row).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error @ ProjectionError::Unprojectable { .. }) = end {
            tracing::error!(model = M::NAME, stream_id = %stream, error = chain(&error), "stream not rebuilt");
            return Ok(RowResult::Unprojectable);
        }
        end
    }

    /// Writes a row, unless the existing one is newer, or parked for an event that the scan has not seen yet.
    async fn put_unless_newer(
        &self,
        stream: &StreamId,
        row: Option<(Version, RowItem)>,
    ) -> Result<RowResult, ProjectionError> {
        let Some((version, row)) = row else { return Ok(RowResult::Newer) };
        if self.totals.is_none() {
            let put = self.put(stream, version, row, Expected::NotAheadOf(version)).await?;
            return Ok(put.map_or(RowResult::Written, |_| RowResult::Newer));
        }
        for _ in 0..MAX_ROUNDS {
            // The change of the totals depends on what the row counted before.
            let seen = self.read_row(stream).await?;
            if seen.is_ahead_of(version) {
                return Ok(RowResult::Newer);
            }
            if seen.row == row {
                return Ok(RowResult::Right);
            }
            if self.put(stream, version, row.clone(), Expected::Replace(&seen)).await?.is_none() {
                return Ok(RowResult::Written);
            }
        }
        Err(ProjectionError::contended())
    }
}

impl RebuildProgress {
    /// Counts a finished stream.
    fn count<E>(&mut self, whole: &WholeStream<E>, end: &RowResult, mode: RebuildMode) {
        self.token = Some(whole.end.clone());
        self.streams += 1;
        let commits = whole.commits.as_deref().unwrap_or_default();
        self.commits += commits.len() as u64;
        self.events += commits.iter().map(|commit| commit.events.len() as u64).sum::<u64>();
        match (end, mode) {
            (RowResult::Written, _) => self.written += 1,
            (RowResult::Right, _) => self.right += 1,
            (RowResult::Newer, RebuildMode::Live) => self.newer += 1,
            // The pass over the rows checks it.
            (RowResult::Newer, RebuildMode::AfterRestore) => {}
            (RowResult::Unprojectable, _) => self.unprojectable += 1,
        }
    }
}

/// A rebuild was interrupted. The last progress is valid; the run can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The event table could not be read.
    #[error(transparent)]
    Events(#[from] StoreError),
    /// A row could not be written.
    #[error(transparent)]
    Rows(#[from] ProjectionError),
}
