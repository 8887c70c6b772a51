//! Loading a stream backwards, to the newest snapshot or the first version.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_dynamo::Item;

use super::aggregate::Aggregate;
use super::backend::Backend;
use super::commit::{Commit, StoredCommit};
use super::error::{CommitError, CorruptStream, StoreError};
use super::loaded::{Consistency, Loaded, Until};
use super::stream::Stream;
use super::stream_id::{StreamId, Version};
use super::{EventStore, snapshot};

/// The most commits per page; DynamoDB ends a page at 1 MB in any case.
const MAX_PAGE: i32 = 1_000;

/// A gap in the commits that were read.
pub(super) struct Gap {
    missing: Version,
}

impl Gap {
    /// The error for a gap in a consistent read.
    pub fn in_stream(self, id: &StreamId) -> StoreError {
        let why = "a commit is missing".into();
        CorruptStream { stream: id.clone(), version: self.missing, why }.into()
    }
}

impl<A: Aggregate> EventStore<A> {
    /// Loads the whole stream; empty if it does not exist.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn load(&self, id: &StreamId, consistency: Consistency) -> Result<Loaded<A>, StoreError> {
        self.read_stream(id, Until::Head, consistency).await
    }

    /// Loads the stream if it exists: by a stale read, and by a consistent read before it is reported as missing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find(&self, id: &StreamId) -> Result<Option<Loaded<A>>, StoreError> {
        find(self, id).await
    }

    /// The stream at an earlier point, or its current state if it never reached that point: compare the version.
    ///
    /// This is not a [`Loaded`], because nothing can be appended to the past.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn load_until(
        &self,
        id: &StreamId,
        until: Until,
        consistency: Consistency,
    ) -> Result<Stream<A>, StoreError> {
        Ok(self.read_stream(id, until, consistency).await?.stream)
    }

    /// See [`Backend::read`](super::backend::Backend::read).
    pub(super) async fn read_stream(
        &self,
        id: &StreamId,
        until: Until,
        consistency: Consistency,
    ) -> Result<Loaded<A>, StoreError> {
        if consistency == Consistency::Eventual {
            // Pages of an eventually consistent read may come from different replicas, so a gap proves nothing.
            if let Ok(stream) = self.read_back(id, until, consistency).await? {
                return Ok(Loaded { stream, consistency });
            }
        }
        match self.read_back(id, until, Consistency::Strong).await? {
            Ok(stream) => Ok(Loaded { stream, consistency: Consistency::Strong }),
            Err(gap) => Err(gap.in_stream(id)),
        }
    }

    async fn read_back(
        &self,
        id: &StreamId,
        until: Until,
        consistency: Consistency,
    ) -> Result<Result<Stream<A>, Gap>, StoreError> {
        let mut back = Backwards::new(until);
        let mut page = i32::try_from(self.snapshot_every.get()).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let mut start = None;
        loop {
            let output = self.page_back(id, until, consistency, page, start).await?;
            for item in output.items.unwrap_or_default() {
                match back.take(Item::from(item))? {
                    Step::Older => {}
                    Step::Gap(gap) => return Ok(Err(gap)),
                    Step::Base(base) => return back.fold(base).map(Ok),
                }
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                break;
            }
            page = page.saturating_mul(2).min(MAX_PAGE);
        }
        Ok(back.end(id))
    }

    async fn page_back(
        &self,
        id: &StreamId,
        until: Until,
        consistency: Consistency,
        limit: i32,
        start: Option<std::collections::HashMap<String, AttributeValue>>,
    ) -> Result<aws_sdk_dynamodb::operation::query::QueryOutput, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .expression_attribute_values(":stream", AttributeValue::S(id.to_string()))
            .scan_index_forward(false)
            .consistent_read(consistency == Consistency::Strong)
            .limit(limit)
            .set_exclusive_start_key(start);
        let query = match until {
            Until::Version(version) => query
                .key_condition_expression("stream_id = :stream AND version <= :version")
                .expression_attribute_values(":version", AttributeValue::N(version.to_string())),
            Until::Head | Until::Time(_) => query.key_condition_expression("stream_id = :stream"),
        };
        match query.send().await {
            Ok(output) => Ok(output),
            Err(error) => Err(self.failed(error).await),
        }
    }
}

