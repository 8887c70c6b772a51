//! An event from the bus: what the events of all producers have in common.
//!
//! Readers are tolerant: unknown fields are ignored, invalid optional fields are dropped, and missing fields are named.

use dynamodb_event_store::TraceContext;
use orders_core::domain::{OrderId, TextError, check_free_text, check_id};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use strict_json::Strict;

/// The longest id that is accepted from a producer: ids are stored with every commit.
const MAX_ID_BYTES: usize = 256;

/// An event as EventBridge delivers it (EventBridge user guide, "Event structure").
#[derive(Debug, Deserialize)]
#[serde(try_from = "Box<RawValue>")]
pub struct Event {
    /// The event as received.
    pub whole: Box<RawValue>,
    envelope: Envelope,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "an EventBridge event")]
struct Envelope {
    #[serde(deserialize_with = "id")]
    id: String,
    #[serde(deserialize_with = "id")]
    source: String,
    #[serde(deserialize_with = "free_text")]
    detail_type: String,
    detail: Box<RawValue>,
}

impl TryFrom<Box<RawValue>> for Event {
    type Error = serde_json::Error;

    fn try_from(whole: Box<RawValue>) -> Result<Self, Self::Error> {
        Ok(Self { envelope: strict_json::from_slice(whole.get().as_bytes())?, whole })
    }
}

/// Why an event is invalid. A retry does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// A field is missing or invalid.
    #[error("{path}: {why}")]
    Field {
        /// The field's path, from `detail` on.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A detail type that this service does not know.
    #[error("unknown detail type")]
    UnknownType,
}

impl InvalidEvent {
    /// Its stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Field { .. } => "invalid-event",
            Self::UnknownType => "unknown-detail-type",
        }
    }

    /// An invalid field of the data.
    pub fn field(name: &str, why: impl std::fmt::Display) -> Self {
        Self::Field { path: format!("detail.data.{name}"), why: why.to_string() }
    }
}

/// The detail of an event, as far as it can be read.
#[derive(Debug, Default)]
pub struct Detail {
    event_id: Option<String>,
    correlation_id: Option<String>,
    data: Option<Box<RawValue>>,
    /// The trace, if the producer sent a valid one.
    pub trace: Option<TraceContext>,
    /// The fields of the metadata that were dropped.
    pub dropped: Vec<&'static str>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Parts {
    metadata: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(expecting = "an object")]
struct Metadata {
    event_id: Option<Box<RawValue>>,
    correlation_id: Option<Box<RawValue>>,
    traceparent: Option<Box<RawValue>>,
    tracestate: Option<Box<RawValue>>,
}

/// Every command's data names its order.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Named {
    order_id: String,
}

impl Event {
    /// The service that sent it.
    pub fn source(&self) -> &str {
        &self.envelope.source
    }

    /// What happened.
    pub fn detail_type(&self) -> &str {
        &self.envelope.detail_type
    }

    /// Whether it reports that money has moved. If that cannot be recorded, it needs manual attention.
    pub fn is_money(&self) -> bool {
        matches!(self.detail_type(), "PaymentCaptured" | "RefundCompleted")
    }

    /// Reads the detail. An error is returned beside what can be read: the order's id does not depend on the metadata.
    pub fn detail(&self) -> (Detail, Result<(), InvalidEvent>) {
        let Parts { metadata, data } = match parse("detail", &self.envelope.detail) {
            Ok(parts) => parts,
            Err(error) => return (Detail::default(), Err(error)),
        };
        let metadata = metadata.map_or(Ok(Metadata::default()), |metadata| parse("detail.metadata", &metadata));
        let mut detail = Detail { data, ..Detail::default() };
        let readable = metadata.map(|Metadata { event_id, correlation_id, traceparent, tracestate }| {
            detail.event_id = detail.id("detail.metadata.event_id", event_id);
            detail.correlation_id = detail.id("detail.metadata.correlation_id", correlation_id);
            let header =
                |written: Option<Box<RawValue>>| written.and_then(|text| self::text(&text)).unwrap_or_default();
            detail.trace = TraceContext::from_headers(&header(traceparent), &header(tracestate));
        });
        (detail, readable)
    }

    /// The id that all repeats of this event share: the producer's own if there is one, since the bus gives each repeat a
    /// new one.
    pub fn id<'a>(&'a self, detail: &'a Detail) -> &'a str {
        detail.event_id.as_deref().unwrap_or(&self.envelope.id)
    }
}

impl Detail {
    fn id(&mut self, path: &'static str, written: Option<Box<RawValue>>) -> Option<String> {
        let written = text(&written?);
        if written.as_deref() == Some("") {
            return None;
        }
        let id = written.filter(|id| check_text(id, check_id).is_ok());
        if id.is_none() {
            self.dropped.push(path);
        }
        id
    }

