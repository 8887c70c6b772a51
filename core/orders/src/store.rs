//! The order as an aggregate of the event store: its stream, its stored events, and the outcome of a commit.

use serde::{Deserialize, Serialize};

use crate::domain::state::SNAPSHOT_SCHEMA;
use crate::domain::{DecodeError, Order, OrderEvent, OrderId, PaymentStatus, Status, TransitionError, decode, encode};
use dynamodb_event_store::{Aggregate, StoredEvent, StreamId};

impl From<OrderId> for StreamId {
    fn from(order_id: OrderId) -> Self {
        Self::new(order_id.to_string())
    }
}

/// The order that a stream is of. A stream has one spelling: in any other it is another stream, and of no order.
pub fn order_of(stream: &StreamId) -> Option<OrderId> {
    let order_id: OrderId = stream.as_str().parse().ok()?;
    (StreamId::from(order_id) == *stream).then_some(order_id)
}

/// What a commit returns to the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The order's status after the commit; `None` before the order exists.
    #[serde(rename = "s")]
    pub status: Option<Status>,
    /// The payment's status, if the commit is about a payment. For a command without events,
    /// [`crate::domain::PlacedOrder::payment_status`] has it.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<PaymentStatus>,
}

impl Aggregate for Order {
    type Event = OrderEvent;
    type Outcome = Outcome;
    type TransitionError = TransitionError;
    type DecodeError = DecodeError;

    const NAME: &'static str = "order";
    const SNAPSHOT_SCHEMA: u32 = SNAPSHOT_SCHEMA;

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
        let (event_type, schema, data) = encode(event);
        StoredEvent { event_type: event_type.to_owned(), schema, data }
    }

    fn decode(stored: StoredEvent) -> Result<OrderEvent, DecodeError> {
        decode(&stored.event_type, stored.schema, stored.data)
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_outcome_of_a_commit_is_the_status_of_the_order_and_of_the_payment() {
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
}
