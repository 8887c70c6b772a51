//! The arrival of an order.
use serde::Serialize;

use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::state::Order;
use service_clock::Timestamp;

/// Record that the order has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeliverOrder;

/// The order must be shipped.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`].
pub fn decide(order: &Order, _: &DeliverOrder, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?.require_status(Expected::Shipped)?;
    Ok(vec![OrderEvent::OrderDelivered { order_id: order.order_id, delivered_at: now }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::*;
    use crate::domain::state::Status;

    #[test]
    fn a_shipped_order_arrives() {
        given(&[created(), paid("p1"), shipped()]).when(DeliverOrder).then(&[delivered().now()]);
    }

    #[test]
    fn only_a_shipped_order_can_arrive_and_only_once() {
        let refused = |actual| DecisionError::WrongStatus { expected: Expected::Shipped, actual };
        given(&[]).when(DeliverOrder).then_rejected(DecisionError::NotFound);
        given(&[created()]).when(DeliverOrder).then_rejected(refused(Status::Pending));
        given(&[created(), paid("p1")]).when(DeliverOrder).then_rejected(refused(Status::Paid));
        let history = [created(), paid("p1"), shipped(), delivered()];
        given(&history).when(DeliverOrder).then_rejected(refused(Status::Delivered));
    }

    #[test]
    fn an_order_cancelled_on_its_way_does_not_arrive() {
        let due = refund_due("p1", TOTAL, "the order was cancelled");
        let refused = DecisionError::WrongStatus { expected: Expected::Shipped, actual: Status::Cancelled };
        given(&[created(), paid("p1"), shipped(), cancelled(), due]).when(DeliverOrder).then_rejected(refused);
    }
}
