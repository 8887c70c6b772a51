//! What a read is asked for, and what it gives.

use super::aggregate::Aggregate;
use super::stream::Stream;
use super::stream_id::{StreamId, Version};
use service_clock::Timestamp;

/// How a read may relate to the writes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Half the price; may be any number of commits behind.
    Eventual,
    /// Sees every commit that was stored before the read began.
    Strong,
}

/// The point up to which a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// All of it.
    Head,
    /// The event of this version, even in the middle of a commit.
    Version(Version),
    /// The last commit that was recorded at this time or before, with all commits before it.
    Time(Timestamp),
}

/// A stream, and how fresh it is.
#[derive(Clone, Debug)]
pub struct Loaded<A: Aggregate> {
    pub(super) stream: Stream<A>,
    pub(super) consistency: Consistency,
}

impl<A: Aggregate> Loaded<A> {
    /// A stream that nobody can have written to yet, since its name is new: no read is needed. When that turns out
    /// wrong, the conditional write says so.
    pub fn new_stream(id: StreamId) -> Self {
        Self { stream: Stream::empty(id), consistency: Consistency::Strong }
    }

    /// The stream.
    pub fn stream(&self) -> &Stream<A> {
        &self.stream
    }
}
