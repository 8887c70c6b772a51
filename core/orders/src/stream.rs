//! The streams that hold the events of orders.

use dynamodb_event_store::StreamId;

use crate::domain::ids::OrderId;

impl From<OrderId> for StreamId {
    fn from(order_id: OrderId) -> Self {
        Self::new(order_id.to_string())
    }
}

/// The order that a stream is of. Streams have one spelling: any other one is another stream, and of no order.
pub fn order_of(stream: &StreamId) -> Option<OrderId> {
    let order_id: OrderId = stream.as_str().parse().ok()?;
    (StreamId::from(order_id) == *stream).then_some(order_id)
}
