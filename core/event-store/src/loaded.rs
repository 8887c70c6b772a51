//! Read options and results.

use super::aggregate::Aggregate;
use super::stream::Stream;
use super::stream_id::{StreamId, Version};
use service_clock::Timestamp;

/// The consistency of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Half the price; may lag behind by any number of commits.
    Eventual,
    /// Includes every commit stored before the read began.
    #[doc(alias = "ConsistentRead")]
    Strong,
}

/// The point up to which a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The whole stream.
    Head,
    /// The event of this version, even within a commit.
    Version(Version),
    /// The last commit recorded at or before this time, and all commits before it.
    Time(Timestamp),
}

/// A stream with the consistency of its read.
#[derive(Clone, Debug)]
pub struct Loaded<A: Aggregate> {
    pub(super) stream: Stream<A>,
    pub(super) consistency: Consistency,
}

impl<A: Aggregate> Loaded<A> {
    /// A stream with a new name, without a read. If the name exists after all, the conditional write finds out.
    pub fn new_stream(id: StreamId) -> Self {
        Self { stream: Stream::empty(id), consistency: Consistency::Strong }
    }

    /// The stream.
    pub fn stream(&self) -> &Stream<A> {
        &self.stream
    }
}
