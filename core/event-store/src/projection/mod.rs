//! Projections: rows that follow streams and can be recreated at any time.
//!
//! A [`ReadModel`] defines how events change the row of a stream; a [`Projection`] maintains the rows. It takes batches
//! of the event table's stream, in any order and with duplicates, and applies each stream's events of a batch with one
//! conditional write. A row that lacks events gets them from the event store. A stream with an unreadable event is
//! parked: its row is marked and stays unchanged while all others continue.
//!
//! Rows can be repaired one by one, rebuilt beside live traffic, verified against their events, and recreated after the
//! event table was restored. Rows that count maintain exact [`Totals`]. The [`guide`] builds a read model step by step.

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
pub use model::{COUNTED, ChangeError, CurrentRow, EventOf, ReadModel, RowChange, RowItem};
pub use rebuild::{RebuildError, RebuildMode, RebuildProgress, RowPosition};
pub use side_by_side::{GroupResult, ModelResult, ReadModelGroup};
pub use totals::{Total, Totals, TotalsError, create_totals_table};
pub use verify::{Difference, Verification, VerificationPosition, VerifyError};

use crate::EventStore;
use crate::stream_id::StreamId;
use crate::trace_context::{CommitSpan, no_span};
use transaction::Transactions;

/// Maintains the rows of a read model. Cheap to clone.
///
/// It relies on neither order nor delivery of records: a row is written on condition of its version, skips events it
/// has, and gets missing ones from the event store.
#[doc(alias = "projector")]
#[derive(Clone, Debug)]
pub struct Projection<M: ReadModel> {
    client: aws_sdk_dynamodb::Client,
    table: String,
    events: EventStore<M::Aggregate>,
    model: M,
    totals: Option<Transactions>,
    spans: CommitSpan,
}

impl<M: ReadModel> Projection<M> {
    /// A projection from `events` to rows in `table`.
    pub fn new(
        client: aws_sdk_dynamodb::Client,
        table: impl Into<String>,
        events: EventStore<M::Aggregate>,
        model: M,
    ) -> Self {
        Self { client, table: table.into(), events, model, totals: None, spans: no_span }
    }

    /// Maintains totals in this table, for rows that count.
    #[must_use]
    pub fn with_totals(self, table: impl Into<String>) -> Self {
        Self { totals: Some(Transactions::new(table.into())), ..self }
    }

    /// Projects each commit of a batch within such a span, which is named by the read model.
    #[must_use]
    pub fn with_spans(self, spans: CommitSpan) -> Self {
        Self { spans, ..self }
    }

    /// The key of a stream's row.
    fn key(&self, stream: &StreamId) -> RowItem {
        [(M::KEY.to_owned(), AttributeValue::S(stream.to_string()))].into()
    }

    /// The stream of a row.
    fn stream_of(row: &RowItem) -> Option<StreamId> {
        Some(StreamId::new(row.get(M::KEY)?.as_s().ok()?))
    }
}
