//! The stored form of the facts, and the way from every schema that was ever stored to today's types.
//!
//! An event is stored with its type and a schema number. Its newest schema is what [`OrderEvent`] serialises to; an
//! older one is brought there by pure steps, each from one schema to the next, on the JSON alone: the types of the past
//! are not kept. To change an event's schema: change the type, append the step to `TYPES`, and add a golden file of
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
    (event.name(), newest_schema(event.name()), tagged["data"].take())
}

/// The schema that events of this type are stored with today.
pub fn newest_schema(event_type: &str) -> u32 {
    newest(steps(TYPES, event_type).unwrap_or_default())
}

/// Every type of event that this program can read, with its newest schema.
#[cfg(test)]
pub fn known() -> std::collections::BTreeMap<&'static str, u32> {
    TYPES.iter().map(|(event_type, steps)| (*event_type, newest(steps))).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::domain::harness::*;

    /// Every golden file, by type and schema.
    fn golden_events() -> BTreeMap<(String, u32), Value> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain/golden/events");
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        files
            .map(|path| {
                let stored: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                let event_type = stored["type"].as_str().unwrap().to_owned();
                let schema = u32::try_from(stored["schema"].as_u64().unwrap()).unwrap();
                assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{event_type}.v{schema}.json"));
                ((event_type, schema), stored["data"].clone())
            })
            .collect()
    }

    #[test]
    fn there_is_a_golden_file_of_every_schema_ever_stored() {
        let stored: Vec<_> = golden_events().into_keys().collect();
        let mut known: Vec<_> = TYPES
            .iter()
            .flat_map(|(event_type, steps)| (1..=newest(steps)).map(|schema| (event_type.to_string(), schema)))
            .collect();
        known.sort();
        assert_eq!(stored, known);
    }

    #[test]
    fn every_golden_file_is_read_and_the_newest_is_what_would_be_written() {
        for ((event_type, schema), data) in golden_events() {
            let event = decode(&event_type, schema, data.clone()).unwrap_or_else(|error| panic!("{error}"));
            let (encoded_type, encoded_schema, encoded) = encode(&event);
            assert_eq!(encoded_type, event_type);
            if schema == encoded_schema {
                assert_eq!(encoded, data, "{event_type} has changed: give it a new schema, a step and a golden file");
            }
            assert_eq!(decode(encoded_type, encoded_schema, encoded).unwrap(), event);
        }
    }

    #[test]
    fn every_event_is_stored_under_the_name_it_is_published_with() {
        let due = refund_due("p1", TOTAL, "the order was cancelled");
        let refunded = refunded("p1", "r1", TOTAL);
        let events =
            [created(), paid("p1"), shipped(), delivered(), cancelled(), deferred("p1"), rejected("p1"), due, refunded];
        assert_eq!(events.len(), TYPES.len());
        for (event, (event_type, _)) in events.iter().zip(TYPES) {
            let published = serde_json::to_value(event).unwrap();
            assert_eq!((event.name(), &published["type"]), (*event_type, &json!(event_type)));
            let (stored_type, schema, data) = encode(event);
            assert_eq!((stored_type, &data), (*event_type, &published["data"]));
            assert_eq!(decode(stored_type, schema, data).unwrap(), *event);
        }
    }

    #[test]
    fn an_unknown_type_or_a_newer_schema_is_an_error() {
        let (_, _, data) = encode(&created());
        let unknown = decode("OrderGiftWrapped", 1, data.clone());
        assert!(matches!(unknown, Err(DecodeError::UnknownType(name)) if name == "OrderGiftWrapped"));
        for schema in [0, 2, u32::MAX] {
            let newer = decode("OrderCreated", schema, data.clone());
            assert!(matches!(newer, Err(DecodeError::UnknownSchema { newest: 1, .. })), "{schema}");
        }
        let hostile = decode(&"x".repeat(1_000_000), 1, data).unwrap_err();
        assert!(hostile.to_string().len() < 100);
    }

    #[test]
    fn a_text_that_no_client_may_send_any_more_is_read_all_the_same() {
        let (_, _, mut cancelled) = encode(&cancelled());
        let (_, _, mut paid) = encode(&paid("p1"));
        for text in ["\u{200b}", "a\u{2068}b", "a\nb", &"x".repeat(1_000)] {
            cancelled["reason"] = json!(text);
            assert_eq!(encode(&decode("OrderCancelled", 1, cancelled.clone()).unwrap()).2, cancelled);
            paid["payment_id"] = json!(text);
            assert_eq!(encode(&decode("OrderPaid", 1, paid.clone()).unwrap()).2, paid);
        }
    }

    #[test]
    fn data_that_is_not_of_its_schema_is_an_error() {
        let (_, _, paid) = encode(&paid("p1"));
        for (field, value) in [
            ("amount", json!(-1)),
            ("amount", json!(19.99)),
            ("amount", json!("4000")),
            ("payment_id", json!(7)),
            ("order_id", json!(7)),
            ("paid_at", json!("yesterday")),
            ("paid_at", Value::Null),
        ] {
            let mut data = paid.clone();
            data[field] = value;
            assert!(matches!(decode("OrderPaid", 1, data), Err(DecodeError::Malformed { .. })), "{field}");
        }
        for data in [Value::Null, json!([]), json!("OrderPaid"), json!({})] {
            assert!(matches!(decode("OrderPaid", 1, data), Err(DecodeError::Malformed { .. })));
        }
        assert!(matches!(decode("OrderShipped", 1, paid), Err(DecodeError::Malformed { .. })));
    }

    /// A parcel's weight: kilograms as a text, then as a number, then grams.
    const PARCELS: &Steps = &[("ParcelWeighed", &[read_number, kilograms_to_grams]), ("ParcelLost", &[])];

    fn read_number(mut fields: Map<String, Value>) -> Result<Map<String, Value>, &'static str> {
        let kilograms = fields.get("kilograms").and_then(Value::as_str).and_then(|text| text.parse::<u64>().ok());
        fields.insert("kilograms".into(), kilograms.ok_or("kilograms is not a number in a text")?.into());
        Ok(fields)
    }

    fn kilograms_to_grams(mut fields: Map<String, Value>) -> Result<Map<String, Value>, &'static str> {
        let kilograms = fields.remove("kilograms").and_then(|value| value.as_u64()).ok_or("kilograms is missing")?;
        fields.insert("grams".into(), kilograms.checked_mul(1_000).ok_or("too heavy")?.into());
        Ok(fields)
    }

    #[test]
    fn an_old_event_is_brought_to_the_newest_schema_step_by_step() {
        let newest = json!({"id": 7, "grams": 2000});
        for (schema, data) in
            [(1, json!({"id": 7, "kilograms": "2"})), (2, json!({"id": 7, "kilograms": 2})), (3, newest.clone())]
        {
            assert_eq!(upcast(PARCELS, "ParcelWeighed", schema, data).unwrap(), newest, "schema {schema}");
        }
        assert!(matches!(
            upcast(PARCELS, "ParcelWeighed", 4, newest.clone()),
            Err(DecodeError::UnknownSchema { schema: 4, newest: 3, .. })
        ));
        assert_eq!(upcast(PARCELS, "ParcelLost", 1, json!({"id": 7})).unwrap(), json!({"id": 7}));
    }

    #[test]
    fn a_step_that_fails_names_its_schema() {
        let failed = |schema, data| upcast(PARCELS, "ParcelWeighed", schema, data).unwrap_err().to_string();
        assert_eq!(
            failed(1, json!({"kilograms": 2})),
            "ParcelWeighed of schema 1 could not be brought to schema 2: kilograms is not a number in a text"
        );
        assert_eq!(
            failed(2, json!({"grams": 2})),
            "ParcelWeighed of schema 2 could not be brought to schema 3: kilograms is missing"
        );
        assert_eq!(
            failed(1, json!({"kilograms": u64::MAX.to_string()})),
            "ParcelWeighed of schema 2 could not be brought to schema 3: too heavy"
        );
        assert_eq!(
            failed(1, json!([])),
            "ParcelWeighed of schema 1 could not be brought to schema 2: the data is not an object"
        );
    }
}
