//! The store's interface, so that programs can be tested without DynamoDB.

use std::future::Future;

use super::EventStore;
use super::aggregate::Aggregate;
use super::backend::Backend;
use super::commit::Commit;
use super::error::{ExecuteError, StoreError};
use super::execute::{self, Examined, Executed};
use super::history::Page;
use super::load;
use super::loaded::{Consistency, Loaded, Until};
use super::memory::MemoryStore;
use super::request::Request;
use super::stream::Stream;
use super::stream_id::{StreamId, Version};
use service_clock::Timestamp;

/// A store of one kind of aggregate: [`EventStore`] on DynamoDB, or [`MemoryStore`] in tests.
///
/// Code that takes an `impl Store<A>` runs on both. The methods are documented at [`EventStore`]; closures must be
/// `Send`.
pub trait Store<A: Aggregate>: Backend<A> {
    /// See [`EventStore::load`].
    ///
    /// # Errors
    /// See [`StoreError`].
    fn load(
        &self,
        id: &StreamId,
        consistency: Consistency,
    ) -> impl Future<Output = Result<Loaded<A>, StoreError>> + Send {
        self.read(id, Until::Head, consistency)
    }

    /// See [`EventStore::find`].
    ///
    /// # Errors
    /// See [`StoreError`].
    fn find(&self, id: &StreamId) -> impl Future<Output = Result<Option<Loaded<A>>, StoreError>> + Send {
        load::find(self, id)
    }

    /// See [`EventStore::load_until`].
    ///
    /// # Errors
    /// See [`StoreError`].
    fn load_until(
        &self,
        id: &StreamId,
        until: Until,
        consistency: Consistency,
    ) -> impl Future<Output = Result<Stream<A>, StoreError>> + Send {
        async move { Ok(self.read(id, until, consistency).await?.stream) }
    }

    /// See [`EventStore::commits_after`].
    ///
    /// # Errors
    /// See [`StoreError`].
    fn commits_after(
        &self,
        id: &StreamId,
        after: Version,
    ) -> impl Future<Output = Result<Vec<Commit<A::Event>>, StoreError>> + Send {
        async move { Ok(self.page(id, after, usize::MAX).await?.readable()?.commits) }
    }

    /// See [`EventStore::page_after`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    fn page_after(
        &self,
        id: &StreamId,
        after: Version,
        limit: usize,
    ) -> impl Future<Output = Result<Page<A::Event>, StoreError>> + Send {
        self.page(id, after, limit)
    }

    /// See [`EventStore::run`].
    ///
    /// # Errors
    /// See [`ExecuteError`].
    fn run<R: Send>(
        &self,
        id: &StreamId,
        request: &Request,
        decide: impl Fn(&A, Timestamp) -> Result<Vec<A::Event>, R> + Send + Sync,
    ) -> impl Future<Output = Result<Executed<A>, ExecuteError<R>>> + Send {
        execute::run(self, id, request, decide)
    }

    /// See [`EventStore::execute`].
    ///
    /// # Errors
    /// See [`ExecuteError`].
    fn execute<R: Send>(
        &self,
        loaded: Loaded<A>,
        request: &Request,
        decide: impl Fn(&A, Timestamp) -> Result<Vec<A::Event>, R> + Send + Sync,
    ) -> impl Future<Output = Result<Executed<A>, ExecuteError<R>>> + Send {
        execute::execute(self, loaded, request, decide)
    }

    /// See [`EventStore::examine`].
    ///
    /// # Errors
    /// See [`ExecuteError`].
    fn examine<R: Send, T: Send>(
        &self,
        loaded: Loaded<A>,
        request: &Request,
        check: impl Fn(&A) -> Result<T, R> + Send + Sync,
    ) -> impl Future<Output = Result<Examined<A, T>, ExecuteError<R>>> + Send {
        execute::examine(self, loaded, request, check)
    }
}

impl<A: Aggregate> Store<A> for EventStore<A> {}

impl<A: Aggregate> Store<A> for MemoryStore<A> {}