pub(super) async fn find<A: Aggregate>(
    backend: &impl Backend<A>,
    id: &StreamId,
) -> Result<Option<Loaded<A>>, StoreError> {
    let mut loaded = backend.read(id, Until::Head, Consistency::Eventual).await?;
    if loaded.stream.head == 0 && loaded.consistency == Consistency::Eventual {
        loaded = backend.read(id, Until::Head, Consistency::Strong).await?;
    }
    Ok(Some(loaded).filter(|loaded| loaded.stream.head > 0))
}

/// A backward read to the oldest commit needed.
pub(super) struct Backwards {
    until: Until,
    /// The commits to apply to the base, newest first.
    newer: Vec<StoredCommit>,
    /// The version at which the next older commit must end.
    expected_last: Option<Version>,
}

pub(super) enum Step<A: Aggregate> {
    /// Continue with the next older commit.
    Older,
    /// The base to which all newer commits are applied.
    Base(Stream<A>),
    Gap(Gap),
}

impl Backwards {
    pub fn new(until: Until) -> Self {
        Self { until, newer: Vec::new(), expected_last: None }
    }

    pub fn take<A: Aggregate>(&mut self, mut item: Item) -> Result<Step<A>, CommitError> {
        let detached = snapshot::detach(&mut item);
        let mut commit = StoredCommit::from_item(item)?;
        if let Some(missing) = self.expected_last.filter(|last| *last != commit.last()) {
            return Ok(Step::Gap(Gap { missing }));
        }
        let first = commit.version;
        self.expected_last = Some(first - 1);
        let wanted = match self.until {
            Until::Head => commit.events.len(),
            Until::Version(version) => {
                usize::try_from(version.saturating_sub(first)).unwrap_or(usize::MAX).saturating_add(1)
            }
            // All commits before the selected one are included, whatever their times.
            Until::Time(time) if self.newer.is_empty() && commit.recorded_at > time => 0,
            Until::Time(_) => commit.events.len(),
        };
        let whole = wanted >= commit.events.len();
        if let Some(snapshot) = detached.filter(|_| whole)
            && let Some(stream) = snapshot::read(snapshot, &commit)?
        {
            metrics::counter!("EventStoreSnapshotHits").increment(1);
            return Ok(Step::Base(stream));
        }
        commit.events.truncate(wanted);
        let id = commit.stream_id.clone();
        if !commit.events.is_empty() {
            self.newer.push(commit);
        }
        Ok(if first == 1 { Step::Base(Stream::empty(id)) } else { Step::Older })
    }

    /// The result when there is no older commit.
    pub fn end<A: Aggregate>(self, id: &StreamId) -> Result<Stream<A>, Gap> {
        match self.expected_last {
            Some(missing) => Err(Gap { missing }),
            None => Ok(Stream::empty(id.clone())),
        }
    }

