//! The stored form of events, and the upcasting of every schema that was ever stored.
//!
//! An event is stored with its type and a schema number. Its newest schema is what [`OrderEvent`] serializes to. Older
//! ones are upcast by pure steps, each from one schema to the next, on the JSON alone: the types of the past are not
//! retained. To change an event's schema: change its definition, append the step to `STEPS`, and add a golden file of
//! the new schema (`UPDATE_GOLDEN=1`), leaving the old ones as they are. Readers are deployed before writers, since a
//! newer schema is an error.

use serde_json::{Map, Value, json};

use super::event::OrderEvent;

/// Converts the fields of one schema to those of the next.
type Step = fn(Map<String, Value>) -> Result<Map<String, Value>, &'static str>;

/// The events that have more than one schema, with their steps from schema 1 on.
const STEPS: &[(&str, &[Step])] = &[];

/// A stored event that this program cannot read. It must never be skipped: later events depend on it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program, or not by this service.
    #[error("unknown event type {0:?}")]
    UnknownType(String),
    /// Written by a newer program: deploy readers first.
    #[error("{event_type} has schema {schema}, but this program reads 1 to {newest}")]
    UnknownSchema {
        /// The event's type.
        event_type: String,
        /// The schema that it was stored with.
        schema: u32,
        /// The newest schema that this program reads.
        newest: u32,
    },
    /// The data does not match the schema that it was stored with.
    #[error("{event_type} could not be upcast from schema {schema} to {to}: {why}", to = schema + 1)]
    Step {
        /// The event's type.
        event_type: String,
        /// The schema that the data should have had.
        schema: u32,
        /// What was wrong.
        why: &'static str,
    },
    /// The data does not match the newest schema.
    #[error("the data of {event_type} does not match its schema")]
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
    newest(steps(event_type))
}

/// Reads a stored event of any schema.
///
/// # Errors
/// [`DecodeError`]: the stream is not to be used until a program that can read it is deployed.
pub fn decode(event_type: &str, schema: u32, data: Value) -> Result<OrderEvent, DecodeError> {
    if !OrderEvent::NAMES.contains(&event_type) {
        return Err(DecodeError::UnknownType(event_type.chars().take(64).collect()));
    }
    let data = upcast(steps(event_type), event_type, schema, data)?;
    serde_json::from_value(json!({ "type": event_type, "data": data }))
        .map_err(|source| DecodeError::Malformed { event_type: event_type.to_owned(), source })
}

/// Converts an event's data to the newest schema of its type.
fn upcast(steps: &[Step], event_type: &str, schema: u32, data: Value) -> Result<Value, DecodeError> {
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

fn steps(event_type: &str) -> &'static [Step] {
    STEPS.iter().find(|(name, _)| *name == event_type).map_or(&[], |(_, steps)| *steps)
}

/// The schema that a type has after all its steps.
fn newest(steps: &[Step]) -> u32 {
    steps.iter().fold(1, |schema, _| schema + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::golden;
    use crate::domain::harness::*;

    const EVENTS: &str = "src/domain/golden/events";

    fn file(event_type: &str, schema: u32) -> String {
        format!("{EVENTS}/{event_type}.v{schema}.json")
    }

    fn stored(event: &OrderEvent) -> Value {
        let (event_type, schema, data) = encode(event);
        json!({ "type": event_type, "schema": schema, "data": data })
    }

    #[test]
    fn an_event_is_stored_as_its_golden_file_says() {
        for event in every_event() {
            let (event_type, schema, _) = encode(&event);
            let file = file(event_type, schema);
            // Any event of the schema will do. Where the file cannot be read, the example is what differs from it.
            let golden =
                golden::read(&file).and_then(|mut golden| decode(event_type, schema, golden["data"].take()).ok());
            let advice = "give the event a new schema, with a step in codec.rs; \
                          if this schema was never deployed, delete the file";
            golden::check(&file, &stored(&golden.unwrap_or(event)), advice);
        }
    }

    #[test]
    fn every_schema_that_was_ever_stored_has_a_golden_file_and_is_read() {
        let schemas = |event_type| (1..=newest_schema(event_type)).map(move |schema| (event_type, schema));
        let known: Vec<(&str, u32)> = OrderEvent::NAMES.into_iter().flat_map(schemas).collect();
        for (event_type, schema) in &known {
            let file = file(event_type, *schema);
            let mut golden = golden::read(&file).unwrap_or_else(|| panic!("{file} is missing: {}", golden::UPDATE));
            assert_eq!((&golden["type"], &golden["schema"]), (&json!(event_type), &json!(schema)));
            let event = decode(event_type, *schema, golden["data"].take()).unwrap_or_else(|error| panic!("{error}"));
            let (newest_type, newest, data) = encode(&event);
            assert_eq!(decode(newest_type, newest, data).unwrap(), event);
        }
        let files: BTreeSet<_> = known.iter().map(|(event_type, schema)| file(event_type, *schema)).collect();
        assert_eq!(golden::files(EVENTS), files, "a golden file is of no schema in codec.rs");
        assert!(STEPS.iter().all(|(event_type, _)| OrderEvent::NAMES.contains(event_type)));
    }

    #[test]
    fn every_event_is_stored_under_the_name_it_is_published_with() {
        for (event, name) in every_event().iter().zip(OrderEvent::NAMES) {
            let published = serde_json::to_value(event).unwrap();
            assert_eq!((event.name(), &published["type"]), (name, &json!(name)));
            let (stored_type, schema, data) = encode(event);
            assert_eq!((stored_type, &data), (name, &published["data"]));
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
    fn a_stored_text_is_read_even_if_clients_may_no_longer_send_it() {
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
    fn data_that_does_not_match_its_schema_is_an_error() {
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
    const PARCELS: &[Step] = &[read_number, kilograms_to_grams];

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
    fn an_old_event_is_upcast_to_the_newest_schema_step_by_step() {
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
        assert_eq!(upcast(&[], "ParcelLost", 1, json!({"id": 7})).unwrap(), json!({"id": 7}));
    }

    #[test]
    fn a_step_that_fails_names_its_schema() {
        let failed = |schema, data| upcast(PARCELS, "ParcelWeighed", schema, data).unwrap_err().to_string();
        assert_eq!(
            failed(1, json!({"kilograms": 2})),
            "ParcelWeighed could not be upcast from schema 1 to 2: kilograms is not a number in a text"
        );
        assert_eq!(
            failed(2, json!({"grams": 2})),
            "ParcelWeighed could not be upcast from schema 2 to 3: kilograms is missing"
        );
        assert_eq!(
            failed(1, json!({"kilograms": u64::MAX.to_string()})),
            "ParcelWeighed could not be upcast from schema 2 to 3: too heavy"
        );
        assert_eq!(
            failed(1, json!([])),
            "ParcelWeighed could not be upcast from schema 1 to 2: the data is not an object"
        );
    }
}
