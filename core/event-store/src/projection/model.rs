//! What a read model says: where its rows are, and what events change in them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::aggregate::Aggregate;
use crate::commit::Commit;
use crate::stream_id::{StreamId, Version};

/// An item of a table of rows, as DynamoDB has it.
pub type RowItem = HashMap<String, AttributeValue>;

/// The attribute of a row that holds what it contributes to totals: a map from the names of totals to maps from the names
/// of counters to integers. See [`super::Totals`].
pub const COUNTED: &str = "counted";

/// The events of a read model's streams.
pub type EventOf<M> = <<M as ReadModel>::Aggregate as Aggregate>::Event;

/// A read model: one row per stream, in a table whose key is the stream's name.
///
/// A model is pure. It says what events change in a row, and [`super::Projection`] does the rest: what arrives twice, in
/// another order or not at all, what cannot be read, rebuilding, and verifying.
pub trait ReadModel: Clone + Debug + Send + Sync + 'static {
    /// Whose streams are read.
    type Aggregate: Aggregate;

    /// The model's name, in log lines and for operators.
    const NAME: &'static str;

    /// The attribute that is the table's key (S). It holds the name of the stream.
    const KEY: &'static str;

    /// Whether the model has a row of this stream. A stream of which it has none is counted as a violation when an event of
    /// it arrives, so that nothing is passed over unseen.
    fn includes(&self, stream: &StreamId) -> bool {
        _ = stream;
        true
    }

    /// What commits that follow each other change in the row that has all events before them, and none of theirs.
    ///
    /// The key and `version` are set by the store. The attributes `version`, `parked` and [`COUNTED`] are its own: a model
    /// sets none of them but the last.
    ///
    /// # Errors
    /// See [`ChangeError`].
    fn change(
        &self,
        stream: &StreamId,
        commits: &[Commit<EventOf<Self>>],
        before: CurrentRow<'_>,
    ) -> Result<RowChange, ChangeError>;
}

/// The row before a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CurrentRow<'a> {
    /// There is none: the commits begin with the stream's first.
    Missing,
    /// There is one, but it was not read. A model that can do without saves the read of every row.
    NotRead,
    /// This is it.
    Row(&'a RowItem),
}

/// What is to be changed in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowChange {
    /// The attributes that are set, or, where there is no value, removed: whatever the row held before.
    pub attributes: BTreeMap<String, Option<AttributeValue>>,
    /// The change is right only for a row that does not have this attribute. Where it has, the store reads the row and asks
    /// once more.
    pub unless_exists: Option<&'static str>,
}

/// There is no change to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It depends on the row. The store reads the row and asks once more.
    #[error("the row before it has to be known")]
    NeedsRow,
    /// Nothing can be told from the row, which is of another form, or damaged. The store makes it anew from all events.
    #[error("the row before it cannot be read")]
    Unusable,
    /// An event that this stream cannot have at this place. The stream is parked.
    #[error("the event at version {version} cannot be in this stream: {why}")]
    InvalidEvent {
        /// The event.
        version: Version,
        /// What is wrong with it.
        why: &'static str,
    },
}
