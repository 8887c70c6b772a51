//! Making all rows anew, while the projection goes on.

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

/// How many rows are written at once.
const IN_FLIGHT: usize = 32;

/// What becomes of rows that have more than the events make of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsAhead {
    /// They are left as they are: it is the scan that is older.
    Keep,
    /// The event table was taken back. After all streams come all rows: those that are not what a strong read of their
    /// events makes are made anew, and those without any event are removed.
    Rebuild,
}

/// Where a rebuild of a segment stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RebuildProgress {
    /// Everything up to here is done; the next run goes on after it. None at the start, and when `done`.
    pub token: Option<CommitPosition>,
    /// The whole segment is done.
    pub done: bool,
    /// Streams seen, in all runs so far.
    pub streams: u64,
    /// Their commits that can be read: items of the event table.
    pub commits: u64,
    /// The events in them.
    pub events: u64,
    /// Rows written.
    pub written: u64,
    /// Rows that were right, and were left. Only rows that count are looked at before they are written.
    pub right: u64,
    /// Rows that were newer than the scan, and were left. Not counted where rows are lowered: these are looked at again.
    pub newer: u64,
    /// Rows that held what is not in their events, and were made anew. Only where rows are lowered.
    pub lowered: u64,
    /// Rows without events that were removed. Only where rows are lowered.
    pub removed: u64,
    /// Where the pass over the rows stands: up to this key, or at the start. It comes after all streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowPosition>,
    /// Totals that were not the sum of what the rows count, and were corrected.
    pub corrected: u64,
    /// Totals that were not compared, since they were written meanwhile, or time was up.
    pub unsettled: u64,
    /// All rows are done, and the totals come next: in the first segment, and in one go.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub totals: bool,
    /// Streams of which no row can be made; the log names each. They stay as they are.
    pub unprojectable: u64,
}

/// A place in the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowPosition {
    /// The last row that was looked at.
    pub stream_id: Option<StreamId>,
}

enum End {
    Written,
    Right,
    Newer,
    Unprojectable,
}

impl<M: ReadModel> Projection<M> {
    /// Writes the rows of a segment, from where `progress` stands until the segment ends, a page does after the deadline,
    /// or something fails after the first streams.
    ///
    /// One pass: the event table is read once, page by page, and each row is written once, on condition that it is not
    /// newer: so the projection may go on beside it, and an interrupted or repeated rebuild does no harm. A row that counts
    /// is read before, and written only where it differs. Rows of streams that can be projected again are unparked.
    ///
    /// If rows are to be lowered, a pass over all rows of the segment follows, with a read of the events of each. That is
    /// safe beside commands and the projector too, as long as no record reaches it of the events that the table has lost.
    ///
    /// # Errors
    /// See [`RebuildError`], at the first streams: start again from the last progress.
    pub async fn rebuild(
        &self,
        segment: Segment,
        progress: RebuildProgress,
        ahead: RowsAhead,
        deadline: Instant,
    ) -> Result<RebuildProgress, RebuildError> {
        let (mut progress, mut moved) = (progress, false);
        if progress.rows.is_none() && !progress.totals {
            (progress, moved) = (self.make_rows(segment, progress, ahead, deadline).await?, true);
        }
        if progress.rows.is_some() {
            (progress, moved) = (self.lower_rows(segment, progress, moved, deadline).await?, true);
        }
        let Some(totals) = self.audited_totals(segment).filter(|_| progress.done || progress.totals) else {
            return Ok(progress);
        };
        let before = RebuildProgress { done: false, totals: true, ..progress };
        if moved && Instant::now() >= deadline {
            return Ok(before);
        }
        match self.correct_totals(&totals, before.clone(), deadline).await {
            // What was done before it is not to be done again.
            Err(error) if moved => {
                tracing::warn!(model = M::NAME, error = chain(&error), "the rebuild breaks off");
                Ok(before)
            }
            corrected => corrected,
        }
    }

    /// The totals, which every write of a row keeps at the sum of what the rows count; somebody else may have written there.
    async fn correct_totals(
        &self,
        totals: &Totals,
        progress: RebuildProgress,
        deadline: Instant,
    ) -> Result<RebuildProgress, RebuildError> {
        let audited = self.audit(totals, deadline).await?;
        let (mut corrected, mut unsettled) = (progress.corrected, audited.unsettled);
        for wrong in &audited.wrong {
            tracing::warn!(model = M::NAME, ?wrong, "a total is not the sum of what the rows count");
            match &self.totals {
                Some(transactions) if transactions.correct(&self.client, wrong).await? => corrected += 1,
                _ => unsettled += 1,
            }
        }
        Ok(RebuildProgress { done: true, totals: false, corrected, unsettled, ..progress })
    }

