//! A test aggregate: a list of numbers.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::convert::Infallible;
use uuid::Uuid;

use super::aggregate::{Aggregate, StoredEvent};
use super::commit::{Commit, Metadata};
use super::stream_id::{StreamId, Version};
use service_clock::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Numbers(pub Vec<u64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a number")]
pub(super) struct NotANumber;

impl Aggregate for Numbers {
    type Event = u64;
    type Outcome = usize;
    type TransitionError = Infallible;
    type DecodeError = NotANumber;

    const NAME: &'static str = "numbers";
    const SNAPSHOT_SCHEMA: u32 = 7;

    fn apply(&mut self, event: &u64) -> Result<(), Infallible> {
        self.0.push(*event);
        Ok(())
    }

    fn outcome(&self, events: &[u64]) -> usize {
        events.len()
    }

    fn encode(event: &u64) -> StoredEvent {
        StoredEvent { event_type: "Number".into(), schema: 1, data: json!({ "value": event }) }
    }

    fn decode(stored: StoredEvent) -> Result<u64, NotANumber> {
        stored.data["value"].as_u64().filter(|_| stored.event_type == "Number").ok_or(NotANumber)
    }
}

pub(super) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_millis((1_767_322_800 + seconds) * 1_000).unwrap()
}

/// Events that equal their versions, recorded that many seconds after the start.
pub(super) fn commit(first: Version, events: u64) -> Commit<u64> {
    Commit {
        stream: StreamId::new("numbers"),
        first,
        events: (first..first + events).collect(),
        id: Uuid::from_u128(first.into()),
        recorded_at: time(first.cast_signed()),
        metadata: Metadata::default(),
        request_hash: None,
        epoch: None,
    }
}
