//! Bringing the row of a stream up to its events.

use super::error::ProjectionError;
use super::model::{ChangeError, CurrentRow, EventOf, ReadModel, RowItem};
use super::state::{Expected, RowState};
use super::write::Written;
use super::{Projection, error::Cause};
use crate::aggregate::Aggregate;
use crate::commit::Commit;
use crate::error::{CommitError, StoreError};
use crate::history::Page;
use crate::stream_id::{StreamId, Version};

/// How often a row may change concurrently before the attempt is given up.
pub(super) const MAX_ROUNDS: usize = 8;
/// The most attributes changed by name. DynamoDB allows 300 operators and 4 KB per expression.
const MAX_CHANGES: usize = 150;

impl<M: ReadModel> Projection<M> {
    /// Applies consecutive commits: with one write and no read, if the row has exactly the events before them and the
    /// model does not need the row.
    pub(super) async fn follow(
        &self,
        stream: &StreamId,
        commits: &[Commit<EventOf<M>>],
    ) -> Result<(), ProjectionError> {
        let (Some(first), Some(last)) = (commits.first(), commits.last().map(Commit::last)) else { return Ok(()) };
        let found = self.patch(stream, commits, Expected::At(first.first - 1)).await?;
        self.continue_to(stream, last, commits, found).await
    }

    /// Brings the row to `version`, or as far as the event store can be read.
    pub(super) async fn bring_to(&self, stream: &StreamId, version: Version) -> Result<(), ProjectionError> {
        let found = self.read_row(stream).await?;
        self.continue_to(stream, version, &[], Some(found)).await
    }

    /// Continues from the row that a write found, until it is at `last` or parked.
    async fn continue_to(
        &self,
        stream: &StreamId,
        last: Version,
        mut commits: &[Commit<EventOf<M>>],
        mut found: Option<RowState>,
    ) -> Result<(), ProjectionError> {
        for _ in 0..MAX_ROUNDS {
            let Some(seen) = found else { return Ok(()) };
            if seen.parked.is_some() || seen.version >= last {
                return Ok(());
            }
            commits = &commits[commits.partition_point(|commit| commit.first <= seen.version)..];
            // A row without a readable version may hold anything.
            let follows = seen.version > 0 || seen.row.is_empty();
            found = match commits.first() {
                Some(next) if follows && next.first == seen.version + 1 => {
                    self.patch(stream, commits, Expected::Seen(&seen)).await?
                }
                _ => self.catch_up(stream, &seen).await?,
            };
        }
        Err(ProjectionError::contended())
    }

    /// Recreates a stream's row from its events and unparks it. Returns the row's version; `None` if the stream has no
    /// events.
    ///
    /// Safe at any time, beside the projection too. Costs a read of the row and of the events, and a write.
    ///
    /// # Errors
    /// See [`ProjectionError`]; the row stays unchanged.
    /// See [`ProjectionError`]; the row stays as it was.
    pub async fn repair(&self, stream: &StreamId) -> Result<Option<Version>, ProjectionError> {
        for _ in 0..MAX_ROUNDS {
            let seen = self.read_row(stream).await?;
            // Read after the row, so the events cannot be older.
            let Some((version, refolded)) = self.fold(stream).await? else { return Ok(None) };
            let put = self.put(stream, version, refolded, Expected::Unpark(&seen)).await?;
            // A row that was ahead made the projection skip concurrent events, so check again.
            if put.is_none() && seen.version <= version {
                return Ok(Some(version));
            }
        }
        Err(ProjectionError::contended())
    }

