//! Event sourcing on one DynamoDB table, for any [`Aggregate`].
//!
//! A commit is one item, written by one conditional `PutItem`; a stream is the unbroken run of its commits. Running a
//! command is [`EventStore::run`]: load the stream, decide on its state, append, and settle whatever the network made of
//! it. What the parts promise:
//!
//! - no gap and no overlap, however stale a read was: the next key comes from a head that was read or written, and
//!   every load checks that each commit follows the one before;
//! - no false conflict and no double: a write whose answer was lost is recognised by its commit id;
//! - a refusal is told only after a strongly consistent read;
//! - a repeat of a request with an idempotency key gets the first answer, as long as its commit is among the newest 32
//!   keyed ones of the stream.
//!
//! [`create_table`] makes the table, and [`EventStore::check`] says what is wrong with one. Code that takes an `impl`
//! [`Store`] is tested without a database, on a [`MemoryStore`].
//!
//! ```
//! use std::num::NonZeroU32;
//!
//! use dynamodb_event_store::{Aggregate, EventStore, ExecuteError, Request, Settled, StoredEvent, StreamId};
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
//! assert_eq!((redeemed.version, redeemed.outcome, redeemed.settled), (2, 200, Settled::Stored));
//!
//! let refused = store.run(&card, &Request::unkeyed(), |card, _| redeem(card, 300)).await.unwrap_err();
//! assert!(matches!(refused, ExecuteError::Rejected(TooLittle { left: 200 })));
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
mod remembered;
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

use std::marker::PhantomData;
use std::num::NonZeroU32;

pub use aggregate::{Aggregate, StoredEvent};
pub use commit::{Commit, Metadata};
pub use epoch::{Epoch, InvalidEpoch};
pub use error::{CommitError, CorruptStream, ExecuteError, StoreError};
pub use execute::{Examined, Executed, Settled};
pub use history::Page;
pub use idempotency::{CommitKey, IdempotencyKey, InvalidKey, RequestHash, derived_id};
pub use loaded::{Consistency, Loaded, Until};
pub use memory::MemoryStore;
pub use request::{Request, Versions};
pub use restore::{Finding, RestoreProgress};
pub use scan::{InvalidSegment, CommitPosition, ScanPage, Segment};
pub use store::Store;
pub use stream::Stream;
pub use stream_id::{StreamId, Version};
pub use stream_record::{Change, StreamRecord};
pub use table::{WrongTable, create_table};

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
    /// A store on `table`, whose commits carry a snapshot whenever they cross a multiple of `snapshot_every` versions.
    ///
    /// The figure may change from deployment to deployment: a reader takes whatever snapshots it finds. Small states
    /// are cheapest around 10: more often, each snapshot adds to what is written; less often, more items are read.
    ///
    /// The table is called with the client's region, credentials and endpoint, and with the time-outs and retries of
    /// [`client::for_requests`]: an answer that is lost is asked for again after a second.
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>, snapshot_every: NonZeroU32) -> Self {
        let config = client::for_requests(client.config().to_builder()).build();
        Self::with_client(aws_sdk_dynamodb::Client::from_conf(config), table, snapshot_every)
    }

    /// The same store, which calls the table with this client as it is: one that is shared with other uses, or has the
    /// settings of [`client::for_bulk`].
    pub fn with_client(client: aws_sdk_dynamodb::Client, table: impl Into<String>, snapshot_every: NonZeroU32) -> Self {
        let clock = Clock::default();
        Self { client, table: table.into(), snapshot_every, clock, epoch: None, aggregate: PhantomData }
    }

    /// The same store with another clock than the system's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The same store, whose commits are recorded in this epoch.
    #[must_use]
    pub fn in_epoch(self, epoch: Option<Epoch>) -> Self {
        Self { epoch, ..self }
    }
}