    /// The correlation id, if the producer sent one.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// The order's id as received, if it is a valid id of any kind.
    pub fn named_order(&self) -> Option<String> {
        let Named { order_id } = self.data().ok()?;
        check_text(&order_id, check_id).is_ok().then_some(order_id)
    }

    /// The order that the event is about.
    ///
    /// # Errors
    /// [`InvalidEvent::Field`].
    pub fn order_id(&self) -> Result<OrderId, InvalidEvent> {
        let Named { order_id } = self.data()?;
        order_id.parse().map_err(|_| InvalidEvent::field("order_id", "must be a UUID"))
    }

    /// Reads the data.
    ///
    /// # Errors
    /// [`InvalidEvent::Field`].
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, InvalidEvent> {
        let missing = || InvalidEvent::Field { path: "detail".into(), why: "missing field `data`".into() };
        parse("detail.data", self.data.as_deref().ok_or_else(missing)?)
    }
}

/// An optional text. Another type is dropped: the event matters more.
pub fn optional_text(path: &str, written: Option<Box<RawValue>>) -> Option<String> {
    let read = text(&written?);
    if read.is_none() {
        count_dropped(path);
    }
    read
}

/// Counts an optional field that was dropped because it is invalid.
pub fn count_dropped(path: &str) {
    metrics::counter!("EventFieldsDropped").increment(1);
    tracing::warn!(field = path, "field dropped");
}

/// Checks a text of the event by the rule for all texts of its kind.
fn check_text(text: &str, check: fn(&str, usize) -> Result<(), TextError>) -> Result<(), String> {
    if text.len() > MAX_ID_BYTES {
        return Err(format!("must have at most {MAX_ID_BYTES} bytes"));
    }
    check(text, MAX_ID_BYTES).map_err(|error| error.to_string())
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    check_text(&id, check_id).map_err(de::Error::custom).map(|()| id)
}

fn free_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    check_text(&text, check_free_text).map_err(de::Error::custom).map(|()| text)
}

