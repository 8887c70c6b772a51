//! The event table's stream, by which others learn what was stored.

use serde_dynamo::Item;

/// A record of the event table's stream.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    /// The record's name in the stream.
    pub sequence_number: String,
    /// The key of the item that it is about.
    pub keys: Item,
    /// What happened to that item.
    pub change: Change,
}

/// What happened to an item of the event table.
#[derive(Clone, Debug)]
pub enum Change {
    /// It was added: this is it.
    Inserted(Item),
    /// It was replaced or altered, which nothing may do.
    Modified,
    /// It was deleted, which nothing may do.
    Removed,
}
