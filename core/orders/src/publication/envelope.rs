//! The form in which an event is published.
//!
//! Its id is stable, so consumers drop duplicates by it. A bus preserves no order, so consumers order by `version`.
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::event::OrderEvent;
use crate::domain::money::Currency;
use crate::domain::{newest_schema, wire};
use dynamodb_event_store::{Commit, TraceContext, Version, derived_id};
use service_clock::Timestamp;

/// The source of every entry.
pub const SOURCE: &str = "orders";

/// The most bytes of one request to the bus, and so of one entry, by EventBridge's way of counting.
///
/// EventBridge took 256 KB until 2026 and takes 1 MB since; many targets still take no more than the former, and what
/// they get is larger than the entry by the rest of the event.
pub(super) const MAX_BYTES: usize = 240 * 1024;

/// One entry for the bus.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The same whenever the event is published.
    pub event_id: Uuid,
    /// The type of the event, which rules select by.
    pub detail_type: String,
    /// When it was recorded.
    pub time: Timestamp,
    /// The JSON text: `{"metadata": …, "data": …}`, after the schemas in `docs/events`.
    pub detail: String,
}

impl Envelope {
    /// The entry's size as EventBridge counts it: 14 bytes for the time, and the texts' UTF-8.
    pub(super) fn bytes(&self) -> usize {
        14 + SOURCE.len() + self.detail_type.len() + self.detail.len()
    }
}

/// What a consumer reads.
#[derive(Serialize)]
struct Detail<'a> {
    metadata: DetailMetadata<'a>,
    /// The fields of the event, amounts as decimal numbers; null if it was too large for the bus.
    data: Option<Value>,
}

/// The metadata of every event.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct DetailMetadata<'a> {
    /// The same whenever this event is published: drop duplicates by it.
    event_id: Uuid,
    /// The order.
    order_id: &'a str,
    /// The event's position in the order's stream, from 1 without gaps: sort by it.
    version: Version,
    /// The schema of `data`.
    schema: u32,
    /// When the event was recorded.
    occurred_at: Timestamp,
    /// Shared by everything that results from one external request.
    correlation_id: &'a str,
    /// The request or event that caused this one.
    causation_id: &'a str,
    #[serde(flatten)]
    trace: Trace<'a>,
    /// Present if the event was too large for the bus: where its data can be fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_url: Option<String>,
}

/// The trace of an event, which what follows from the event continues.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Trace<'a> {
    /// The trace of the request or event that caused this one, as in the W3C Recommendation "Trace Context"; absent if that
    /// had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// The vendors' part of the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
}

impl<'a> Trace<'a> {
    pub(super) fn of(trace: Option<&'a TraceContext>) -> Self {
        Self { traceparent: trace.map(TraceContext::to_string), tracestate: trace.and_then(TraceContext::tracestate) }
    }
}

/// The id of the event of `commit` at `version`: the same whoever publishes it, and however often.
///
/// It is derived from the event's position alone, until the store was restored from a backup. The positions that were lost
/// then are reused by other events, whose commits have an epoch.
pub fn event_id<E>(commit: &Commit<E>, version: Version) -> Uuid {
    let version = version.to_string();
    let place = ["event", commit.stream.as_str(), &version];
    match &commit.epoch {
        None => derived_id(&place),
        Some(epoch) => derived_id(&[&place[..], &[epoch.as_str()]].concat()),
    }
}

/// Makes the entries of commits.
#[derive(Clone, Debug)]
pub struct Envelopes {
    /// The currency that amounts are shown in.
    pub currency: Currency,
    /// The address of the API, without a slash at its end: where events too large for the bus are fetched.
    pub api_url: String,
}

impl Envelopes {
    /// The entries of a commit, one for each event, in order.
    pub fn of(&self, commit: &Commit<OrderEvent>) -> Vec<Envelope> {
        commit.versioned().map(|(version, event)| self.envelope(commit, version, event)).collect()
    }

    fn envelope(&self, commit: &Commit<OrderEvent>, version: Version, event: &OrderEvent) -> Envelope {
        let mut detail = Detail {
            metadata: DetailMetadata {
                event_id: event_id(commit, version),
                order_id: commit.stream.as_str(),
                version,
                schema: newest_schema(event.name()),
                occurred_at: commit.recorded_at,
                correlation_id: &commit.metadata.correlation_id,
                causation_id: &commit.metadata.causation_id,
                trace: Trace::of(commit.metadata.trace.as_ref()),
                data_url: None,
            },
            data: Some(wire::data(event, &self.currency)),
        };
        let mut envelope = Envelope {
            event_id: detail.metadata.event_id,
            detail_type: event.name().to_owned(),
            time: commit.recorded_at,
            detail: json(&detail),
        };
        if envelope.bytes() > MAX_BYTES {
            let (url, order) = (&self.api_url, commit.stream.as_str());
            detail.metadata.data_url = Some(format!("{url}/orders/{order}/events"));
            detail.data = None;
            envelope.detail = json(&detail);
        }
        envelope
    }
}

