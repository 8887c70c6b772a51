//! An event from the bus, as far as every producer's looks alike.
//!
//! Readers are tolerant: what they do not know they pass over, and what they miss they name.

use orders_core::order::OrderId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The longest id that is taken from a producer: ids are stored with every commit.
const MAX_ID_BYTES: usize = 256;

/// An event as EventBridge delivers it (EventBridge user guide, "Event structure").
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    id: String,
    /// The service that sent it.
    pub source: String,
    /// What happened there.
    pub detail_type: String,
    detail: Box<RawValue>,
}

/// What makes an event unusable, however often it comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// A field is missing or is not what it should be.
    #[error("{path}: {why}")]
    Field {
        /// Where, from `detail` on.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A detail type that this service does not know.
    #[error("this detail type is not known here")]
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

    /// A field of the data that is not what it should be.
    pub fn field(name: &str, why: impl std::fmt::Display) -> Self {
        Self::Field { path: format!("detail.data.{name}"), why: why.to_string() }
    }
}

/// What can be said of an event whether or not the rest of it can be used.
#[derive(Debug, Default, Deserialize)]
pub struct Detail {
    #[serde(default)]
    metadata: Metadata,
    data: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    event_id: Option<String>,
    correlation_id: Option<String>,
}

/// Every command's data names its order.
#[derive(Deserialize)]
struct Named {
    order_id: String,
}

impl Event {
    /// Reads the detail.
    ///
    /// # Errors
    /// [`InvalidEvent::Field`].
    pub fn detail(&self) -> Result<Detail, InvalidEvent> {
        let detail: Detail = parse("detail", &self.detail)?;
        let Metadata { event_id, correlation_id } = &detail.metadata;
        for (name, id) in [("event_id", event_id), ("correlation_id", correlation_id)] {
            if id.as_ref().is_some_and(|id| id.len() > MAX_ID_BYTES) {
                let why = format!("must be at most {MAX_ID_BYTES} bytes");
                return Err(InvalidEvent::Field { path: format!("detail.metadata.{name}"), why });
            }
        }
        Ok(detail)
    }

    /// The id that all repeats of this event share: the producer's own, since the bus gives a repeat a new one.
    pub fn id<'a>(&'a self, detail: &'a Detail) -> &'a str {
        detail.metadata.event_id.as_deref().filter(|id| !id.is_empty()).unwrap_or(&self.id)
    }
}

impl Detail {
    /// What the event belongs to, if its producer says so.
    pub fn correlation_id(&self) -> Option<&str> {
        self.metadata.correlation_id.as_deref().filter(|id| !id.is_empty())
    }

    /// The order's id as the event has it, if it has one at all.
    pub fn named_order(&self) -> Option<String> {
        serde_json::from_str::<Named>(self.data.as_deref()?.get()).ok().map(|named| named.order_id)
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

fn parse<T: DeserializeOwned>(root: &str, json: &RawValue) -> Result<T, InvalidEvent> {
    let mut json = serde_json::Deserializer::from_str(json.get());
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => root.to_owned(),
            path => format!("{root}.{path}"),
        };
        // Of serde_json's text only the reason: the position is of no use to a producer.
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

    #[derive(Debug, PartialEq, Deserialize)]
    struct Data {
        payment_id: String,
    }

    #[test]
    fn fields_that_nobody_asked_for_are_passed_over() {
        let event = event(
            json!({ "metadata": { "event_id": "own", "new": 1 }, "data": { "payment_id": "p", "x": [] }, "y": 0 }),
        );
        let detail = event.detail().unwrap();
        assert_eq!(event.id(&detail), "own");
        assert_eq!(detail.data::<Data>(), Ok(Data { payment_id: "p".into() }));
    }

    #[test]
    fn without_an_id_of_the_producer_s_the_bus_s_stands_in() {
        for detail in [json!({}), json!({ "metadata": {} }), json!({ "metadata": { "event_id": "" } })] {
            let event = event(detail);
            assert_eq!(event.id(&event.detail().unwrap()), "bus-1");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let data =
            |detail: Value| event(detail).detail().and_then(|detail| detail.data::<Data>()).unwrap_err().to_string();
        assert_eq!(data(json!("text")), "detail: invalid type: string \"text\", expected struct Detail");
        assert_eq!(data(json!({})), "detail: missing field `data`");
        assert_eq!(data(json!({ "data": {} })), "detail.data: missing field `payment_id`");
        let wrong = data(json!({ "data": { "payment_id": 7 } }));
        assert_eq!(wrong, "detail.data.payment_id: invalid type: integer `7`, expected a string");
        assert!(data(json!({ "metadata": { "event_id": 7 } })).starts_with("detail.metadata.event_id: "));
        let long = "x".repeat(1_000_000);
        assert!(data(json!({ "metadata": { "event_id": long } })).starts_with("detail.metadata.event_id: must be"));
        assert!(
            data(json!({ "metadata": { "correlation_id": long } })).starts_with("detail.metadata.correlation_id: ")
        );
    }

    #[test]
    fn an_order_id_that_is_no_uuid_is_named_but_still_told() {
        let detail = event(json!({ "data": { "order_id": "seven" } })).detail().unwrap();
        assert_eq!(detail.order_id(), Err(InvalidEvent::field("order_id", "must be a UUID")));
        assert_eq!(detail.named_order().as_deref(), Some("seven"));
    }
}
