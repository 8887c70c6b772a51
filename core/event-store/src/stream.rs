//! A loaded stream: state, head and recent keyed commits.

use super::aggregate::Aggregate;
use super::commit::Commit;
use super::error::CorruptStream;
use super::recent_keyed_commits::{KeyedCommit, RecentKeyedCommits};
use super::request::Request;
use super::stream_id::{StreamId, Version};
use super::trace_context::TraceContext;
use service_clock::Timestamp;

/// The fold of a stream's commits up to its head.
///
/// The head only comes from a read or a stored commit and cannot be set from outside. That keeps streams free of gaps
/// and overlaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream<A: Aggregate> {
    pub(super) id: StreamId,
    pub(super) state: A,
    pub(super) head: Version,
    pub(super) recorded_at: Option<Timestamp>,
    pub(super) trace: Option<TraceContext>,
    pub(super) recent_keyed_commits: RecentKeyedCommits<A::Outcome>,
}

impl<A: Aggregate> Stream<A> {
    /// The stream before its first commit.
    pub fn empty(id: StreamId) -> Self {
        Self {
            id,
            state: A::default(),
            head: 0,
            recorded_at: None,
            trace: None,
            recent_keyed_commits: RecentKeyedCommits::default(),
        }
    }

    /// The name.
    pub fn id(&self) -> &StreamId {
        &self.id
    }

    /// The state after the newest commit.
    pub fn state(&self) -> &A {
        &self.state
    }

    /// The version of the newest event; 0 if there is none.
    pub fn version(&self) -> Version {
        self.head
    }

    /// When the newest commit was recorded.
    pub fn recorded_at(&self) -> Option<Timestamp> {
        self.recorded_at
    }

    /// The trace of the newest commit, if it has one.
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// Applies the next commit.
    ///
    /// # Errors
    /// The commit does not follow the head, or an event is not valid in its state.
    pub(super) fn apply(&mut self, commit: &Commit<A::Event>) -> Result<(), CorruptStream> {
        if commit.first != self.head + 1 {
            let why = format!("the commit after version {} begins at {}", self.head, commit.first);
            return Err(self.corrupt(self.head + 1, why));
        }
        for (version, event) in commit.versioned() {
            self.state.apply(event).map_err(|error| self.corrupt(version, error.to_string()))?;
            self.head = version;
        }
        self.recorded_at = Some(commit.recorded_at);
        self.trace.clone_from(&commit.metadata.trace);
        if let Some(request_hash) = commit.request_hash {
            let outcome = self.state.outcome(&commit.events);
            self.recent_keyed_commits.push(KeyedCommit { id: commit.id, version: self.head, request_hash, outcome });
        }
        Ok(())
    }

    /// `now`, or the time of the newest commit if that is later.
    pub(super) fn not_before_head(&self, now: Timestamp) -> Timestamp {
        self.recorded_at.map_or(now, |newest| newest.max(now))
    }

    /// The commit that stores `events` for `request` after the head, and the stream after it.
    ///
    /// # Errors
    /// An event is not valid in its state; nothing was stored.
    pub(super) fn advance(
        &self,
        events: Vec<A::Event>,
        request: &Request,
        recorded_at: Timestamp,
    ) -> Result<(Commit<A::Event>, Self), CorruptStream> {
        let (metadata, request_hash) = (request.metadata.clone(), request.key.request_hash);
        let (stream, id) = (self.id.clone(), request.key.id);
        let commit =
            Commit { stream, first: self.head + 1, events, id, recorded_at, metadata, request_hash, epoch: None };
        let mut next = self.clone();
        next.apply(&commit)?;
        Ok((commit, next))
    }

    fn corrupt(&self, version: Version, why: String) -> CorruptStream {
        CorruptStream { stream: self.id.clone(), version, why }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::idempotency::CommitKey;
    use crate::testing::{Numbers, commit, time};

    fn stream(commits: &[u64]) -> Stream<Numbers> {
        let mut stream = Stream::empty(StreamId::new("numbers"));
        for events in commits {
            stream.apply(&commit(stream.head + 1, *events)).unwrap();
        }
        stream
    }

    #[test]
    fn a_commit_that_does_not_follow_the_head_is_rejected() {
        for first in [1, 3, 5, 9] {
            let error = stream(&[1, 2]).apply(&commit(first, 1)).unwrap_err();
            assert_eq!(error.version, 4, "{error}");
        }
        assert!(stream(&[1, 2]).apply(&commit(4, 1)).is_ok());
    }

    #[tokio::test]
    async fn the_next_commit_follows_the_head_in_version_and_time() {
        let stream = stream(&[1, 2]);
        for (now, recorded_at) in [(0, 2), (2, 2), (7, 7)] {
            let request = Request {
                key: CommitKey::unkeyed(),
                metadata: super::super::Metadata::default(),
                if_match: None,
                deadline: Instant::now() + Duration::from_secs(1),
            };
            let (commit, next) = stream.advance(vec![8, 9], &request, stream.not_before_head(time(now))).unwrap();
            assert_eq!((commit.first, commit.last(), commit.recorded_at), (4, 5, time(recorded_at)));
            assert_eq!((next.head, next.recorded_at), (5, Some(time(recorded_at))));
            assert_eq!(next.state, Numbers(vec![1, 2, 3, 8, 9]));
        }
    }
}