    pub fn fold<A: Aggregate>(self, mut stream: Stream<A>) -> Result<Stream<A>, StoreError> {
        for commit in self.newer.into_iter().rev() {
            let commit: Commit<A::Event> = commit.decode::<A>()?;
            stream.apply(&commit)?;
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::testing::{Numbers, commit, time};

    const NEVER: u32 = u32::MAX;

    /// The items of commits with these numbers of events, newest first, with a snapshot at each multiple.
    fn items(commits: &[u64], snapshot_every: u32) -> Vec<Item> {
        let mut stream = Stream::<Numbers>::empty(StreamId::new("numbers"));
        let store = |events: &u64| {
            let commit = commit(stream.head + 1, *events);
            stream.apply(&commit).unwrap();
            let mut item = commit.to_item::<Numbers>().unwrap();
            if snapshot::is_due(&commit, NonZeroU32::new(snapshot_every).unwrap()) {
                snapshot::put(&stream, &mut item).unwrap();
            }
            item
        };
        let mut items: Vec<_> = commits.iter().map(store).collect();
        items.reverse();
        items
    }

    /// The state and the number of items read; for a gap, the missing version.
    fn walk(items: Vec<Item>, until: Until) -> Result<(Vec<u64>, usize), Version> {
        let mut back = Backwards::new(until);
        for (taken, item) in (1..).zip(items) {
            match back.take::<Numbers>(item).unwrap() {
                Step::Older => {}
                Step::Gap(Gap { missing }) => return Err(missing),
                Step::Base(base) => {
                    let stream = back.fold(base).unwrap();
                    assert_eq!(stream.head, stream.state.0.len() as Version);
                    return Ok((stream.state.0, taken));
                }
            }
        }
        Err(back.expected_last.unwrap())
    }

    fn numbers(last: u64) -> Vec<u64> {
        (1..=last).collect()
    }

    #[test]
    fn without_snapshots_a_load_ends_at_the_first_commit() {
        assert_eq!(walk(items(&[1, 3, 2], NEVER), Until::Head), Ok((numbers(6), 3)));
    }

    #[test]
    fn a_load_ends_at_the_newest_snapshot() {
        assert_eq!(walk(items(&[1, 3, 2, 1], 3), Until::Head), Ok((numbers(7), 2)));
        assert_eq!(walk(items(&[1, 3, 2], 3), Until::Head), Ok((numbers(6), 1)));
    }

    #[test]
    fn a_load_until_a_version_may_end_within_a_commit_and_uses_no_later_snapshot() {
        for (version, taken) in [(1, 2), (2, 2), (3, 2), (4, 1), (5, 1), (6, 1)] {
            // The second commit holds versions 2 to 4 and a snapshot; newer commits are not read at all.
            let mut items = items(&[1, 3, 2], 4);
            items.retain(|item| Commit::from_item::<Numbers>(item.clone()).unwrap().first <= version);
            let skipped = 3 - items.len();
            let expected = if version == 1 { 1 } else { taken + usize::from(version > 4) };
            assert_eq!(walk(items, Until::Version(version)), Ok((numbers(version), expected)), "{version}, {skipped}");
        }
    }

    #[test]
    fn a_load_until_the_largest_version_works() {
        assert_eq!(walk(items(&[1, 1], NEVER), Until::Version(Version::MAX)), Ok((numbers(2), 2)));
    }

    #[test]
    fn a_load_until_a_time_includes_whole_commits_up_to_that_time() {
        // The commits are recorded at 1, 2 and 5.
        for (seconds, last) in [(0, 0), (1, 1), (2, 4), (4, 4), (5, 6), (9, 6)] {
            for every in [1, 4, NEVER] {
                let (found, _) = walk(items(&[1, 3, 2], every), Until::Time(time(seconds))).unwrap();
                assert_eq!(found, numbers(last), "{seconds} with a snapshot every {every}");
            }
        }
    }

    #[test]
    fn a_load_until_a_time_includes_all_commits_before_the_selected_one() {
        let mut items = items(&[1, 3, 2], NEVER);
        // The second commit was recorded before the first.
        items[1].insert("recorded_at".to_owned(), serde_dynamo::to_attribute_value(time(0)).unwrap());
        for (seconds, last) in [(-1, 0), (0, 4), (1, 4), (4, 4), (5, 6)] {
            let (found, _) = walk(items.clone(), Until::Time(time(seconds))).unwrap();
            assert_eq!(found, numbers(last), "{seconds}");
        }
    }

    #[test]
    fn a_missing_commit_is_a_gap() {
        for (lost, missing) in [(1, 4), (2, 1)] {
            let mut items = items(&[1, 3, 2], NEVER);
            items.remove(lost);
            assert_eq!(walk(items, Until::Head), Err(missing));
        }
    }
}
