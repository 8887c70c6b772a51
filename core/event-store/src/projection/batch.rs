//! Projecting batches of the event table's stream.

use std::collections::BTreeMap;

use futures::StreamExt;
use serde_dynamo::{AttributeValue, Item};
use tracing::{Instrument as _, Span};

use super::Projection;
use super::error::{Cause, ProjectionError};
use super::model::{EventOf, ReadModel};
use crate::client::is_rejected;
use crate::commit::Commit;
use crate::error::{CommitError, chain};
use crate::stream_id::{StreamId, Version};
use crate::stream_record::{Change, StreamRecord};

/// How many streams of a batch are written concurrently.
const IN_FLIGHT: usize = 24;

/// The result of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projected {
    /// The sequence number of the first record to retry, with all that follow; `None` if the batch is done.
    pub retry_from: Option<String>,
    /// The streams whose rows are not up to date with the batch, which is why it is retried.
    pub behind: Vec<LaggingStream>,
    /// Streams of the batch that were parked.
    #[doc(alias = "poison_messages")]
    pub parked: u64,
    /// Streams whose projection DynamoDB rejects, in whole or in part: the deployment must be fixed.
    pub rejected: u64,
    /// Records of modified or deleted events, or of streams unknown to the model.
    pub violations: u64,
}

/// A stream whose row lacks events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaggingStream {
    /// The stream.
    pub stream: StreamId,
    /// The version that the row must reach, at least.
    pub version: Version,
}

/// The records of one stream in a batch.
struct Received<E> {
    /// The index in the batch of the first one.
    earliest: usize,
    /// The commits by first version, so duplicate records collapse.
    commits: BTreeMap<Version, Result<Commit<E>, CommitError>>,
}

impl<E> Received<E> {
    /// The version that a row must have for an unreadable commit at `version` not to matter: that version if the commit
    /// was received, all that was received if it lies before.
    fn needed(&self, version: Version) -> Version {
        let all = self.commits.last_key_value().map_or(version, |(last, _)| *last);
        if self.commits.range(..=version).next().is_some() { version } else { all }
    }

    /// The newest version received; for an unreadable commit, its first version.
    fn newest(&self) -> Version {
        let newest = self.commits.last_key_value();
        newest.map_or(0, |(first, commit)| commit.as_ref().map_or(*first, Commit::last))
    }
}

impl<M: ReadModel> Projection<M> {
    /// Projects a batch: many streams concurrently, each with one write if nothing is missing.
    ///
    /// A stream with an event that can never be projected is parked and counts as done, so the others continue.
    /// Transient failures are to be retried.
    pub async fn project(&self, batch: Vec<StreamRecord>) -> Projected {
        let mut projected = Projected::default();
        let mut streams: BTreeMap<StreamId, Received<EventOf<M>>> = BTreeMap::new();
        let mut sequence_numbers = Vec::with_capacity(batch.len());
        for (place, record) in batch.into_iter().enumerate() {
            sequence_numbers.push(record.sequence_number);
            let commit_key = commit_key(&record.keys).filter(|(stream, _)| self.model.includes(stream));
            match (commit_key, record.change) {
                (Some((stream, version)), Change::Inserted(image)) => {
                    let received =
                        streams.entry(stream).or_insert_with(|| Received { earliest: place, commits: BTreeMap::new() });
                    received.commits.insert(version, Commit::from_item::<M::Aggregate>(image));
                }
                (_, change) => {
                    projected.violations += 1;
                    let what = match change {
                        Change::Inserted(_) => "an item of a stream unknown to the read model was added",
                        Change::Modified => "a stored event was modified",
                        Change::Removed => "a stored event was deleted",
                    };
                    tracing::error!(model = M::NAME, keys = ?record.keys, "{what}");
                }
            }
        }
        let ends = futures::stream::iter(streams).map(|(stream, received)| async move {
            let (earliest, version) = (received.earliest, received.newest());
            // One for each commit, since commits of a stream may belong to different traces; calls are in the first one's.
            let readable = received.commits.values().filter_map(|commit| commit.as_ref().ok());
            let spans: Vec<_> = readable.map(|commit| (self.spans)(M::NAME, &stream, &commit.metadata)).collect();
            let first = spans.first().cloned().unwrap_or_else(Span::none);
            let end = self.project_stream(&stream, received).instrument(first).await;
            drop(spans);
            (earliest, LaggingStream { stream, version }, end)
        });
        let ends: Vec<_> = ends.buffer_unordered(IN_FLIGHT).collect().await;
        let mut earliest = None;
        for (place, behind, end) in ends {
            let (parked, rejected) = match end {
                Ok(End::Projected) => (false, false),
                Ok(End::Parked { rejected }) => (true, rejected),
                Err(Failed { rejected }) => {
                    earliest = Some(earliest.map_or(place, |earliest: usize| earliest.min(place)));
                    projected.behind.push(behind);
                    (false, rejected)
                }
            };
            projected.parked += u64::from(parked);
            projected.rejected += u64::from(rejected);
        }
        projected.retry_from = earliest.map(|place| sequence_numbers.swap_remove(place));
        projected
    }

