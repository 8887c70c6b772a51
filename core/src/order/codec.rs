//! The stored form of the facts, and the way from every schema that was ever stored to today's types.
//!
//! An event is stored with its type and a schema number. Its newest schema is what [`OrderEvent`] serialises to; an
//! older one is brought there by pure steps, each from one schema to the next, on the JSON alone: the types of the past
//! are not kept. To change an event's schema: change the type, append the step to [`TYPES`], and add a golden file of
//! the new schema, leaving the old ones as they are. Readers are deployed before writers, since a newer schema is an
//! error.

use serde_json::{Map, Value, json};

use super::event::OrderEvent;

/// The fields of an event of one schema, made into those of the next.
type Step = fn(Map<String, Value>) -> Result<Map<String, Value>, &'static str>;

/// Every type of event with its steps from schema 1 on: without steps, schema 1 is the newest.
type Steps = [(&'static str, &'static [Step])];

const TYPES: &Steps = &[
    ("OrderCreated", &[]),
    ("OrderPaid", &[]),
    ("OrderShipped", &[]),
    ("OrderDelivered", &[]),
    ("OrderCancelled", &[]),
    ("OrderPaymentDeferred", &[]),
    ("OrderPaymentRejected", &[]),
    ("OrderRefundDue", &[]),
    ("OrderRefunded", &[]),
];

/// A stored event that this program cannot read. It must never be skipped: what follows it depends on it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program, or not by this service.
    #[error("unknown type of event {0:?}")]
    UnknownType(String),
    /// Written by a newer program: deploy readers first.
    #[error("{event_type} has schema {schema}, but this program reads 1 to {newest}")]
    UnknownSchema {
        /// The event's type.
        event_type: String,
        /// The schema it was stored with.
        schema: u32,
        /// The newest schema that is known here.
        newest: u32,
    },
    /// The data is not of the schema that it claims.
    #[error("{event_type} of schema {schema} could not be brought to schema {to}: {why}", to = schema + 1)]
    Step {
        /// The event's type.
        event_type: String,
        /// The schema that the data should have had.
        schema: u32,
        /// What was wrong.
        why: &'static str,
    },
    /// The data is not of the newest schema.
    #[error("{event_type} does not hold what it should")]
    Malformed {
        /// The event's type.
        event_type: String,
        /// What was wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// The type, the newest schema and the data that an event is stored with.
pub fn encode(event: &OrderEvent) -> (&'static str, u32, Value) {
    #[expect(clippy::expect_used, reason = "ids, texts, integers and times in structs with text keys: always JSON")]
    let mut tagged = serde_json::to_value(event).expect("an event is JSON");
    (event.name(), newest(steps(TYPES, event.name()).unwrap_or_default()), tagged["data"].take())
}

/// Reads a stored event of any schema.
///
/// # Errors
/// [`DecodeError`]: the stream is not to be used until a program that can read it is deployed.
pub fn decode(event_type: &str, schema: u32, data: Value) -> Result<OrderEvent, DecodeError> {
    let data = upcast(TYPES, event_type, schema, data)?;
    serde_json::from_value(json!({ "type": event_type, "data": data }))
        .map_err(|source| DecodeError::Malformed { event_type: event_type.to_owned(), source })
}

/// Brings an event's data to the newest schema of its type.
fn upcast(types: &Steps, event_type: &str, schema: u32, data: Value) -> Result<Value, DecodeError> {
    let steps =
        steps(types, event_type).ok_or_else(|| DecodeError::UnknownType(event_type.chars().take(64).collect()))?;
    let unknown = || DecodeError::UnknownSchema { event_type: event_type.to_owned(), schema, newest: newest(steps) };
    let behind = schema.checked_sub(1).and_then(|done| steps.get(done as usize..)).ok_or_else(unknown)?;
    let mut at = schema;
    behind.iter().try_fold(data, |data, step| {
        let failed = |why| DecodeError::Step { event_type: event_type.to_owned(), schema: at, why };
        let Value::Object(fields) = data else { return Err(failed("the data is not an object")) };
        let data = step(fields).map_err(failed)?;
        at += 1;
        Ok(Value::Object(data))
    })
}

fn steps(types: &Steps, event_type: &str) -> Option<&'static [Step]> {
    types.iter().find(|(name, _)| *name == event_type).map(|(_, steps)| *steps)
}

/// The schema that a type has after all its steps.
fn newest(steps: &[Step]) -> u32 {
    steps.iter().fold(1, |schema, _| schema + 1)
}