    /// The rows of all streams of the segment.
    async fn make_rows(
        &self,
        segment: Segment,
        mut progress: RebuildProgress,
        ahead: RowsAhead,
        deadline: Instant,
    ) -> Result<RebuildProgress, RebuildError> {
        let mut streams = WholeStreams::after(&self.events, &self.model, segment, progress.token.clone());
        let (mut waiting, before) = (Vec::new(), progress.streams);
        loop {
            // The next page is read while the rows of the last one are written.
            let (next, ends) = tokio::join!(streams.next_page(), self.write_all(&waiting));
            let written =
                waiting.iter().zip(ends).try_for_each(|(each, end)| end.map(|end| progress.count(each, &end, ahead)));
            // However short the time, a run moves on.
            let moved = progress.streams > before;
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
                    let rows = (ahead == RowsAhead::Rebuild).then(RowPosition::default);
                    return Ok(RebuildProgress { token: None, done: rows.is_none(), rows, ..progress });
                }
                Some(_) if moved && Instant::now() >= deadline => return Ok(progress),
                Some(complete) => waiting = complete,
            }
        }
    }

    /// The rows of the segment, those of streams without events among them.
    async fn lower_rows(
        &self,
        segment: Segment,
        mut progress: RebuildProgress,
        mut moved: bool,
        deadline: Instant,
    ) -> Result<RebuildProgress, RebuildError> {
        loop {
            let after = progress.rows.clone().and_then(|rows| rows.stream_id);
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
            progress.rows = page.next.map(|stream| RowPosition { stream_id: Some(stream) });
            if progress.done || Instant::now() >= deadline {
                return Ok(progress);
            }
        }
    }

    async fn write_all(&self, streams: &[WholeStream<EventOf<M>>]) -> Vec<Result<End, ProjectionError>> {
        stream::iter(streams).map(|each| self.write_row(each)).buffered(IN_FLIGHT).collect().await
    }

    async fn write_row(&self, whole: &WholeStream<EventOf<M>>) -> Result<End, ProjectionError> {
        let stream = &whole.stream;
        let row = match &whole.commits {
            Ok(commits) => self.row_of(stream, commits),
            Err(error) => Err(ProjectionError::unreadable(error.version(), error.to_string())),
        };
        let end = match row {
            Ok(row) => self.put_unless_newer(stream, row).await,
            // A scan sees no moment of the table: what looks wrong in it is read once more, strongly.
            Err(_) => match self.fold(stream).await {
                Ok(row) => self.put_unless_newer(stream, row).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error @ ProjectionError::Unprojectable { .. }) = end {
            tracing::error!(model = M::NAME, stream_id = %stream, error = chain(&error), "stream not rebuilt");
            return Ok(End::Unprojectable);
        }
        end
    }

    /// Writes a row, unless there is one that has more, or is parked for an event which the scan has not seen yet.
    async fn put_unless_newer(
        &self,
        stream: &StreamId,
        row: Option<(Version, RowItem)>,
    ) -> Result<End, ProjectionError> {
        let Some((version, row)) = row else { return Ok(End::Newer) };
        if self.totals.is_none() {
            let put = self.put(stream, version, row, Expected::NotAheadOf(version)).await?;
            return Ok(put.map_or(End::Written, |_| End::Newer));
        }
        for _ in 0..MAX_ROUNDS {
            // What the totals change by depends on what the row counted before.
            let seen = self.read_row(stream).await?;
            if seen.is_ahead_of(version) {
                return Ok(End::Newer);
            }
            if seen.row == row {
                return Ok(End::Right);
            }
            if self.put(stream, version, row.clone(), Expected::Replace(&seen)).await?.is_none() {
                return Ok(End::Written);
            }
        }
        Err(ProjectionError::contended())
    }
}

impl RebuildProgress {
    /// A stream is done, and all before it are.
    fn count<E>(&mut self, whole: &WholeStream<E>, end: &End, ahead: RowsAhead) {
        self.token = Some(whole.end.clone());
        self.streams += 1;
        let commits = whole.commits.as_deref().unwrap_or_default();
        self.commits += commits.len() as u64;
        self.events += commits.iter().map(|commit| commit.events.len() as u64).sum::<u64>();
        match (end, ahead) {
            (End::Written, _) => self.written += 1,
            (End::Right, _) => self.right += 1,
            (End::Newer, RowsAhead::Keep) => self.newer += 1,
            // The pass over the rows looks at it.
            (End::Newer, RowsAhead::Rebuild) => {}
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
