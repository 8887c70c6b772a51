//! What the store asks of the thing whose facts it keeps.

use std::error::Error;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A state that is the fold of its events.
///
/// `Default` is the state before the first event. The serialised form is what snapshots hold: raise
/// [`Aggregate::SNAPSHOT_SCHEMA`] whenever it, the meaning of [`Aggregate::apply`], or what [`Aggregate::decode`] can read
/// changes, and snapshots of the other schema are passed over. So a program never goes on from a snapshot over an event
/// that it could not have read itself.
pub trait Aggregate:
    Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The facts.
    type Event: Clone + Debug + PartialEq + Send + Sync + 'static;
    /// What one commit answers to whoever asked for it: kept, compactly, for repeats of the same request.
    type Outcome: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// An event that cannot follow the state it is applied to.
    type TransitionError: Error + Send + Sync + 'static;
    /// A stored event that this program cannot read.
    type DecodeError: Error + Send + Sync + 'static;

    /// What its kind is called, such as `gift-card`. It never changes: snapshots carry it, so that a stream of one kind is not
    /// taken for a stream of another.
    const NAME: &'static str;

    /// The schema of the serialised state.
    const SNAPSHOT_SCHEMA: u32;

    /// Moves the state by one event.
    ///
    /// # Errors
    /// The event cannot follow: the stream is corrupt, and the state must not be used any further.
    fn apply(&mut self, event: &Self::Event) -> Result<(), Self::TransitionError>;

    /// What a commit of `events` that led to this state answers. `events` is empty for a command that was already
    /// satisfied.
    fn outcome(&self, events: &[Self::Event]) -> Self::Outcome;

    /// The stored form of an event, in its newest schema.
    fn encode(event: &Self::Event) -> StoredEvent;

    /// Reads a stored event of any schema up to the newest, upcasting it one to one.
    ///
    /// # Errors
    /// An unknown type or a newer schema; the event is never skipped.
    fn decode(stored: StoredEvent) -> Result<Self::Event, Self::DecodeError>;
}

/// An event as the table holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The name of the fact.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The schema that `data` follows, from 1.
    pub schema: u32,
    /// The fields. No floating point numbers.
    pub data: serde_json::Value,
}

impl StoredEvent {
    /// The stored form, in schema 1, of an event that serde writes as `{"type": …, "data": {…}}`
    /// (`#[serde(tag = "type", content = "data")]`). An event without fields has no data.
    ///
    /// # Panics
    /// The event serialises to something else, or not at all: a mistake of the program that its first test shows.
    pub fn tagged(event: &impl Serialize) -> Self {
        #[expect(clippy::expect_used, reason = "an enum whose variants are adjacently tagged serialises like this")]
        let mut tagged = serde_json::to_value(event).expect("an event that serialises");
        #[expect(clippy::expect_used, reason = "the same")]
        let event_type = tagged["type"].as_str().expect("an event with a type").to_owned();
        Self { event_type, schema: 1, data: tagged["data"].take() }
    }

    /// Reads an event that [`StoredEvent::tagged`] has made.
    ///
    /// # Errors
    /// A type that is not known, or data that is not of it; and a schema other than 1, which needs a step of its own.
    pub fn into_tagged<E: DeserializeOwned>(self) -> Result<E, serde_json::Error> {
        if self.schema != 1 {
            let problem = format!("{} has schema {}, but this program reads 1", self.event_type, self.schema);
            return Err(serde::de::Error::custom(problem));
        }
        serde_json::from_value(serde_json::json!({ "type": self.event_type, "data": self.data }))
    }
}
