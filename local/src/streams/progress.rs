//! How far each mapping has read its stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::watch;

use super::reader::Record;

/// Where a mapping is in a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Position {
    /// The sequence number of the newest processed record.
    pub sequence: Option<String>,
    /// The records that were processed since the start.
    pub processed: usize,
    /// The records that were read and are not processed yet.
    pub pending: usize,
    /// When the oldest of them was written.
    pub oldest_pending: Option<DateTime<Utc>>,
}

/// The positions by mapping and shard. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<watch::Sender<BTreeMap<String, Position>>>);

impl Progress {
    /// The positions, now and after each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<BTreeMap<String, Position>> {
        self.0.subscribe()
    }

    pub(super) fn received(&self, mapping: &str, shard: &str, records: &[Record]) {
        self.change(mapping, shard, |position| {
            position.pending = records.len();
            position.oldest_pending = records.first().and_then(|record| record.created);
        });
    }

    /// All records that were received last are processed, up to this one.
    pub(super) fn processed(&self, mapping: &str, shard: &str, sequence: &str) {
        self.change(mapping, shard, |position| {
            let processed = position.processed + position.pending;
            *position = Position { sequence: Some(sequence.to_owned()), processed, pending: 0, oldest_pending: None };
        });
    }

    fn change(&self, mapping: &str, shard: &str, change: impl FnOnce(&mut Position)) {
        self.0.send_modify(|positions| change(positions.entry(format!("{mapping} {shard}")).or_default()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn records_are_pending_until_they_are_processed() {
        let (progress, created) = (Progress::default(), Some(Utc::now()));
        let record = |sequence: &str| Record { sequence: sequence.into(), created, json: Value::Null };
        let now = || progress.subscribe().borrow()["m s"].clone();
        progress.received("m", "s", &[record("1"), record("2")]);
        assert_eq!(now(), Position { pending: 2, oldest_pending: created, ..Position::default() });
        progress.processed("m", "s", "2");
        assert_eq!(now(), Position { sequence: Some("2".into()), processed: 2, pending: 0, oldest_pending: None });
    }
}
