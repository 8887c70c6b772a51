//! The event catalog: a JSON Schema of every schema of every published event.
//!
//! The files in `docs/events` are generated from the types by tests that run with `UPDATE_GOLDEN=1`. A new schema of an
//! event gets a file of its own; the old one's stays for consumers that know it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::SchemaSettings;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::envelope::{DetailMetadata, Envelopes};
use super::rejection;
use crate::domain::harness::every_event;
use crate::domain::{OrderEvent, golden, newest_schema};
use dynamodb_event_store::{Commit, Metadata, StreamId, TraceContext};
use service_clock::Timestamp;

const FOLDER: &str = "../../docs/events";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The schema of each event's detail as it is published today, by the name of its file.
fn catalog() -> BTreeMap<String, Value> {
    let settings = || SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let metadata = settings().into_generator().into_root_schema_for::<DetailMetadata<'_>>().to_value();
    let events = settings().into_generator().into_root_schema_for::<OrderEvent>().to_value();
    let variants = events["oneOf"].as_array().cloned().unwrap_or_default();
    let entry = |variant: Value| {
        let name = variant["properties"]["type"]["const"].as_str().unwrap().to_owned();
        let schema = newest_schema(&name);
        let mut metadata = metadata.clone();
        for key in ["$schema", "title"] {
            metadata.as_object_mut().unwrap().remove(key);
        }
        metadata["properties"]["schema"] = json!({ "const": schema, "description": "The schema of `data`." });
        let detail = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": name,
            "description": variant["description"],
            "type": "object",
            "required": ["metadata", "data"],
            "properties": {
                "metadata": metadata,
                "data": { "anyOf": [variant["properties"]["data"], {
                    "type": "null",
                    "description": "The event was too large for the bus: fetch it at metadata.data_url."
                }]},
            },
        });
        (format!("{name}.v{schema}.json"), detail)
    };
    let mut rejected = settings().into_generator().into_root_schema_for::<rejection::Detail<'_>>().to_value();
    rejected["title"] = rejection::DETAIL_TYPE.into();
    rejected["properties"]["metadata"]["properties"]["schema"]["const"] = rejection::SCHEMA.into();
    let rejected = (format!("{}.v{}.json", rejection::DETAIL_TYPE, rejection::SCHEMA), rejected);
    variants.into_iter().map(entry).chain([rejected]).collect()
}

#[test]
fn the_catalog_holds_every_event_as_it_is_published_today() {
    let catalog = catalog();
    let titles: BTreeSet<_> = catalog.values().filter_map(|schema| schema["title"].as_str()).collect();
    assert_eq!(titles, OrderEvent::NAMES.into_iter().chain([rejection::DETAIL_TYPE]).collect());
    for (file, schema) in catalog {
        golden::generated(&format!("{FOLDER}/{file}"), &schema);
    }
}

#[test]
fn the_catalog_keeps_every_schema_that_was_ever_published() {
    for file in catalog().into_keys() {
        let (name, newest) = file.trim_end_matches(".json").split_once(".v").unwrap();
        for schema in 1..newest.parse::<u32>().unwrap() {
            let file = format!("{FOLDER}/{name}.v{schema}.json");
            assert!(golden::read(&file).is_some(), "{file} is missing");
        }
    }
}

/// Where a value violates its schema, in the part of JSON Schema that the catalog uses.
fn violations(value: &Value, schema: &Value, path: &str) -> Vec<String> {
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| violations(value, choice, path).is_empty());
        return if fits { vec![] } else { vec![format!("{path}: none of the choices fits {value}")] };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |wanted: &Value| wanted == kind || (wanted == "number" && kind == "integer");
    let mut found = Vec::new();
    match &schema["type"] {
        Value::Null => {}
        Value::Array(kinds) if kinds.iter().any(is) => {}
        wanted if is(wanted) => {}
        wanted => found.push(format!("{path}: {value} is no {wanted}")),
    }
    if let Some(constant) = schema.get("const").filter(|constant| *constant != value) {
        found.push(format!("{path}: {value} is not {constant}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            found.push(format!("{path}.{name} is missing"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => found.extend(violations(field, schema, &format!("{path}.{name}"))),
            None if schema["additionalProperties"] == true => {}
            None => found.push(format!("{path}.{name} is not in the catalog")),
        }
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(violations(item, &schema["items"], &format!("{path}[]")));
    }
    found
}

#[test]
fn published_events_match_the_catalog() {
    let catalog = catalog();
    let envelopes = Envelopes { currency: "EUR".parse().unwrap(), api_url: "https://api.example.com".into() };
    let detail = |event: OrderEvent| {
        let commit = Commit {
            stream: StreamId::new("0190a1b2-0000-7000-8000-000000000001"),
            first: 1,
            events: vec![event],
            id: uuid::Uuid::nil(),
            recorded_at: Timestamp::UNIX_EPOCH,
            metadata: Metadata { trace: TraceContext::parse(PARENT), ..Metadata::default() },
            request_hash: None,
            epoch: None,
        };
        envelopes.of(&commit).remove(0)
    };
    let money = RawValue::from_string(json!({ "id": "b", "detail": {} }).to_string()).unwrap();
    let rejections = [None, Some(&*money)].map(|money| {
        let rejection = rejection::Rejection {
            source: "payments",
            event_id: "e",
            detail_type: "T",
            order_id: None,
            correlation_id: "c",
            trace: TraceContext::parse(PARENT),
            code: "c",
            reason: "r",
            money,
        };
        rejection.envelope(Timestamp::UNIX_EPOCH)
    });
    let mut seen = BTreeSet::new();
    for envelope in every_event().into_iter().map(detail).chain(rejections) {
        let detail: Value = serde_json::from_str(&envelope.detail).unwrap();
        let file = format!("{}.v{}.json", envelope.detail_type, detail["metadata"]["schema"]);
        assert_eq!(violations(&detail, &catalog[&file], &envelope.detail_type), Vec::<String>::new());
        seen.insert(file);
    }
    assert_eq!(seen, catalog.into_keys().collect());
}

#[test]
fn an_event_that_does_not_match_the_catalog_is_found() {
    let schema = json!({
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": ["number", "null"] }, "b": { "const": 1 }, "c": { "type": "array", "items": { "type": "string" } } },
    });
    let found = |value: Value| violations(&value, &schema, "v").len();
    assert_eq!([found(json!({ "a": 1 })), found(json!({ "a": null, "b": 1, "c": ["x"] }))], [0, 0]);
    for wrong in [
        json!({}),
        json!({ "a": "1" }),
        json!({ "a": 1, "b": 2 }),
        json!({ "a": 1, "c": [2] }),
        json!({ "a": 1, "d": 1 }),
    ] {
        assert_eq!(found(wrong.clone()), 1, "{wrong}");
    }
}
