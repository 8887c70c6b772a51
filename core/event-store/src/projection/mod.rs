//! Projections: rows that follow streams, and can be made anew from them at any time.
//!
//! A [`ReadModel`] says what events change in the row of a stream; a [`Projection`] keeps the rows. It takes batches of the
//! event table's stream, in whatever order they come and however often, and writes each stream's events of a batch with one
//! conditional write. A row that lacks events gets them from the event store. A stream with an event that cannot be read is
//! parked: its row is marked and stands still, and all others go on.
//!
//! Rows can be repaired one by one, rebuilt beside live traffic, compared with their events, and lowered after the event
//! table was taken back. Rows that count keep [`Totals`], exactly. The [`guide`] makes a read model step by step.

mod audit;
mod backlog;
mod batch;
mod counts;
mod error;
mod follow;
mod lower;
mod model;
mod rebuild;
mod side_by_side;
mod state;
mod streams;
mod totals;
mod transaction;
mod verify;
mod write;

#[doc = include_str!("../../docs/read-models.md")]
pub mod guide {}

use aws_sdk_dynamodb::types::AttributeValue;

pub use backlog::{Backlog, BacklogError, CatchUpResult, create_backlog_table};
pub use batch::{LaggingStream, Projected};
pub use counts::{Counters, Counts, InvalidCounts};
pub use error::ProjectionError;
pub use model::{CurrentRow, COUNTED, EventOf, ChangeError, ReadModel, RowChange, RowItem};
pub use rebuild::{RowsAhead, RebuildProgress, RebuildError, RowPosition};
pub use side_by_side::{GroupResult, ReadModelGroup, ModelResult};
pub use totals::{Total, Totals, TotalsError, create_totals_table};
pub use verify::{Difference, Reached, Verification, VerifyError};

use crate::EventStore;
use crate::stream_id::StreamId;
use transaction::Transactions;

/// Keeps the rows of a read model. Cheap to clone.
///
/// The order of records is not relied on, nor that each comes once, nor that it comes at all: a row is written on
/// condition of its version, skips what it has, and catches up from the event store on what it lacks.
#[derive(Clone, Debug)]
pub struct Projection<M: ReadModel> {
    client: aws_sdk_dynamodb::Client,
    table: String,
    events: EventStore<M::Aggregate>,
    model: M,
    totals: Option<Transactions>,
}

impl<M: ReadModel> Projection<M> {
    /// A projection from `events` to rows in `table`.
    pub fn new(
        client: aws_sdk_dynamodb::Client,
        table: impl Into<String>,
        events: EventStore<M::Aggregate>,
        model: M,
    ) -> Self {
        Self { client, table: table.into(), events, model, totals: None }
    }

    /// The same, for rows that count: with the table of their totals.
    #[must_use]
    pub fn with_totals(self, table: impl Into<String>) -> Self {
        Self { totals: Some(Transactions::new(table.into())), ..self }
    }

    /// The key of a stream's row.
    fn key(&self, stream: &StreamId) -> RowItem {
        [(M::KEY.to_owned(), AttributeValue::S(stream.to_string()))].into()
    }

    /// The stream that a row is of.
    fn stream_of(row: &RowItem) -> Option<StreamId> {
        Some(StreamId::new(row.get(M::KEY)?.as_s().ok()?))
    }
}
