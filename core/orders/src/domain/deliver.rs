//! The delivery of an order.
use serde::Serialize;

use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::state::{Order, Status};
use service_clock::Timestamp;

const SHIPPED: Expected = Expected { code: "order-not-shipped", statuses: &[Status::Shipped] };

/// Record that the order was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeliverOrder;

/// The order must be shipped.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`].
pub fn decide(order: &Order, _: &DeliverOrder, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?.require_status(SHIPPED)?;
    Ok(vec![OrderEvent::OrderDelivered { order_id: order.order_id, delivered_at: now }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::*;

    #[test]
    fn a_shipped_order_is_delivered() {
        given(&[created(), paid("p1"), shipped()]).when(DeliverOrder).then(&[delivered().now()]);
    }

    #[test]
    fn only_a_shipped_order_can_be_delivered_and_only_once() {
        let rejected = |actual| DecisionError::WrongStatus { expected: SHIPPED, actual };
        given(&[]).when(DeliverOrder).then_rejected(DecisionError::NotFound);
        given(&[created()]).when(DeliverOrder).then_rejected(rejected(Status::Pending));
        given(&[created(), paid("p1")]).when(DeliverOrder).then_rejected(rejected(Status::Paid));
        let history = [created(), paid("p1"), shipped(), delivered()];
        given(&history).when(DeliverOrder).then_rejected(rejected(Status::Delivered));
    }

    #[test]
    fn an_order_that_was_cancelled_after_shipping_cannot_be_delivered() {
        let due = refund_due("p1", TOTAL, "the order was cancelled");
        let rejected = DecisionError::WrongStatus { expected: SHIPPED, actual: Status::Cancelled };
        given(&[created(), paid("p1"), shipped(), cancelled(), due]).when(DeliverOrder).then_rejected(rejected);
    }
}
