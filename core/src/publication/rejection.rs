//! Telling the producers of events that a command of theirs was refused.
use serde::Serialize;
use uuid::Uuid;

use super::envelope::{Envelope, json};
use crate::event_store::derived_id;
use crate::timestamp::Timestamp;

/// The detail type of a refused command.
pub(super) const DETAIL_TYPE: &str = "OrderCommandRejected";
/// The schema of its data.
pub(super) const SCHEMA: u32 = 1;

/// The most characters of a text from outside that are repeated to everybody on the bus.
const MAX_ECHO: usize = 200;

/// A command that came as an event and was refused: it will not be tried again.
#[derive(Clone, Debug)]
pub struct Rejection<'a> {
    /// The source of the event that asked for it.
    pub source: &'a str,
    /// The producer's id of that event.
    pub event_id: &'a str,
    /// Its detail type.
    pub detail_type: &'a str,
    /// The order that it named, as it named it.
    pub order_id: Option<&'a str>,
    /// What it belongs to.
    pub correlation_id: &'a str,
    /// The refusal's stable name.
    pub code: &'a str,
    /// The refusal in words.
    pub reason: &'a str,
}

/// A command that came as an event was refused; it will not be tried again.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Detail<'a> {
    metadata: Metadata<'a>,
    data: Data<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Metadata<'a> {
    /// The same for every refusal of the same event: drop repeats by it.
    event_id: Uuid,
    /// The schema of `data`.
    schema: u32,
    /// When it was refused.
    occurred_at: Timestamp,
    /// What the refused event belongs to.
    correlation_id: &'a str,
    /// The id of the refused event.
    causation_id: &'a str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Data<'a> {
    /// The source of the refused event.
    source: &'a str,
    /// Its detail type.
    detail_type: &'a str,
    /// Its producer's id of it.
    event_id: &'a str,
    /// The order that it names, as it names it; null if it names none.
    order_id: Option<&'a str>,
    /// The refusal's stable name.
    code: &'a str,
    /// The refusal in words.
    reason: &'a str,
}

impl Rejection<'_> {
    /// The entry for the bus. Its event id follows from the refused event's, so that it is the same however often the
    /// refused event comes.
    pub fn envelope(&self, now: Timestamp) -> Envelope {
        let event_id = derived_id(&["rejected", self.source, self.event_id]);
        let detail = Detail {
            metadata: Metadata {
                event_id,
                schema: SCHEMA,
                occurred_at: now,
                correlation_id: short(self.correlation_id),
                causation_id: short(self.event_id),
            },
            data: Data {
                source: short(self.source),
                detail_type: short(self.detail_type),
                event_id: short(self.event_id),
                order_id: self.order_id.map(short),
                code: self.code,
                reason: self.reason,
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
            code: "order-not-shipped",
            reason: "the order is cancelled",
        }
    }

    fn detail(rejection: &Rejection<'_>, millis: i64) -> Value {
        let envelope = rejection.envelope(Timestamp::from_millis(millis).unwrap());
        serde_json::from_str(&envelope.detail).unwrap()
    }

    #[test]
    fn a_rejection_says_which_event_was_refused_and_why() {
        let detail = detail(&rejection("e1", Some("o1")), 0);
        assert_eq!(detail["data"]["order_id"], "o1");
        assert_eq!(detail["data"]["code"], "order-not-shipped");
        assert_eq!(detail["metadata"]["causation_id"], "e1");
    }

    #[test]
    fn a_rejection_of_the_same_event_has_the_same_id_whenever_it_is_made() {
        let id = |event_id, millis| detail(&rejection(event_id, None), millis)["metadata"]["event_id"].clone();
        assert_eq!(id("e1", 0), id("e1", 1_000));
        assert_ne!(id("e1", 0), id("e2", 0));
    }

    #[test]
    fn long_texts_from_outside_are_cut_at_a_character() {
        let long = "é".repeat(1_000_000);
        let detail = detail(&rejection(&long, Some(&long)), 0);
        assert_eq!(detail["data"]["order_id"], "é".repeat(MAX_ECHO));
    }
}
