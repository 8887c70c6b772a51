//! The event that reports a rejected command to the producer of the event that caused it.
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::envelope::{Envelope, MAX_BYTES, Trace, json};
use dynamodb_event_store::{TraceContext, derived_id};
use service_clock::Timestamp;

/// The detail type of a rejected command.
pub(super) const DETAIL_TYPE: &str = "OrderCommandRejected";
/// The schema of its data.
pub(super) const SCHEMA: u32 = 2;

/// The most characters of an external text that are published.
const MAX_ECHO: usize = 200;

/// The most bytes of an event that is included whole. The rest of the entry consists of texts that are cut, and fits into
/// the remaining bytes.
const MAX_EVENT: usize = MAX_BYTES - 16 * 1024;

/// A command that arrived as an event and was rejected: it will not be retried.
#[derive(Clone, Debug)]
pub struct Rejection<'a> {
    /// The source of the rejected event.
    pub source: &'a str,
    /// The producer's id of that event.
    pub event_id: &'a str,
    /// Its detail type.
    pub detail_type: &'a str,
    /// The order that it names, as written in the event.
    pub order_id: Option<&'a str>,
    /// Its correlation id.
    pub correlation_id: &'a str,
    /// The trace in which it was rejected.
    pub trace: Option<TraceContext>,
    /// The rejection's stable name.
    pub code: &'a str,
    /// The rejection in words.
    pub reason: &'a str,
    /// The event itself, if it reports captured or refunded money.
    pub money: Option<&'a RawValue>,
}

/// An incoming event was rejected and is not retried. This is not an event of an order, so it has no version.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Detail<'a> {
    metadata: Metadata<'a>,
    data: Data<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Metadata<'a> {
    /// The same for every rejection of the same event: drop duplicates by it.
    event_id: Uuid,
    /// The schema of `data`.
    schema: u32,
    /// When it was rejected.
    occurred_at: Timestamp,
    /// The correlation id of the rejected event.
    correlation_id: &'a str,
    /// The id of the rejected event.
    causation_id: &'a str,
    #[serde(flatten)]
    trace: Trace<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Data<'a> {
    /// The source of the rejected event.
    source: &'a str,
    /// Its detail type.
    detail_type: &'a str,
    /// Its producer's id of it.
    event_id: &'a str,
    /// The order that it names, as written in the event; null if it names none.
    order_id: Option<&'a str>,
    /// The rejection's stable name.
    code: &'a str,
    /// The rejection in words.
    reason: &'a str,
    /// Whether the rejected event reports captured or refunded money that is now recorded nowhere.
    unrecorded_money: bool,
    /// If so, the rejected event as received; null if it is too large to be included.
    #[cfg_attr(test, schemars(with = "Option<serde_json::Map<String, serde_json::Value>>"))]
    event: Option<&'a RawValue>,
}

impl Rejection<'_> {
    /// Whether the entry contains everything that must not be lost: not if the event is too large to be included.
    pub fn is_complete(&self) -> bool {
        self.money.is_some() == self.event().is_some()
    }

    fn event(&self) -> Option<&RawValue> {
        self.money.filter(|event| event.get().len() <= MAX_EVENT)
    }

    /// The entry for the bus. Its event id is derived from the rejected event's, so it is the same however often that event
    /// is delivered.
    pub fn envelope(&self, now: Timestamp) -> Envelope {
        let event_id = derived_id(&["rejected", self.source, self.event_id]);
        let detail = Detail {
            metadata: Metadata {
                event_id,
                schema: SCHEMA,
                occurred_at: now,
                correlation_id: short(self.correlation_id),
                causation_id: short(self.event_id),
                trace: Trace::of(self.trace.as_ref()),
            },
            data: Data {
                source: short(self.source),
                detail_type: short(self.detail_type),
                event_id: short(self.event_id),
                order_id: self.order_id.map(short),
                code: self.code,
                reason: self.reason,
                unrecorded_money: self.money.is_some(),
                event: self.event(),
            },
        };
        Envelope { event_id, detail_type: DETAIL_TYPE.to_owned(), time: now, detail: json(&detail) }
    }
}

fn short(text: &str) -> &str {
    text.char_indices().nth(MAX_ECHO).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn rejection<'a>(event_id: &'a str, order_id: Option<&'a str>) -> Rejection<'a> {
        Rejection {
            source: "shipping",
            event_id,
            detail_type: "ShipmentDelivered",
            order_id,
            correlation_id: "c",
            trace: None,
            code: "order-not-shipped",
            reason: "the order is cancelled",
            money: None,
        }
    }

    fn detail(rejection: &Rejection<'_>, millis: i64) -> Value {
        let envelope = rejection.envelope(Timestamp::from_millis(millis).unwrap());
        serde_json::from_str(&envelope.detail).unwrap()
    }

    #[test]
    fn a_rejection_says_which_event_was_rejected_and_why() {
        let detail = detail(&rejection("e1", Some("o1")), 0);
        assert_eq!(detail["data"]["order_id"], "o1");
        assert_eq!(detail["data"]["code"], "order-not-shipped");
        assert_eq!(detail["metadata"]["causation_id"], "e1");
    }

    #[test]
    fn rejections_of_the_same_event_have_the_same_id() {
        let id = |event_id, millis| detail(&rejection(event_id, None), millis)["metadata"]["event_id"].clone();
        assert_eq!(id("e1", 0), id("e1", 1_000));
        assert_ne!(id("e1", 0), id("e2", 0));
    }

    #[test]
    fn a_rejection_of_unrecorded_money_contains_the_whole_event() {
        let event = |length: usize| {
            RawValue::from_string(format!("{{\"amount\":1.50,\"x\":\"{}\"}}", "x".repeat(length))).unwrap()
        };
        let other = rejection("e1", None);
        assert!(other.is_complete());
        assert_eq!(detail(&other, 0)["data"]["unrecorded_money"], false);

        let small = event(1);
        let told = Rejection { money: Some(&small), ..rejection("e1", None) };
        assert!(told.is_complete());
        let text = told.envelope(Timestamp::UNIX_EPOCH).detail;
        assert!(text.contains(r#""unrecorded_money":true,"event":{"amount":1.50,"x":"x"}"#), "{text}");
    }

    #[test]
    fn a_rejection_of_an_event_that_is_too_large_omits_it_and_is_incomplete() {
        let long = "\u{1}".repeat(1_000);
        for (length, complete) in [(MAX_EVENT - 2, true), (MAX_EVENT - 1, false)] {
            let event = RawValue::from_string(format!("\"{}\"", "x".repeat(length))).unwrap();
            let reason = "x".repeat(300);
            let told = Rejection {
                source: &long,
                detail_type: &long,
                correlation_id: &long,
                reason: &reason,
                money: Some(&event),
                ..rejection(&long, Some(&long))
            };
            assert_eq!(told.is_complete(), complete);
            let envelope = told.envelope(Timestamp::UNIX_EPOCH);
            assert!(envelope.bytes() <= MAX_BYTES, "{}", envelope.bytes());
            let detail: Value = serde_json::from_str(&envelope.detail).unwrap();
            assert_eq!(
                (&detail["data"]["unrecorded_money"], detail["data"]["event"].is_null()),
                (&Value::Bool(true), !complete)
            );
        }
    }

    #[test]
    fn long_external_texts_are_cut_at_a_character() {
        let long = "é".repeat(1_000_000);
        let detail = detail(&rejection(&long, Some(&long)), 0);
        assert_eq!(detail["data"]["order_id"], "é".repeat(MAX_ECHO));
    }
}
