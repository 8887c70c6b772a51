//! The interface between the store and an aggregate.

use std::error::Error;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A state that is folded from its events.
///
/// `Default` is the state before the first event. Snapshots hold the serialized form. Raise
/// [`Aggregate::SNAPSHOT_SCHEMA`] whenever that form, [`Aggregate::apply`] or [`Aggregate::decode`] changes; snapshots
/// of another schema are ignored. So a program never continues from a snapshot of an event that it cannot read itself.
pub trait Aggregate:
    Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The events.
    type Event: Clone + Debug + PartialEq + Send + Sync + 'static;
    /// The result of a commit, stored compactly to answer repeats of its request.
    type Outcome: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// An event that is not valid in the current state.
    type TransitionError: Error + Send + Sync + 'static;
    /// A stored event that this program cannot read.
    type DecodeError: Error + Send + Sync + 'static;

    /// The name of the aggregate, such as `gift-card`. It must never change: snapshots carry it, so that a stream is
    /// not read as one of another aggregate.
    const NAME: &'static str;

    /// The schema of the serialized state.
    const SNAPSHOT_SCHEMA: u32;

    /// Applies an event.
    ///
    /// # Errors
    /// The event is not valid in this state: the stream is corrupt and the state must not be used further.
    fn apply(&mut self, event: &Self::Event) -> Result<(), Self::TransitionError>;

    /// The result of a commit of `events` that led to this state. `events` is empty for a command that changes nothing.
    fn outcome(&self, events: &[Self::Event]) -> Self::Outcome;

    /// Encodes an event in its newest schema.
    fn encode(event: &Self::Event) -> StoredEvent;

    /// Decodes a stored event of any schema up to the newest, upcasting it one to one.
    ///
    /// # Errors
    /// An unknown type or a newer schema. Events are never skipped.
    fn decode(stored: StoredEvent) -> Result<Self::Event, Self::DecodeError>;
}

/// An event as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The schema of `data`, from 1.
    pub schema: u32,
    /// The fields, without floating-point numbers.
    pub data: serde_json::Value,
}

impl StoredEvent {
    /// The stored form, in schema 1, of an event that serde writes as `{"type": …, "data": {…}}` (`#[serde(tag =
    /// "type", content = "data")]`). An event without fields has no data.
    ///
    /// # Panics
    /// The event serializes to another form, or not at all; any test of the event shows it.
    pub fn tagged(event: &impl Serialize) -> Self {
        #[expect(clippy::expect_used, reason = "an enum whose variants are adjacently tagged serializes like this")]
        let mut tagged = serde_json::to_value(event).expect("an event that serializes");
        #[expect(clippy::expect_used, reason = "the same")]
        let event_type = tagged["type"].as_str().expect("an event with a type").to_owned();
        Self { event_type, schema: 1, data: tagged["data"].take() }
    }

    /// Decodes an event that [`StoredEvent::tagged`] encoded.
    ///
    /// # Errors
    /// An unknown type, invalid data, or a schema other than 1, which needs an upcast.
    pub fn into_tagged<E: DeserializeOwned>(self) -> Result<E, serde_json::Error> {
        if self.schema != 1 {
            let problem = format!("{} has schema {}, but this program supports 1", self.event_type, self.schema);
            return Err(serde::de::Error::custom(problem));
        }
        serde_json::from_value(serde_json::json!({ "type": self.event_type, "data": self.data }))
    }
}
