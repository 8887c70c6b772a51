//! The entries of a request, validated as EventBridge does, and the events that targets get.
//! <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html>

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::template::{ACCOUNT, REGION};

/// An entry of a PutEvents request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequestEntry {
    /// Seconds since 1970, with a fraction.
    pub time: Option<f64>,
    /// Its source.
    pub source: Option<String>,
    /// ARNs of its resources.
    pub resources: Option<Vec<String>>,
    /// Its type.
    pub detail_type: Option<String>,
    /// A JSON object, as text.
    pub detail: Option<String>,
    /// Name or ARN of the bus; the default bus when omitted.
    pub event_bus_name: Option<String>,
}

/// Why an entry is rejected, with EventBridge's code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct EntryError {
    /// The code.
    pub code: &'static str,
    /// The reason.
    pub message: String,
}

/// An event of a bus.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id.
    pub id: Uuid,
    /// Name of its bus.
    pub bus: String,
    /// The event, for patterns.
    pub value: Value,
    /// The event, for targets: numbers are as the sender wrote them.
    pub text: Arc<RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Text<'a> {
    version: &'static str,
    id: Uuid,
    detail_type: &'a str,
    source: &'a str,
    account: &'static str,
    time: String,
    region: &'static str,
    resources: &'a [String],
    detail: &'a RawValue,
}

impl RequestEntry {
    /// Its size as EventBridge counts it.
    pub fn bytes(&self) -> usize {
        let texts = [&self.source, &self.detail_type, &self.detail].into_iter().flatten();
        let texts: usize = texts.chain(self.resources.iter().flatten()).map(String::len).sum();
        texts + self.time.map_or(0, |_| 14)
    }

    /// Name of its bus.
    pub fn bus(&self) -> &str {
        let bus = self.event_bus_name.as_deref().unwrap_or("default");
        bus.rsplit_once("event-bus/").map_or(bus, |(_, name)| name)
    }

    /// Converts it to the event that targets get.
    ///
    /// # Errors
    /// EventBridge's error of the entry.
    pub fn to_event(&self, now: DateTime<Utc>) -> Result<Event, EntryError> {
        let source = required("Source", self.source.as_deref())?;
        let detail_type = required("DetailType", self.detail_type.as_deref())?;
        let detail = required("Detail", self.detail.as_deref())?;
        if detail_type.chars().count() > 128 {
            return Err(invalid("DetailType", "DetailType must be 128 characters or fewer."));
        }
        if source.starts_with("aws.") {
            let message = "Not authorized for the source.".to_owned();
            return Err(EntryError { code: "NotAuthorizedForSourceException", message });
        }
        let malformed = || EntryError { code: "MalformedDetail", message: "Detail is malformed.".to_owned() };
        let detail: &RawValue = serde_json::from_str(detail)
            .ok()
            .filter(|detail: &&RawValue| detail.get().starts_with('{'))
            .ok_or_else(malformed)?;
        let time = match self.time {
            None => now,
            #[expect(clippy::cast_possible_truncation, reason = "a time out of range becomes one that chrono refuses")]
            Some(seconds) => DateTime::from_timestamp_millis((seconds * 1000.0) as i64)
                .ok_or_else(|| invalid("Time", "Time is out of range."))?,
        };
        let id = Uuid::new_v4();
        let text = Text {
            version: "0",
            id,
            detail_type,
            source,
            account: ACCOUNT,
            time: time.to_rfc3339_opts(SecondsFormat::Secs, true),
            region: REGION,
            resources: self.resources.as_deref().unwrap_or_default(),
            detail,
        };
        // It cannot be parsed with more than 126 levels. EventBridge accepts up to 1,000.
        let text = serde_json::value::to_raw_value(&text).map_err(|_| malformed())?;
        let value = serde_json::from_str(text.get()).map_err(|_| malformed())?;
        Ok(Event { id, bus: self.bus().to_owned(), value, text: text.into() })
    }
}

fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, EntryError> {
    value.filter(|text| !text.is_empty()).ok_or_else(|| invalid(name, &format!("{name} is a required argument.")))
}

fn invalid(name: &str, reason: &str) -> EntryError {
    EntryError { code: "InvalidArgument", message: format!("Parameter {name} is not valid. Reason: {reason}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry() -> RequestEntry {
        RequestEntry {
            time: Some(1_767_225_600.25),
            source: Some("payments".into()),
            detail_type: Some("PaymentCaptured".into()),
            detail: Some("{\"data\": {\"amount\": 1.50}}".into()),
            ..RequestEntry::default()
        }
    }

    fn code(change: impl FnOnce(&mut RequestEntry)) -> &'static str {
        let mut entry = entry();
        change(&mut entry);
        entry.to_event(Utc::now()).unwrap_err().code
    }

    #[test]
    fn an_entry_is_converted_as_eventbridge_does() {
        let event = entry().to_event(Utc::now()).unwrap();
        let expected = json!({
            "version": "0", "id": event.id, "detail-type": "PaymentCaptured", "source": "payments",
            "account": ACCOUNT, "time": "2026-01-01T00:00:00Z", "region": REGION, "resources": [],
            "detail": {"data": {"amount": 1.5}},
        });
        assert_eq!(event.value, expected);
        assert!(event.text.get().contains("\"amount\": 1.50"), "numbers are as they were written");
        assert_eq!(event.bus, "default");
    }

    #[test]
    fn a_bus_is_named_by_its_name_or_its_arn() {
        let bus = |name: &str| RequestEntry { event_bus_name: Some(name.into()), ..entry() }.bus().to_owned();
        assert_eq!(bus("orders"), "orders");
        assert_eq!(bus("arn:aws:events:us-east-1:000000000000:event-bus/orders"), "orders");
    }

    #[test]
    fn what_eventbridge_rejects_is_rejected_with_its_code() {
        assert_eq!(code(|entry| entry.source = None), "InvalidArgument");
        assert_eq!(code(|entry| entry.detail_type = Some(String::new())), "InvalidArgument");
        assert_eq!(code(|entry| entry.detail_type = Some("x".repeat(129))), "InvalidArgument");
        assert_eq!(code(|entry| entry.detail = None), "InvalidArgument");
        assert_eq!(code(|entry| entry.time = Some(f64::MAX)), "InvalidArgument");
        assert_eq!(code(|entry| entry.source = Some("aws.ec2".into())), "NotAuthorizedForSourceException");
        for detail in ["[1]", "\"text\"", "{", "{\"a\": 1} 2", "{\"a\": NaN}"] {
            assert_eq!(code(|entry| entry.detail = Some(detail.into())), "MalformedDetail", "{detail}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        assert_eq!(code(|entry| entry.detail = Some(deep)), "MalformedDetail");
    }

    #[test]
    fn the_size_is_that_of_the_texts_and_the_time() {
        let entry = RequestEntry { resources: Some(vec!["é".into()]), ..entry() };
        let texts = "payments".len() + "PaymentCaptured".len() + entry.detail.as_ref().unwrap().len();
        assert_eq!(entry.bytes(), texts + 14 + 2);
    }
}
