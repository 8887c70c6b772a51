//! The order as the event store sees it.

use serde::{Deserialize, Serialize};

use super::codec::{self, DecodeError};
use super::event::OrderEvent;
use super::state::{Order, PaymentStatus, Status};
use super::transition::TransitionError;
use crate::event_store::{Aggregate, StoredEvent};

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