fn text(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

fn parse<T: DeserializeOwned>(root: &str, json: &RawValue) -> Result<T, InvalidEvent> {
    let mut json = serde_json::Deserializer::from_str(json.get());
    let parsed = serde_path_to_error::deserialize(&mut json).map(|Strict(parsed)| parsed);
    parsed.map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => root.to_owned(),
            path => format!("{root}.{path}"),
        };
        // Only the reason from serde_json's text: the position is of no use to a producer.
        let why = error.inner().to_string();
        let why = why.split(" at line ").next().unwrap_or_default().chars().take(200).collect();
        InvalidEvent::Field { path, why }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(detail: Value) -> Event {
        let event = json!({
            "version": "0", "id": "bus-1", "source": "payments", "detail-type": "PaymentCaptured",
            "account": "123456789012", "time": "2026-01-01T00:00:00Z", "region": "eu-central-1", "resources": [],
            "detail": detail,
        });
        serde_json::from_str(&event.to_string()).unwrap()
    }

    /// The detail of a valid event.
    fn detail(detail: Value) -> Detail {
        let (detail, readable) = event(detail).detail();
        readable.unwrap();
        detail
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(expecting = "an object")]
    struct Data {
        payment_id: String,
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let event = event(
            json!({ "metadata": { "event_id": "own", "new": 1 }, "data": { "payment_id": "p", "x": [] }, "y": 0 }),
        );
        let (detail, readable) = event.detail();
        assert_eq!((readable, event.id(&detail)), (Ok(()), "own"));
        assert_eq!(detail.data::<Data>(), Ok(Data { payment_id: "p".into() }));
        assert!(detail.dropped.is_empty());
    }

    #[test]
    fn without_a_producers_id_the_bus_id_is_used() {
        let without = [json!({}), json!({ "metadata": null }), json!({ "metadata": {} })];
        let empty = [json!(""), json!(null)].map(|id| json!({ "metadata": { "event_id": id } }));
        for detail in without.into_iter().chain(empty) {
            let event = event(detail);
            let (detail, readable) = event.detail();
            assert_eq!((readable, event.id(&detail), detail.dropped.len()), (Ok(()), "bus-1", 0));
        }
    }

    #[test]
    fn an_id_of_another_type_is_dropped_and_the_bus_id_is_used() {
        for odd in [json!(7), json!({}), json!(["own"]), json!(true), json!("x".repeat(MAX_ID_BYTES + 1))] {
            let event = event(json!({ "metadata": { "event_id": odd, "correlation_id": odd } }));
            let (detail, readable) = event.detail();
            assert_eq!((readable, event.id(&detail), detail.correlation_id()), (Ok(()), "bus-1", None), "{odd}");
            assert_eq!(detail.dropped, ["detail.metadata.event_id", "detail.metadata.correlation_id"]);
        }
        let lone =
            r#"{"id": "bus-1", "source": "s", "detail-type": "t", "detail": {"metadata": {"event_id": "\ud800"}}}"#;
        let event: Event = serde_json::from_str(lone).unwrap();
        assert_eq!(event.id(&event.detail().0), "bus-1", "a lone surrogate is not a text");
    }

    /// Texts that are not ids: with invisible characters, or too long.
    fn invalid_ids() -> Vec<String> {
        let invisible = ["\n\u{202e}evt", "\u{200b}", "evt 1", "evt\0", "\u{2800}", ".", ".."].map(str::to_owned);
        invisible.into_iter().chain(["x".repeat(MAX_ID_BYTES + 1), "é".repeat(MAX_ID_BYTES / 2 + 1)]).collect()
    }

    #[test]
    fn an_id_with_invisible_characters_is_dropped_and_the_bus_id_is_used() {
        for odd in invalid_ids() {
            let event = event(json!({ "metadata": { "event_id": odd, "correlation_id": odd } }));
            let (detail, readable) = event.detail();
            assert_eq!((readable, event.id(&detail), detail.correlation_id()), (Ok(()), "bus-1", None), "{odd:?}");
            assert_eq!(detail.dropped, ["detail.metadata.event_id", "detail.metadata.correlation_id"]);
        }
        for good in ["evt_5f1c2a", "D4yL5b5IZDTl900=", "Zoë/7", &"é".repeat(MAX_ID_BYTES / 2)] {
            let event = event(json!({ "metadata": { "event_id": good, "correlation_id": good } }));
            let (detail, _) = event.detail();
            assert_eq!((event.id(&detail), detail.correlation_id()), (good, Some(good)));
        }
    }

    #[test]
    fn an_envelope_with_invalid_names_is_rejected() {
        let with = |field: &str, text: &str| {
            let mut event = json!({ "id": "bus-1", "source": "s", "detail-type": "t", "detail": {} });
            event[field] = text.into();
            serde_json::from_str::<Event>(&event.to_string()).map_err(|error| error.to_string())
        };
        for odd in invalid_ids().into_iter().chain([String::new()]) {
            for field in ["id", "source"] {
                let error = with(field, &odd).unwrap_err();
                assert!(error.contains("must "), "{field} {odd:?}: {error}");
            }
        }
        for odd in ["a\u{202e}b", "a\nb", "\u{200b}", "", &"x".repeat(MAX_ID_BYTES + 1)] {
            assert!(with("detail-type", odd).unwrap_err().contains("must "), "{odd:?}");
        }
        with("source", "aws.partner/example.com/123").unwrap();
        with("detail-type", "Payment Captured").unwrap();
    }

    #[test]
    fn an_invalid_order_id_is_not_reported() {
        for odd in invalid_ids() {
            assert_eq!(detail(json!({ "data": { "order_id": odd } })).named_order(), None, "{odd:?}");
        }
    }

    #[test]
    fn a_missing_or_invalid_field_is_named() {
        let data = |json: Value| detail(json).data::<Data>().unwrap_err().to_string();
        assert_eq!(data(json!({})), "detail: missing field `data`");
        assert_eq!(data(json!({ "data": {} })), "detail.data: missing field `payment_id`");
        let wrong = data(json!({ "data": { "payment_id": 7 } }));
        assert_eq!(wrong, "detail.data.payment_id: invalid type: integer `7`, expected a string");
        let wrong = event(json!("text")).detail().1.unwrap_err().to_string();
        assert_eq!(wrong, "detail: invalid type: string \"text\", expected an object");
    }

    #[test]
    fn a_list_is_not_accepted_as_an_object() {
        let list = json!({ "data": ["p"] });
        assert_eq!(
            detail(list).data::<Data>().unwrap_err().to_string(),
            "detail.data: invalid type: sequence, expected an object"
        );
        assert_eq!(
            event(json!([{}, {}])).detail().1.unwrap_err().to_string(),
            "detail: invalid type: sequence, expected an object"
        );
        let whole = json!(["bus-1", "payments", "PaymentCaptured", {}]);
        let error = serde_json::from_value::<Event>(whole).unwrap_err().to_string();
        assert!(error.contains("sequence, expected an EventBridge event"), "{error}");
    }

    #[test]
    fn invalid_metadata_is_named_and_the_order_is_still_reported() {
        for metadata in [json!(["id", "corr"]), json!("id"), json!(7)] {
            let (detail, readable) = event(json!({ "metadata": metadata, "data": { "order_id": "seven" } })).detail();
            let error = readable.unwrap_err().to_string();
            assert!(error.starts_with("detail.metadata: invalid type: "), "{error}");
            assert_eq!(detail.named_order().as_deref(), Some("seven"));
        }
    }

    #[test]
    fn an_order_id_that_is_not_a_uuid_is_invalid_but_still_reported() {
        let detail = detail(json!({ "data": { "order_id": "seven" } }));
        assert_eq!(detail.order_id(), Err(InvalidEvent::field("order_id", "must be a UUID")));
        assert_eq!(detail.named_order().as_deref(), Some("seven"));
    }
}
