//! Records of the event table's DynamoDB stream.

use serde_dynamo::{AttributeValue, Item};
use service_clock::Timestamp;

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

impl StreamRecord {
    /// When the commit was recorded; `None` if the record is not a readable commit.
    pub fn recorded_at(&self) -> Option<Timestamp> {
        match &self.change {
            Change::Inserted(commit) => match commit.get("recorded_at")? {
                AttributeValue::S(time) => time.parse().ok(),
                _ => None,
            },
            Change::Modified | Change::Removed => None,
        }
    }
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
