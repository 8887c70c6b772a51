//! The storage interface: everything in which DynamoDB and the in-memory store differ.

use std::fmt::Debug;
use std::future::Future;

use super::EventStore;
use super::aggregate::Aggregate;
use super::append::Appended;
use super::commit::Commit;
use super::epoch::Epoch;
use super::error::StoreError;
use super::history::Page;
use super::loaded::{Consistency, Loaded, Until};
use super::stream::Stream;
use super::stream_id::{StreamId, Version};
use service_clock::Timestamp;

/// Storage of commits. Unnameable outside, so that only this crate implements [`Store`](super::Store).
pub trait Backend<A: Aggregate>: Clone + Debug + Send + Sync + 'static {
    /// Reads the stream up to `until`.
    fn read(
        &self,
        id: &StreamId,
        until: Until,
        consistency: Consistency,
    ) -> impl Future<Output = Result<Loaded<A>, StoreError>> + Send;

    /// Reads up to `limit` commits (at least 1) that begin after version `after`, consistently.
    fn page(
        &self,
        id: &StreamId,
        after: Version,
        limit: usize,
    ) -> impl Future<Output = Result<Page<A::Event>, StoreError>> + Send;

    /// Stores `commit`, which leads to `next`, if its version is free.
    ///
    /// # Errors
    /// The existing item cannot be read, or an event cannot be encoded; the commit is not stored.
    fn append(
        &self,
        commit: &Commit<A::Event>,
        next: &Stream<A>,
    ) -> impl Future<Output = Result<Appended<A::Event>, StoreError>> + Send;

    /// The current time.
    fn now(&self) -> Timestamp;

    /// The epoch of new commits.
    fn epoch(&self) -> Option<&Epoch>;
}

impl<A: Aggregate> Backend<A> for EventStore<A> {
    async fn read(&self, id: &StreamId, until: Until, consistency: Consistency) -> Result<Loaded<A>, StoreError> {
        self.read_stream(id, until, consistency).await
    }

    async fn page(&self, id: &StreamId, after: Version, limit: usize) -> Result<Page<A::Event>, StoreError> {
        self.page_after(id, after, limit).await
    }

    async fn append(&self, commit: &Commit<A::Event>, next: &Stream<A>) -> Result<Appended<A::Event>, StoreError> {
        self.put_commit(commit, next).await
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }
}
