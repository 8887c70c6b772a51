//! The event store: streams of facts on one DynamoDB table, for any [`Aggregate`].
//!
//! A commit is one item, written by one conditional `PutItem`; a stream is the unbroken run of its commits. Running a
//! command is [`EventStore::load`] and then [`EventStore::execute`]: decide on the state, append, and settle
//! whatever the network made of it. What the parts promise:
//!
//! - no gap and no overlap, however stale a read was: the next key comes from a head that was read or written, and
//!   every load checks that each commit follows the one before;
//! - no false conflict and no double: a write whose answer was lost is recognised by its commit id;
//! - a refusal is told only after a strongly consistent read.

mod aggregate;
mod append;
mod commit;
mod epoch;
mod execute;
mod history;
mod idempotency;
mod load;
mod remembered;
mod restore;
mod scan;
mod size;
mod snapshot;
mod stream;
mod stream_record;
#[cfg(test)]
mod testing;

use std::marker::PhantomData;
use std::num::NonZeroU32;

pub use aggregate::{Aggregate, StoredEvent};
pub use commit::{Commit, CommitError, Metadata, StreamId, Version};
pub use epoch::{Epoch, InvalidEpoch};
pub use execute::{Examined, ExecuteError, Executed, Request, Settled, Versions};
pub use history::Page;
pub use idempotency::{CommitKey, IdempotencyKey, InvalidKey, RequestHash, derived_id};
pub use load::{Consistency, Loaded, StoreError, Until};
pub use restore::{Finding, Restoration};
pub use scan::{NoSuchSegment, Place, ScanPage, Segment};
pub use stream::{CorruptStream, Stream};
pub use stream_record::{Change, StreamRecord};

use crate::clock::Clock;

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
    /// are cheapest around 10 (see `docs/decisions.md`).
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>, snapshot_every: NonZeroU32) -> Self {
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
