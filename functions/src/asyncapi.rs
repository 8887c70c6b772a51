//! `docs/api/asyncapi.json`: the events out and in, as an AsyncAPI 3.0 document.
//!
//! It is generated: the events out from `docs/events`, the events in from the table below, which a test compares with the
//! functions. `UPDATE_GOLDEN=1 cargo test -p orders-functions --lib asyncapi` writes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use orders_core::domain::Currency;
use serde_json::{Map, Value, json};

use crate::incoming::event::{Event, InvalidEvent};
use crate::incoming::{payments, shipping};

/// The events in: source, detail type, what it reports, and the fields of its data; `?` marks those that are optional.
const INCOMING: [(&str, &str, &str, &[&str]); 5] = [
    (
        "payments",
        "PaymentCaptured",
        "A payment was captured. It pays the order, or is due for refund.",
        &["order_id", "payment_id", "amount", "currency?"],
    ),
    ("payments", "PaymentFailed", "A payment was declined.", &["order_id", "payment_id", "reason?"]),
    (
        "payments",
        "RefundCompleted",
        "Money was refunded.",
        &["order_id", "payment_id", "refund_id", "amount", "currency?"],
    ),
    ("shipping", "ShipmentDispatched", "The parcel is on its way.", &["order_id", "tracking_number"]),
    ("shipping", "ShipmentDelivered", "The parcel has arrived.", &["order_id"]),
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn json_files(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(project().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
    files.sort();
    files
}

/// The examples of incoming events, which are those for `sam local invoke`.
fn examples() -> Vec<Value> {
    let is_incoming = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("on-");
    json_files("events").iter().filter(is_incoming).map(|path| read(path)).collect()
}

fn field(name: &str) -> Value {
    match name {
        "order_id" => json!({"type": "string", "format": "uuid"}),
        "amount" => json!({"type": "number", "description": "With no more decimals than the currency has."}),
        "currency" => json!({"type": "string", "description": "The ISO 4217 code of the deployment's currency."}),
        "reason" => json!({"type": "string"}),
        _ => json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^\\S+$"}),
    }
}

fn detail(fields: &[&str]) -> Value {
    let name = |field: &str| field.trim_end_matches('?').to_owned();
    let required: Vec<_> = fields.iter().filter(|field| !field.ends_with('?')).collect();
    let properties: Map<_, _> = fields.iter().map(|given| (name(given), field(&name(given)))).collect();
    let id = |description: &str| json!({"type": "string", "maxLength": 256, "description": description});
    let metadata = json!({
        "event_id": id("The producer's id of the event, which is processed once."),
        "correlation_id": id("Shared by everything that results from one external request."),
        "traceparent": id("The trace that the event belongs to (W3C Trace Context)."),
        "tracestate": {"type": "string", "description": "The vendors' part of the trace."},
    });
    json!({
        "type": "object",
        "required": ["data"],
        "properties": {
            "metadata": {"type": "object", "properties": metadata},
            "data": {"type": "object", "required": required, "properties": properties},
        },
    })
}

/// A message: its source and detail type, and the schema of its detail.
fn message(source: &str, detail_type: &str, summary: &Value, detail: Value) -> Value {
    json!({
        "name": detail_type,
        "summary": summary,
        "contentType": "application/json",
        "payload": {
            "type": "object",
            "required": ["source", "detail-type", "detail"],
            "properties": {
                "source": {"const": source},
                "detail-type": {"const": detail_type},
                "time": {"type": "string", "format": "date-time"},
                "replay-name": {"type": "string", "description": "Present if the event is replayed from the archive."},
                "detail": detail,
            },
        },
    })
}

fn document() -> Value {
    let mut messages = Map::new();
    let mut channels: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut add = |source, key: String, message| {
        let reference = json!({"$ref": format!("#/components/messages/{key}")});
        channels.entry(source).or_default().insert(key.clone(), reference);
        messages.insert(key, message);
    };
    for path in json_files("docs/events") {
        let file = path.file_name().unwrap().to_str().unwrap();
        let schema = read(&path);
        let detail = json!({"$ref": format!("../events/{file}")});
        let message = message("orders", schema["title"].as_str().unwrap(), &schema["description"], detail);
        add("orders", file.trim_end_matches(".json").to_owned(), message);
    }
    let examples = examples();
    for (source, detail_type, summary, fields) in INCOMING {
        let mut message = message(source, detail_type, &summary.into(), detail(fields));
        let own = examples.iter().filter(|event| event["detail-type"] == detail_type);
        message["examples"] = own.map(|event| json!({"payload": event})).collect();
        add(source, detail_type.to_owned(), message);
    }
    let channel = |(source, messages): (&&str, &Map<String, Value>)| {
        let description = format!("Events on the bus with the source `{source}`.");
        ((*source).to_owned(), json!({"address": source, "description": description, "messages": messages}))
    };
    let operation = |source: &str, name: &str, action: &str, summary: &str| {
        let channel = json!({"$ref": format!("#/channels/{source}")});
        (name.to_owned(), json!({"action": action, "channel": channel, "summary": summary}))
    };
    let operations: Map<_, _> = [
        operation("orders", "publishOrderEvents", "send", "Publishes every event of every order, and rejections."),
        operation("payments", "onPaymentEvent", "receive", "Records payments and refunds."),
        operation("shipping", "onShipmentEvent", "receive", "Ships and delivers orders."),
    ]
    .into_iter()
    .collect();
    let channels: Map<_, _> = channels.iter().map(channel).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events of orders",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "On the EventBridge bus that the output `EventBusName` names. docs/events.md has the guarantees.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    })
}

