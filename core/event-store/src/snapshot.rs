//! Snapshots: the state after a commit, stored in the commit's item.
//!
//! A snapshot is an optimization. It may be missing, outdated or malformed, and is then ignored. Because it is atomic
//! with its events, it can neither run ahead of them nor be applied twice.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_dynamo::{AttributeValue, Item};

use super::aggregate::Aggregate;
use super::commit::{Commit, StoredCommit};
use super::error::CommitError;
use super::recent_keyed_commits::RecentKeyedCommits;
use super::stream::Stream;

/// The schema of the store's own part. Raise it when [`Snapshot`] changes.
const STORE_SCHEMA: u32 = 1;

const SNAPSHOT: &str = "snapshot";
/// Store schema, state schema and aggregate name: `1.7.numbers`. The first snapshots had no name.
const SCHEMA: &str = "snapshot_schema";

#[derive(Serialize, Deserialize)]
#[serde(bound = "A: Aggregate")]
struct Snapshot<A: Aggregate> {
    state: A,
    remembered: RecentKeyedCommits<A::Outcome>,
}

fn schema<A: Aggregate>() -> String {
    format!("{STORE_SCHEMA}.{}.{}", A::SNAPSHOT_SCHEMA, A::NAME)
}

/// Whether `commit` crosses a multiple of `every`. Then a backward load meets a snapshot within `every` items.
pub(super) fn is_due<E>(commit: &Commit<E>, every: NonZeroU32) -> bool {
    let every = u64::from(every.get());
    commit.last() / every > (commit.first - 1) / every
}

/// Adds the snapshot of `stream` to the item of its newest commit.
pub(super) fn put<A: Aggregate>(stream: &Stream<A>, item: &mut Item) -> Result<(), serde_dynamo::Error> {
    let snapshot = Snapshot { state: stream.state.clone(), remembered: stream.recent_keyed_commits.clone() };
    item.insert(SNAPSHOT.into(), serde_dynamo::to_attribute_value(snapshot)?);
    item.insert(SCHEMA.into(), AttributeValue::S(schema::<A>()));
    Ok(())
}

/// A snapshot removed from its item.
pub(super) struct Detached {
    value: AttributeValue,
    schema: AttributeValue,
}

/// Removes the snapshot from an item.
pub(super) fn detach(item: &mut Item) -> Option<Detached> {
    Some(Detached { value: item.remove(SNAPSHOT)?, schema: item.remove(SCHEMA)? })
}

