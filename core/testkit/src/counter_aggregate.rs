//! A small aggregate for tests with long or contended streams.

use dynamodb_event_store::{Aggregate, StoredEvent};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A total that cannot fall below zero, and a label that can make the state large.
///
/// `SCHEMA` is the snapshot's schema; otherwise counters of different schemas are the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter<const SCHEMA: u32 = 1> {
    /// The sum of added minus taken amounts.
    pub total: u64,
    /// The number of events, which reveals events applied twice.
    pub events: u64,
    /// The newest label.
    pub label: String,
}

/// The events of a counter.
#[derive(Clone, Debug, PartialEq)]
pub enum CounterEvent {
    /// The total grew.
    Added(u64),
    /// The total fell.
    Taken(u64),
    /// The label changed.
    Labelled(String),
}

/// The commands of a counter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Command {
    /// Adds to the total.
    Add(u64),
    /// Adds several times, in one commit.
    AddEach(Vec<u64>),
    /// Takes from the total; rejected when there is less.
    Take(u64),
    /// Adds what is missing to reach this total, possibly nothing.
    RaiseTo(u64),
    /// Changes the label.
    Label(String),
}

/// The total is less than the amount to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the total is {total}")]
pub struct TooLittle {
    /// The total.
    pub total: u64,
}

/// An unknown event.
#[derive(Debug, thiserror::Error)]
#[error("a counter has no event {event_type} of schema {schema}")]
pub struct UnknownEvent {
    event_type: String,
    schema: u32,
}

impl Command {
    /// Decides the command.
    ///
    /// # Errors
    /// [`TooLittle`].
    pub fn decide<const SCHEMA: u32>(&self, counter: &Counter<SCHEMA>) -> Result<Vec<CounterEvent>, TooLittle> {
        Ok(match self {
            Self::Add(amount) => vec![CounterEvent::Added(*amount)],
            Self::AddEach(amounts) => amounts.iter().copied().map(CounterEvent::Added).collect(),
            Self::Take(amount) if *amount > counter.total => return Err(TooLittle { total: counter.total }),
            Self::Take(amount) => vec![CounterEvent::Taken(*amount)],
            Self::RaiseTo(total) if *total <= counter.total => Vec::new(),
            Self::RaiseTo(total) => vec![CounterEvent::Added(total - counter.total)],
            Self::Label(label) => vec![CounterEvent::Labelled(label.clone())],
        })
    }
}

impl<const SCHEMA: u32> Aggregate for Counter<SCHEMA> {
    type Event = CounterEvent;
    /// The total after the commit, and how many events it had.
    type Outcome = (u64, u64);
    type TransitionError = TooLittle;
    type DecodeError = UnknownEvent;

    const NAME: &'static str = "counter";
    const SNAPSHOT_SCHEMA: u32 = SCHEMA;

    fn apply(&mut self, event: &CounterEvent) -> Result<(), TooLittle> {
        match event {
            CounterEvent::Added(amount) => self.total += amount,
            CounterEvent::Taken(amount) => {
                self.total = self.total.checked_sub(*amount).ok_or(TooLittle { total: self.total })?;
            }
            CounterEvent::Labelled(label) => self.label.clone_from(label),
        }
        self.events += 1;
        Ok(())
    }

    fn outcome(&self, events: &[CounterEvent]) -> (u64, u64) {
        (self.total, events.len() as u64)
    }

    fn encode(event: &CounterEvent) -> StoredEvent {
        let (event_type, schema, data) = match event {
            CounterEvent::Added(amount) => ("Added", 2, json!({ "amount": amount })),
            CounterEvent::Taken(amount) => ("Taken", 1, json!({ "amount": amount })),
            CounterEvent::Labelled(label) => ("Labelled", 1, json!({ "label": label })),
        };
        StoredEvent { event_type: event_type.into(), schema, data }
    }

    /// Schema 1 of `Added` called the amount `value`.
    fn decode(StoredEvent { event_type, schema, data }: StoredEvent) -> Result<CounterEvent, UnknownEvent> {
        let event = match (event_type.as_str(), schema) {
            ("Added", 1) => data["value"].as_u64().map(CounterEvent::Added),
            ("Added", 2) => data["amount"].as_u64().map(CounterEvent::Added),
            ("Taken", 1) => data["amount"].as_u64().map(CounterEvent::Taken),
            ("Labelled", 1) => data["label"].as_str().map(|label| CounterEvent::Labelled(label.into())),
            _ => None,
        };
        event.ok_or(UnknownEvent { event_type, schema })
    }
}
