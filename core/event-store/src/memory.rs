//! An in-memory store for tests.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_dynamo::Item;
use tokio::task::yield_now;

use super::aggregate::Aggregate;
use super::append::{Appended, item_of, too_large};
use super::backend::Backend;
use super::commit::Commit;
use super::epoch::Epoch;
use super::error::StoreError;
use super::history::Page;
use super::load::{Backwards, Step};
use super::loaded::{Consistency, Loaded, Until};
use super::stream::Stream;
use super::stream_id::{StreamId, Version};
use service_clock::{Clock, Timestamp};

/// The items of commits, by the versions of their first events.
type Commits = BTreeMap<Version, Item>;

/// A store in memory, for tests of code that uses a [`Store`](super::Store). Clones share their data.
///
/// It gives the guarantees of [`EventStore`](super::EventStore) and runs commands by the same code; one contract test
/// suite covers both. Commits are stored as the items that DynamoDB would get, so events must survive serialization.
/// Every read is consistent and nothing fails. Each read and write first yields to other tasks, so that concurrent
/// writers do conflict. There are no snapshots.
///
/// ```
/// use dynamodb_event_store::{MemoryStore, Request, Store, StreamId};
/// use dynamodb_testkit::counter_aggregate::{Command, Counter};
///
/// /// The code that is tested, on any store.
/// async fn add(store: &impl Store<Counter>, amount: u64) -> u64 {
///     let add = Command::Add(amount);
///     let added = store.run(&StreamId::new("c"), &Request::unkeyed(), move |counter, _| add.decide(counter)).await;
///     added.expect("nothing is rejected").outcome.0
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = MemoryStore::new();
/// assert_eq!((add(&store, 2).await, add(&store, 3).await), (2, 5));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStore<A> {
    streams: Arc<Mutex<HashMap<StreamId, Commits>>>,
    clock: Clock,
    epoch: Option<Epoch>,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate> Default for MemoryStore<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Aggregate> MemoryStore<A> {
    /// An empty store.
    pub fn new() -> Self {
        Self { streams: Arc::default(), clock: Clock::default(), epoch: None, aggregate: PhantomData }
    }

    /// Replaces the system clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Records commits in this epoch.
    #[must_use]
    pub fn in_epoch(self, epoch: Option<Epoch>) -> Self {
        Self { epoch, ..self }
    }

    /// The same data, read as streams of another aggregate or of another release of this one.
    pub fn read_as<B: Aggregate>(&self) -> MemoryStore<B> {
        let Self { streams, clock, epoch, .. } = self.clone();
        MemoryStore { streams, clock, epoch, aggregate: PhantomData }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, Commits>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Aggregate> Backend<A> for MemoryStore<A> {
    async fn read(&self, id: &StreamId, until: Until, consistency: Consistency) -> Result<Loaded<A>, StoreError> {
        yield_now().await;
        let newest = match until {
            Until::Version(version) => version,
            Until::Head | Until::Time(_) => Version::MAX,
        };
        let streams = self.streams();
        let items = streams.get(id).into_iter().flat_map(|commits| commits.range(..=newest).rev());
        let mut back = Backwards::new(until);
        for (_, item) in items {
            match back.take(item.clone())? {
                Step::Older => {}
                Step::Gap(gap) => return Err(gap.in_stream(id)),
                Step::Base(base) => {
                    return Ok(Loaded { stream: back.fold(base)?, consistency });
                }
            }
        }
        let stream = back.end(id).map_err(|gap| gap.in_stream(id))?;
        Ok(Loaded { stream, consistency })
    }

    async fn page(&self, id: &StreamId, after: Version, limit: usize) -> Result<Page<A::Event>, StoreError> {
        yield_now().await;
        let streams = self.streams();
        let mut items = streams.get(id).into_iter().flat_map(|commits| commits.range(after.saturating_add(1)..));
        let mut page = Page { commits: Vec::new(), next: None, unreadable: None };
        for (_, item) in items.by_ref().take(limit.max(1)) {
            match Commit::from_item::<A>(item.clone()) {
                Ok(commit) => page.commits.push(commit),
                Err(unreadable) => return Ok(Page { unreadable: Some(unreadable), ..page }),
            }
        }
        page.next = items.next().and(page.commits.last().map(Commit::last));
        Ok(page)
    }

    async fn append(&self, commit: &Commit<A::Event>, _: &Stream<A>) -> Result<Appended<A::Event>, StoreError> {
        yield_now().await;
        let item = item_of::<A>(commit)?;
        if let Some(bytes) = too_large(&item) {
            return Ok(Appended::TooLarge { bytes });
        }
        let mut streams = self.streams();
        let commits = streams.entry(commit.stream.clone()).or_default();
        if let Some(found) = commits.get(&commit.first) {
            return Ok(Appended::Conflict(Box::new(Commit::from_item::<A>(found.clone())?)));
        }
        commits.insert(commit.first, item);
        Ok(Appended::Stored)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }
}
