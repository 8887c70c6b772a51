//! Records of the event table's DynamoDB stream.

use serde_dynamo::Item;

/// A record of the event table's stream.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    /// The sequence number.
    pub sequence_number: String,
    /// The key of the item.
    pub keys: Item,
    /// The change of the item.
    pub change: Change,
}

/// A change of an item of the event table.
#[derive(Clone, Debug)]
pub enum Change {
    /// The item was added.
    Inserted(Item),
    /// The item was modified, which is a violation.
    Modified,
    /// The item was deleted, which is a violation.
    Removed,
}
