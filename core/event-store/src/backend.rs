//! Where commits lie: all in which DynamoDB and its double in memory differ. What is built on it is the same code for both.

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

/// What keeps commits. Public in name only, so that [`Store`](super::Store) is implemented by this crate alone.
pub trait Backend<A: Aggregate>: Clone + Debug + Send + Sync + 'static {
    /// The stream up to some point.
    fn read(
        &self,
        id: &StreamId,
        until: Until,
        consistency: Consistency,
    ) -> impl Future<Output = Result<Loaded<A>, StoreError>> + Send;

    /// At most `limit` commits (at least 1), read strongly, that begin above `after`.
    fn page(
        &self,
        id: &StreamId,
        after: Version,
        limit: usize,
    ) -> impl Future<Output = Result<Page<A::Event>, StoreError>> + Send;

    /// Stores `commit`, which leads to `next`, if its version is still free.
    ///
    /// # Errors
    /// The version holds what cannot be read, or an event has no stored form: this commit is not stored.
    fn append(
        &self,
        commit: &Commit<A::Event>,
        next: &Stream<A>,
    ) -> impl Future<Output = Result<Appended<A::Event>, StoreError>> + Send;

    /// The time.
    fn now(&self) -> Timestamp;

    /// The epoch that commits are recorded in.
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