    /// The streams in a batch with the newest version of each.
    pub(super) fn streams_of(&self, batch: &[StreamRecord]) -> Vec<LaggingStream> {
        let mut versions: BTreeMap<StreamId, Version> = BTreeMap::new();
        for (stream, version) in batch.iter().filter_map(|record| commit_key(&record.keys)) {
            let newest = versions.entry(stream).or_default();
            *newest = version.max(*newest);
        }
        let of_model = versions.into_iter().filter(|(stream, _)| self.model.includes(stream));
        of_model.map(|(stream, version)| LaggingStream { stream, version }).collect()
    }

    /// Brings the row of a lagging stream up to a version from the event store, or parks it. Returns whether it is
    /// parked.
    ///
    /// # Errors
    /// [`ProjectionError::Unavailable`]: retry later.
    pub async fn catch_up_to(&self, behind: &LaggingStream) -> Result<bool, ProjectionError> {
        let LaggingStream { stream, version } = behind;
        match self.bring_to(stream, *version).await {
            Ok(()) => Ok(false),
            Err(ProjectionError::Unprojectable { version, reason, source }) => {
                // A version that can read it was here before: what follows may still be missing.
                if !self.park(stream, version, reason, version).await? {
                    return Err(ProjectionError::contended());
                }
                let error = chain(&*source);
                tracing::error!(model = M::NAME, stream_id = %stream, version, reason, error, "stream parked");
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    async fn project_stream(&self, stream: &StreamId, mut received: Received<EventOf<M>>) -> Result<End, Failed> {
        loop {
            let Err(error) = self.follow_all(stream, &received).await else { return Ok(End::Projected) };
            let error = match error {
                ProjectionError::Unprojectable { version, reason, source } => {
                    let past = received.needed(version);
                    match self.park(stream, version, reason, past).await {
                        Ok(true) => {
                            let error = chain(&*source);
                            tracing::error!(model = M::NAME, stream_id = %stream, version, reason, error, "stream parked");
                            return Ok(End::Parked { rejected: is_rejected(&*source) });
                        }
                        // A version that can read it was here before: what follows may still be missing.
                        Ok(false) => {
                            received.commits.retain(|first, _| *first > past);
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                error @ ProjectionError::Unavailable(_) => error,
            };
            let (rejected, model, stream_id, error) = (is_rejected(&error), M::NAME, stream.as_str(), chain(&error));
            match rejected {
                true => tracing::error!(model, stream_id, error, "stream not projected: DynamoDB rejects it"),
                false => tracing::warn!(model, stream_id, error, "stream not projected for now"),
            }
            return Err(Failed { rejected });
        }
    }

    /// Applies the commits in order of their versions, up to the first unreadable one. The row gets everything before
    /// that.
    async fn follow_all(&self, stream: &StreamId, received: &Received<EventOf<M>>) -> Result<(), ProjectionError> {
        let readable: Vec<_> = received.commits.values().map_while(|commit| commit.as_ref().ok()).cloned().collect();
        for run in readable.chunk_by(|commit, next| commit.last() + 1 == next.first) {
            self.follow(stream, run).await?;
        }
        let mut obstacles =
            received.commits.iter().filter_map(|(version, commit)| Some((*version, commit.as_ref().err()?)));
        let Some((version, error)) = obstacles.next() else { return Ok(()) };
        let unreadable = |source| Err(ProjectionError::unreadable(error.version().max(version), source));
        if readable.last().map_or(0, Commit::last) + 1 < version {
            match self.bring_to(stream, version - 1).await {
                // The row is parked at its version: the other streams must not wait for a fix of the deployment, and a
                // repair adds what is missing.
                Err(error) if is_rejected(&error) => return unreadable(Cause::from(error)),
                healed => healed?,
            }
        }
        unreadable(chain(error).into())
    }
}

/// The result of a stream's part of a batch.
enum End {
    Projected,
    Parked {
        /// DynamoDB rejects the calls that catch the row up.
        rejected: bool,
    },
}

/// A stream's part of a batch must be retried.
struct Failed {
    /// Only after a fix of the deployment.
    rejected: bool,
}

/// Stream and version in a commit's key.
fn commit_key(keys: &Item) -> Option<(StreamId, Version)> {
    let (AttributeValue::S(stream), AttributeValue::N(version)) = (keys.get("stream_id")?, keys.get("version")?) else {
        return None;
    };
    Some((StreamId::new(stream), version.parse().ok().filter(|version| *version > 0)?))
}
