//! The order as the event store sees it.

use serde::{Deserialize, Serialize};

use super::codec::{self, DecodeError};
use super::event::OrderEvent;
use super::state::{Order, PaymentStatus, Status};
use super::transition::TransitionError;
use dynamodb_event_store::{Aggregate, StoredEvent};

/// What a commit answers to whoever asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The order's status after it; `None` before there is an order.
    #[serde(rename = "s")]
    pub status: Option<Status>,
    /// What became of the payment, for a commit that is about one. For a command that was satisfied before, ask
    /// [`super::PlacedOrder::payment_status`] about its payment.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<PaymentStatus>,
}

impl Aggregate for Order {
    type Event = OrderEvent;
    type Outcome = Outcome;
    type TransitionError = TransitionError;
    type DecodeError = DecodeError;

    const NAME: &'static str = "order";
    const SNAPSHOT_SCHEMA: u32 = 1;

    fn apply(&mut self, event: &OrderEvent) -> Result<(), TransitionError> {
        Self::apply(self, event)
    }

    fn outcome(&self, events: &[OrderEvent]) -> Outcome {
        let order = self.placed();
        let payment = events.iter().rev().find_map(OrderEvent::payment_id);
        let payment = payment.and_then(|payment_id| order?.payment_status(payment_id));
        Outcome { status: order.map(|order| order.status), payment }
    }

    fn encode(event: &OrderEvent) -> StoredEvent {
        let (event_type, schema, data) = codec::encode(event);
        StoredEvent { event_type: event_type.to_owned(), schema, data }
    }

    fn decode(stored: StoredEvent) -> Result<OrderEvent, DecodeError> {
        codec::decode(&stored.event_type, stored.schema, stored.data)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::domain::harness::*;

    /// An order of many payments, cancelled on its way.
    fn eventful() -> [OrderEvent; 9] {
        [
            created(),
            rejected("p1"),
            refund_due("p2", OTHER, "the captured amount is not the order's total"),
            paid("p3"),
            shipped(),
            refunded("p2", "r1", OTHER),
            cancelled(),
            refund_due("p3", TOTAL, "the order was cancelled"),
            refund_due("p4", TOTAL, "captured after the order was cancelled"),
        ]
    }

    /// Together they have everything that an order can have.
    fn histories() -> [Vec<OrderEvent>; 3] {
        let arrived = vec![created(), paid("p1"), shipped(), delivered()];
        [eventful().to_vec(), vec![created(), deferred("p1")], arrived]
    }

    #[test]
    fn a_snapshot_is_the_state() {
        for history in histories() {
            for lived in 0..=history.len() {
                let order = replay(&history[..lived]);
                let snapshot = serde_json::to_vec(&order).unwrap();
                assert_eq!(serde_json::from_slice::<Order>(&snapshot).unwrap(), order);
                let attributes: serde_dynamo::AttributeValue = serde_dynamo::to_attribute_value(&order).unwrap();
                assert_eq!(serde_dynamo::from_attribute_value::<_, Order>(attributes).unwrap(), order);
            }
        }
    }

    #[test]
    fn a_snapshot_of_the_present_schema_is_of_the_same_form_and_the_same_events() {
        let name = format!("src/domain/golden/snapshots/v{}.json", Order::SNAPSHOT_SCHEMA);
        let golden = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
        let orders = histories().map(|history| replay(&history));
        let present = json!({ "events": codec::known(), "orders": orders });
        assert_eq!(present, golden, "raise SNAPSHOT_SCHEMA, and add its golden file");
    }

    #[test]
    fn a_snapshot_of_a_plain_order_is_small() {
        let order = replay(&[created(), paid("p1"), shipped(), delivered()]);
        let snapshot = serde_json::to_string(&order).unwrap();
        assert!(snapshot.len() < 600, "{}: {snapshot}", snapshot.len());
    }

    #[test]
    fn a_commit_answers_with_the_status_and_what_became_of_the_payment() {
        let history = eventful();
        let outcome = |lived: std::ops::Range<usize>| {
            let order = replay(&history[..lived.end]);
            serde_json::to_value(order.outcome(&history[lived])).unwrap()
        };
        assert_eq!(outcome(0..1), json!({"s": "pending"}));
        assert_eq!(outcome(1..2), json!({"s": "pending", "p": {"rejected": "card expired"}}));
        assert_eq!(outcome(3..4), json!({"s": "paid", "p": "paid"}));
        assert_eq!(outcome(4..5), json!({"s": "shipped"}));
        assert_eq!(outcome(5..6), json!({"s": "shipped", "p": "refunded"}));
        assert_eq!(outcome(6..8), json!({"s": "cancelled", "p": {"refund_due": "the order was cancelled"}}));
        assert_eq!(outcome(8..8), json!({"s": "cancelled"}));
        let waiting = [created(), deferred("p1")];
        let outcome = replay(&waiting).outcome(&waiting[1..]);
        assert_eq!(outcome, Outcome { status: Some(Status::Pending), payment: Some(PaymentStatus::Deferred) });
        let kept = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&kept).unwrap(), outcome);
        assert_eq!(Order::default().outcome(&[]), Outcome { status: None, payment: None });
    }

    #[test]
    fn an_event_survives_the_store() {
        for event in eventful() {
            assert_eq!(Order::decode(Order::encode(&event)).unwrap(), event);
        }
    }
}
