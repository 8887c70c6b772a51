//! Event sourcing on one DynamoDB table, for any [`Aggregate`].
//!
//! A commit is one item, written by one conditional `PutItem`. A stream is the gapless sequence of its commits.
//! [`EventStore::run`] runs a command: it loads the stream, decides on its state, appends the events and resolves
//! ambiguous writes. Guarantees:
//!
//! - No gap and no overlap, however stale a read was: the next key follows the head that was read or written, and every
//!   load checks that each commit follows the one before.
//! - No false conflict and no duplicate: a write whose response was lost is recognized by its commit id.
//! - A rejection is re-evaluated on a consistent read before it is returned.
//! - A repeated request with an idempotency key gets the first result, as long as its commit is among the newest 32
//!   keyed commits of the stream.
//!
//! [`create_table`] creates the table, and [`EventStore::check`] validates an existing one. Code that takes an `impl`
//! [`Store`] can be tested without a database, on a [`MemoryStore`].
//!
//! ```
//! use std::num::NonZeroU32;
//!
//! use dynamodb_event_store::{Aggregate, EventStore, ExecuteError, Request, Resolution, StoredEvent, StreamId};
//! use serde::{Deserialize, Serialize};
//!
//! /// The events of a gift card.
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! #[serde(tag = "type", content = "data")]
//! enum CardEvent {
//!     Issued { cents: u64 },
//!     Redeemed { cents: u64 },
//! }
//!
//! /// What is left on the card.
//! #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
//! struct Card {
//!     cents: u64,
//! }
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("only {left} cents are left")]
//! struct TooLittle {
//!     left: u64,
//! }
//!
//! impl Aggregate for Card {
//!     type Event = CardEvent;
//!     type Outcome = u64;
//!     type TransitionError = TooLittle;
//!     type DecodeError = serde_json::Error;
//!     const NAME: &'static str = "card";
//!     const SNAPSHOT_SCHEMA: u32 = 1;
//!
//!     fn apply(&mut self, event: &CardEvent) -> Result<(), TooLittle> {
//!         match event {
//!             CardEvent::Issued { cents } => self.cents += cents,
//!             CardEvent::Redeemed { cents } => {
//!                 self.cents = self.cents.checked_sub(*cents).ok_or(TooLittle { left: self.cents })?;
//!             }
//!         }
//!         Ok(())
//!     }
//!
//!     fn outcome(&self, _: &[CardEvent]) -> u64 {
//!         self.cents
//!     }
//!
//!     fn encode(event: &CardEvent) -> StoredEvent {
//!         StoredEvent::tagged(event)
//!     }
//!
//!     fn decode(stored: StoredEvent) -> Result<CardEvent, serde_json::Error> {
//!         stored.into_tagged()
//!     }
//! }
//!
//! fn redeem(card: &Card, cents: u64) -> Result<Vec<CardEvent>, TooLittle> {
//!     if card.cents < cents { Err(TooLittle { left: card.cents }) } else { Ok(vec![CardEvent::Redeemed { cents }]) }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let database = dynamodb_testkit::simulation::Simulation::start();
//! # let (client, table) = (database.client(), dynamodb_testkit::simulation::Simulation::TABLE);
//! let store = EventStore::<Card>::new(client, table, NonZeroU32::new(14).expect("not zero"));
//! let card = StreamId::new("card-1");
//! let issue = |_: &Card, _| Ok::<_, TooLittle>(vec![CardEvent::Issued { cents: 500 }]);
//! assert_eq!(store.run(&card, &Request::unkeyed(), issue).await?.outcome, 500);
//!
//! let redeemed = store.run(&card, &Request::unkeyed(), |card, _| redeem(card, 300)).await?;
//! assert_eq!((redeemed.version, redeemed.outcome, redeemed.resolution), (2, 200, Resolution::Stored));
//!
//! let rejected = store.run(&card, &Request::unkeyed(), |card, _| redeem(card, 300)).await.unwrap_err();
//! assert!(matches!(rejected, ExecuteError::Rejected(TooLittle { left: 200 })));
//! # Ok(())
//! # }
//! ```

mod aggregate;
mod append;
mod backend;
mod batch_get;
pub mod client;
mod commit;
mod epoch;
mod error;
mod execute;
mod history;
mod idempotency;
mod load;
mod loaded;
mod memory;
pub mod projection;
mod recent_keyed_commits;
mod request;
mod restore;
mod scan;
mod size;
mod snapshot;
mod store;
mod stream;
mod stream_id;
mod stream_record;
mod table;
#[cfg(test)]
mod testing;
mod trace_context;

use std::marker::PhantomData;
use std::num::NonZeroU32;

pub use aggregate::{Aggregate, StoredEvent};
pub use batch_get::{BatchGetError, batch_get};
pub use commit::{Commit, Metadata};
pub use epoch::{Epoch, InvalidEpoch};
pub use error::{CommitError, CorruptStream, ExecuteError, StoreError};
pub use execute::{Examined, Executed, Resolution};
pub use history::Page;
pub use idempotency::{CommitKey, IdempotencyKey, InvalidKey, RequestHash, derived_id};
pub use loaded::{Consistency, Loaded, Until};
pub use memory::MemoryStore;
pub use request::{Request, Versions};
pub use restore::{Finding, RestoreProgress};
pub use scan::{CommitPosition, InvalidSegment, ScanPage, Segment};
pub use store::Store;
pub use stream::Stream;
pub use stream_id::{StreamId, Version};
pub use stream_record::{Change, StreamRecord};
pub use table::{WrongTable, create_table};
pub use trace_context::{CommitSpan, TraceContext, no_span};

use service_clock::Clock;

/// The store of one kind of aggregate on one table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventStore<A> {
    client: aws_sdk_dynamodb::Client,
    table: String,
    snapshot_every: NonZeroU32,
    clock: Clock,
    epoch: Option<Epoch>,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate> EventStore<A> {
    /// A store on `table`. Each commit that crosses a multiple of `snapshot_every` versions carries a snapshot.
    ///
    /// The figure may change between deployments, because readers use any snapshot they find. For small states about 10
    /// is cheapest: more snapshots cost more writes, fewer cost more reads.
    ///
    /// The table is called with the client's region, credentials and endpoint, and with the timeouts and retries of
    /// [`client::for_requests`].
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>, snapshot_every: NonZeroU32) -> Self {
        let config = client::for_requests(client.config().to_builder()).build();
        Self::with_client(aws_sdk_dynamodb::Client::from_conf(config), table, snapshot_every)
    }

    /// As [`EventStore::new`], but calls the table with `client` as it is, such as a shared client or one with the
    /// settings of [`client::for_bulk`].
    pub fn with_client(client: aws_sdk_dynamodb::Client, table: impl Into<String>, snapshot_every: NonZeroU32) -> Self {
        let clock = Clock::default();
        Self { client, table: table.into(), snapshot_every, clock, epoch: None, aggregate: PhantomData }
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
}

/// Its code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