    /// The row, by a consistent read.
    pub(super) async fn read_row(&self, stream: &StreamId) -> Result<RowState, ProjectionError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(self.key(stream)));
        let answer = get.consistent_read(true).send().await;
        Ok(RowState::of(answer.map_err(ProjectionError::unavailable)?.item))
    }

    /// Applies commits to the row.
    async fn patch(&self, stream: &StreamId, commits: &[Commit<EventOf<M>>], expected: Expected<'_>) -> Written {
        let change = match self.model.change(stream, commits, expected.before()) {
            Ok(change) => change,
            Err(ChangeError::NeedsRow) if expected.before() == CurrentRow::NotRead => {
                return self.read_row(stream).await.map(Some);
            }
            Err(ChangeError::Unusable) => return self.refold(stream, expected).await,
            Err(no_change) => return Err(rejected_change(commits, no_change)),
        };
        if change.attributes.len() > MAX_CHANGES {
            return self.refold(stream, expected).await;
        }
        self.update(stream, commits.last().map_or(0, Commit::last), change, expected).await
    }

    /// Applies missing commits from the event store; recreates the row if they do not follow it.
    async fn catch_up(&self, stream: &StreamId, seen: &RowState) -> Written {
        if seen.version > 0 {
            match self.events.page_after(stream, seen.version, usize::MAX).await {
                Ok(tail) if !tail.commits.is_empty() => {
                    return then_unreadable(
                        self.patch(stream, &tail.commits, Expected::Seen(seen)).await?,
                        tail.unreadable,
                    );
                }
                Ok(Page { unreadable: Some(unreadable), .. }) => return then_unreadable(None, Some(unreadable)),
                Ok(_) | Err(StoreError::Corrupt(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.refold(stream, Expected::Seen(seen)).await
    }

    /// Replaces the row by one made of all events, or of those before the first unreadable one if the row is not that
    /// far.
    async fn refold(&self, stream: &StreamId, expected: Expected<'_>) -> Written {
        let Page { commits, unreadable, .. } = self.events.page_after(stream, 0, usize::MAX).await?;
        let written = match self.row_of(stream, &commits)? {
            Some((version, row)) if unreadable.is_none() || version > expected.version() => {
                self.put(stream, version, row, expected).await?
            }
            None if unreadable.is_none() => {
                return Err(ProjectionError::corrupt(1, "the event table has no event of this stream"));
            }
            _ => None,
        };
        then_unreadable(written, unreadable)
    }

    /// The row made of all events of a stream, and its version, by a consistent and checked read.
    pub(super) async fn fold(&self, stream: &StreamId) -> Result<Option<(Version, RowItem)>, ProjectionError> {
        self.row_of(stream, &self.events.commits_after(stream, 0).await?)
    }

    /// The row made of all commits of a stream, and its version; `None` without commits.
    pub(super) fn row_of(
        &self,
        stream: &StreamId,
        commits: &[Commit<EventOf<M>>],
    ) -> Result<Option<(Version, RowItem)>, ProjectionError> {
        let Some(last) = commits.last().map(Commit::last) else { return Ok(None) };
        // A scan may pass the position of a commit before that is stored and return the next one.
        let mut next = 1;
        for commit in commits {
            if commit.first != next {
                return Err(ProjectionError::corrupt(next, "a commit is missing"));
            }
            next = commit.last() + 1;
        }
        let mut state = M::Aggregate::default();
        for (version, event) in commits.iter().flat_map(Commit::versioned) {
            state.apply(event).map_err(|error| ProjectionError::corrupt(version, error))?;
        }
        let change = self.model.change(stream, commits, CurrentRow::Missing);
        let change = change.map_err(|no_change| rejected_change(commits, no_change))?;
        let mut row = self.key(stream);
        row.extend(change.attributes.into_iter().filter_map(|(attribute, value)| Some((attribute, value?))));
        row.insert("version".into(), aws_sdk_dynamodb::types::AttributeValue::N(last.to_string()));
        Ok(Some((last, row)))
    }
}

/// The error for a change that the model rejects.
fn rejected_change<E>(commits: &[Commit<E>], no_change: ChangeError) -> ProjectionError {
    let version = match no_change {
        ChangeError::InvalidEvent { version, .. } => version,
        ChangeError::NeedsRow | ChangeError::Unusable => commits.first().map_or(0, |commit| commit.first),
    };
    ProjectionError::corrupt(version, Cause::from(no_change))
}

/// The result of a write up to an unreadable commit: when it is done, the unreadable commit remains.
fn then_unreadable(written: Option<RowState>, unreadable: Option<CommitError>) -> Written {
    match (written, unreadable) {
        (None, Some(unreadable)) => Err(StoreError::from(unreadable).into()),
        (written, _) => Ok(written),
    }
}