/// The stream from a snapshot, if this program can read it. `commit` is the rest of the item.
///
/// # Errors
/// [`CommitError::Foreign`]: the snapshot is of another aggregate.
pub(super) fn read<A: Aggregate>(snapshot: Detached, commit: &StoredCommit) -> Result<Option<Stream<A>>, CommitError> {
    let AttributeValue::S(schema) = snapshot.schema else { return Ok(None) };
    let Some((own, rest)) = schema.split_once('.') else { return Ok(None) };
    let (state, name) = rest.split_once('.').unwrap_or((rest, A::NAME));
    if own != STORE_SCHEMA.to_string() {
        return Ok(None);
    }
    if name != A::NAME {
        let (stream, version, found) = (commit.stream_id.to_string(), commit.version, name.to_owned());
        return Err(CommitError::Foreign { stream, version, found, expected: A::NAME });
    }
    if state != A::SNAPSHOT_SCHEMA.to_string() {
        return Ok(None);
    }
    let (id, head) = (commit.stream_id.clone(), commit.last());
    let snapshot = serde_dynamo::from_attribute_value(snapshot.value)
        .inspect_err(|error| tracing::warn!(stream_id = %id, version = head, %error, "snapshot ignored"));
    let stream = |Snapshot { state, remembered }| Stream {
        id,
        state,
        head,
        recorded_at: Some(commit.recorded_at),
        trace: commit.metadata.trace(),
        recent_keyed_commits: remembered,
    };
    Ok(snapshot.ok().map(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Numbers, commit};

    fn every(versions: u32) -> NonZeroU32 {
        NonZeroU32::new(versions).unwrap()
    }

    /// A stream of one commit with two events, and its item with a snapshot.
    fn snapshot() -> (Stream<Numbers>, Item) {
        let commit = commit(1, 2);
        let mut stream = Stream::empty(commit.stream.clone());
        stream.apply(&commit).unwrap();
        let mut item = commit.to_item::<Numbers>().unwrap();
        put(&stream, &mut item).unwrap();
        (stream, item)
    }

    fn read_back(mut item: Item) -> Option<Stream<Numbers>> {
        let snapshot = detach(&mut item)?;
        read(snapshot, &StoredCommit::from_item(item).unwrap()).unwrap()
    }

    #[test]
    fn a_snapshot_is_due_when_a_commit_crosses_a_multiple() {
        let due = |first, events, versions| is_due(&commit(first, events), every(versions));
        for (first, events, expected) in
            [(1, 4, false), (1, 5, true), (5, 1, true), (6, 4, false), (6, 5, true), (4, 30, true)]
        {
            assert_eq!(due(first, events, 5), expected, "{events} from {first}");
        }
        assert!((1..50).all(|first| due(first, 1, 1)));
        assert!(!due(1, 9, u32::MAX));
    }

    #[test]
    fn a_snapshot_round_trips() {
        let (stream, item) = snapshot();
        assert_eq!(read_back(item), Some(stream));
    }

    #[test]
    fn an_unreadable_snapshot_is_ignored() {
        let other = |name: &str, value| {
            let mut item = snapshot().1;
            item.insert(name.into(), value);
            read_back(item)
        };
        for schema in ["1.8", "1.8.numbers", "2.7.numbers", "2.7.measures", "7", ""] {
            assert_eq!(other(SCHEMA, AttributeValue::S(schema.into())), None, "{schema}");
        }
        assert_eq!(other(SCHEMA, AttributeValue::Null(true)), None);
        for value in [AttributeValue::S("?".into()), AttributeValue::M([].into()), AttributeValue::Null(true)] {
            assert_eq!(other(SNAPSHOT, value), None);
        }
    }

    /// Numbers read as another aggregate.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Measures(Vec<u64>);

    impl Aggregate for Measures {
        type Event = u64;
        type Outcome = usize;
        type TransitionError = std::convert::Infallible;
        type DecodeError = crate::testing::NotANumber;
        const NAME: &'static str = "measures";
        const SNAPSHOT_SCHEMA: u32 = Numbers::SNAPSHOT_SCHEMA;

        fn apply(&mut self, event: &u64) -> Result<(), Self::TransitionError> {
            self.0.push(*event);
            Ok(())
        }

        fn outcome(&self, events: &[u64]) -> usize {
            events.len()
        }

        fn encode(event: &u64) -> crate::StoredEvent {
            Numbers::encode(event)
        }

        fn decode(stored: crate::StoredEvent) -> Result<u64, Self::DecodeError> {
            Numbers::decode(stored)
        }
    }

    #[test]
    fn a_snapshot_of_another_aggregate_is_an_error_that_names_both() {
        let mut item = snapshot().1;
        let detached = detach(&mut item).unwrap();
        let error = read::<Measures>(detached, &StoredCommit::from_item(item).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "stream numbers belongs to the aggregate `numbers` by its snapshot at version 1, but was read as `measures`"
        );
        assert_eq!(error.version(), 1);
    }

    #[test]
    fn a_snapshot_without_an_aggregate_name_is_read() {
        let (stream, mut item) = snapshot();
        item.insert(SCHEMA.into(), AttributeValue::S("1.7".into()));
        assert_eq!(read_back(item), Some(stream));
    }

    #[test]
    fn a_partial_snapshot_is_removed() {
        let (_, whole) = snapshot();
        for missing in [None, Some(SNAPSHOT), Some(SCHEMA)] {
            let mut item = whole.clone();
            missing.map(|name| item.remove(name));
            assert_eq!(detach(&mut item).is_some(), missing.is_none());
            assert!(!item.contains_key(SNAPSHOT), "only the events remain");
        }
    }
}