#[test]
fn the_asyncapi_document_is_current() {
    let path = project().join("docs/api/asyncapi.json");
    let document = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if env::var_os("UPDATE_GOLDEN").is_some_and(|set| set == "1") {
        fs::write(&path, &document).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document, "UPDATE_GOLDEN=1 cargo test -p orders-functions --lib asyncapi");
}

#[test]
fn the_rules_of_the_bus_pass_on_exactly_the_events_of_the_document() {
    let template = fs::read_to_string(project().join("template.yaml")).unwrap();
    for source in ["payments", "shipping"] {
        let own = INCOMING.iter().filter(|(of, ..)| *of == source);
        let detail_types: Vec<_> = own.map(|(_, detail_type, ..)| *detail_type).collect();
        let indent = " ".repeat(14);
        let rule = format!("{indent}source: [{source}]\n{indent}detail-type: [{}]\n", detail_types.join(", "));
        assert!(template.contains(&rule), "template.yaml has no rule of the form\n{rule}");
    }
}

/// Whether the functions can read the event.
fn is_read(event: &Value) -> Result<(), InvalidEvent> {
    let event: Event = serde_json::from_str(&event.to_string()).unwrap();
    let (detail, readable) = event.detail();
    readable?;
    detail.order_id()?;
    let currency: Currency = "EUR".parse().unwrap();
    match event.source() {
        "payments" => payments::command(event.detail_type(), &detail, &currency).map(drop),
        _ => shipping::command(event.detail_type(), &detail).map(drop),
    }
}

#[test]
fn the_functions_require_exactly_the_fields_that_the_document_requires() {
    let examples = examples();
    for (source, detail_type, _, fields) in INCOMING {
        let example = examples.iter().find(|event| event["detail-type"] == detail_type && is_read(event).is_ok());
        let example = example.unwrap_or_else(|| panic!("events/ has no valid {detail_type}"));
        assert_eq!(example["source"], source);
        for name in fields {
            let mut event = example.clone();
            event["detail"]["data"].as_object_mut().unwrap().remove(name.trim_end_matches('?'));
            assert_eq!(is_read(&event).is_ok(), name.ends_with('?'), "{detail_type} without {name}");
        }
        let known: Vec<_> = fields.iter().map(|name| name.trim_end_matches('?')).collect();
        let own = example["detail"]["data"].as_object().unwrap();
        assert!(own.keys().all(|name| known.contains(&name.as_str())), "{detail_type}: {own:?}");
    }
}