#[expect(clippy::expect_used, reason = "a struct of texts, numbers and JSON values always serializes")]
pub(super) fn json(detail: &impl Serialize) -> String {
    serde_json::to_string(detail).expect("a detail serializes")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{Reason, wire};
    use dynamodb_event_store::{Metadata, StreamId};

    fn cancelled(reason: &str) -> OrderEvent {
        OrderEvent::OrderCancelled {
            order_id: ORDER.parse().unwrap(),
            reason: Reason::try_from(reason.to_owned()).unwrap(),
            cancelled_at: Timestamp::UNIX_EPOCH,
        }
    }

    const ORDER: &str = "0190a1b2-0000-7000-8000-000000000001";

    fn commit(events: Vec<OrderEvent>) -> Commit<OrderEvent> {
        let metadata = Metadata { correlation_id: "c".into(), causation_id: "r".into(), ..Metadata::default() };
        let (stream, recorded_at) = (StreamId::new(ORDER), Timestamp::UNIX_EPOCH);
        Commit { stream, first: 3, events, id: Uuid::nil(), recorded_at, metadata, request_hash: None, epoch: None }
    }

    fn envelopes() -> Envelopes {
        Envelopes { currency: "EUR".parse().unwrap(), api_url: "https://api.example.com".into() }
    }

    #[test]
    fn an_envelope_names_the_event_its_position_and_its_cause() {
        let event = cancelled("changed my mind");
        let [envelope] = envelopes().of(&commit(vec![event.clone()])).try_into().unwrap();
        assert_eq!(envelope.detail_type, "OrderCancelled");
        assert_eq!(envelope.bytes(), 14 + "ordersOrderCancelled".len() + envelope.detail.len());
        let detail: Value = serde_json::from_str(&envelope.detail).unwrap();
        let expected = json!({
            "metadata": {
                "event_id": "a072ae3f-adaa-5065-bc96-e54179e71765", "order_id": ORDER, "version": 3, "schema": 1,
                "occurred_at": "1970-01-01T00:00:00.000Z", "correlation_id": "c", "causation_id": "r",
            },
            "data": wire::data(&event, &"EUR".parse().unwrap()),
        });
        assert_eq!(detail, expected);
    }

    #[test]
    fn the_events_of_one_commit_have_their_own_versions_and_ids() {
        let of = || envelopes().of(&commit(vec![cancelled("a"), cancelled("b")]));
        let ids = |envelopes: Vec<Envelope>| -> Vec<(Value, Value)> {
            let detail = |e: &Envelope| serde_json::from_str::<Value>(&e.detail).unwrap()["metadata"].clone();
            envelopes.iter().map(detail).map(|m| (m["version"].clone(), m["event_id"].clone())).collect()
        };
        let first = ids(of());
        assert_eq!([&first[0].0, &first[1].0], [&json!(3), &json!(4)]);
        assert_ne!(first[0].1, first[1].1);
        assert_eq!(first, ids(of()), "the ids are the same every time");
    }

    /// The same position three times: before the store was restored, and after the first and the second restore.
    #[test]
    fn an_event_in_the_position_of_a_lost_one_has_its_own_stable_id() {
        let id = |epoch: Option<&str>| {
            let commit = commit(vec![cancelled("a")]);
            event_id(&Commit { epoch: epoch.map(|epoch| epoch.parse().unwrap()), ..commit }, 3).to_string()
        };
        // Published ids: no other event may ever have them, nor these events others.
        let ids = [
            "a072ae3f-adaa-5065-bc96-e54179e71765",
            "89483bcc-acb5-5e17-b294-dd136f539687",
            "10f42c0f-ffcc-5c3b-ba9b-2ae53b7c6117",
        ];
        assert_eq!([None, Some("2"), Some("3")].map(id), ids);
    }

    #[test]
    fn an_event_too_large_for_the_bus_is_published_with_a_link_instead_of_its_data() {
        // An order holds 100 items at most and comes nowhere near the limit.
        let item = crate::domain::Item {
            product_id: ORDER.parse().unwrap(),
            quantity: 10_000,
            price: crate::domain::Money(100_000_000),
        };
        let created = OrderEvent::OrderCreated {
            order_id: ORDER.parse().unwrap(),
            user_id: crate::domain::UserId::try_from("u".to_owned()).unwrap(),
            items: vec![item; 5_000],
            total: crate::domain::Money(1),
            created_at: Timestamp::UNIX_EPOCH,
        };
        let [envelope] = envelopes().of(&commit(vec![created])).try_into().unwrap();
        assert!(envelope.bytes() <= MAX_BYTES);
        let detail: Value = serde_json::from_str(&envelope.detail).unwrap();
        assert_eq!(detail["data"], Value::Null);
        assert_eq!(detail["metadata"]["data_url"], format!("https://api.example.com/orders/{ORDER}/events"));
    }
}
