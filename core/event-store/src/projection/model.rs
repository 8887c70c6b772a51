//! The definition of a read model.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::aggregate::Aggregate;
use crate::commit::Commit;
use crate::stream_id::{StreamId, Version};

/// An item of a table of rows.
pub type RowItem = HashMap<String, AttributeValue>;

/// The row attribute with its contributions to totals: a map from total names to maps from counter names to integers.
/// See [`super::Totals`].
pub const COUNTED: &str = "counted";

/// The events of a read model's streams.
pub type EventOf<M> = <<M as ReadModel>::Aggregate as Aggregate>::Event;

/// A read model: one row per stream, in a table with the stream name as its key.
///
/// A model is pure and defines how events change a row. [`super::Projection`] handles duplicates, reordering, gaps,
/// unreadable events, rebuilds and verification.
#[doc(alias = "materialized_view")]
pub trait ReadModel: Clone + Debug + Send + Sync + 'static {
    /// The aggregate whose streams are projected.
    type Aggregate: Aggregate;

    /// The model's name in logs and for operators.
    const NAME: &'static str;

    /// The key attribute of the table (S), which holds the stream name.
    const KEY: &'static str;

    /// Whether the model has a row for this stream. An event of any other stream counts as a violation, so that it does
    /// not go unnoticed.
    fn includes(&self, stream: &StreamId) -> bool {
        _ = stream;
        true
    }

    /// The change that consecutive commits make to the row with exactly the events before them.
    ///
    /// The store sets the key and `version`. The attributes `version`, `parked` and [`COUNTED`] are reserved; a model
    /// may only set the last.
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
    /// It does not exist: the commits start with the stream's first.
    Missing,
    /// It exists, but was not read. A model that does not need it saves a read per row.
    NotRead,
    /// The row.
    Row(&'a RowItem),
}

/// The change of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowChange {
    /// Attributes to set, or to remove if there is no value.
    pub attributes: BTreeMap<String, Option<AttributeValue>>,
    /// The change is only valid for a row without this attribute. Otherwise the store reads the row and calls the model
    /// again.
    pub unless_exists: Option<&'static str>,
}

/// Why there is no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The change depends on the row. The store reads it and calls the model again.
    #[error("the change depends on the row, which was not read")]
    NeedsRow,
    /// The row has another form or is malformed. The store recreates it from all events.
    #[error("the row cannot be read")]
    Unusable,
    /// The event is not valid at this position. The stream is parked.
    #[error("the event at version {version} is not valid at this position: {why}")]
    InvalidEvent {
        /// Its version.
        version: Version,
        /// The reason.
        why: &'static str,
    },
}
