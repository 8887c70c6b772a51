//! The return of a delivered order.
use serde::Serialize;

use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::ids::Reason;
use super::state::{Order, Status};
use service_clock::Timestamp;

const DELIVERED: Expected = Expected { code: "order-not-delivered", statuses: &[Status::Delivered] };

/// Record that the order was returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReturnOrder {
    /// Why.
    pub reason: Reason,
}

/// The order must be delivered. Its payment is due for refund, in the same commit.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`].
pub fn decide(order: &Order, command: &ReturnOrder, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?.require_status(DELIVERED)?;
    let order_id = order.order_id;
    let mut events = vec![OrderEvent::OrderReturned { order_id, reason: command.reason.clone(), returned_at: now }];
    events.extend(order.refund_of_payment(Reason::literal("the order was returned"), now));
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::*;
    use crate::domain::{CancelOrder, ConfirmPayment, ConfirmRefund, Decide};

    fn give_back() -> ReturnOrder {
        ReturnOrder { reason: reason("too small") }
    }

    /// A returned order, with the refund of its payment `p1` due.
    fn returned_order() -> [OrderEvent; 6] {
        let due = refund_due("p1", TOTAL, "the order was returned");
        [created(), paid("p1"), shipped(), delivered(), returned(), due]
    }

    #[test]
    fn returning_a_delivered_order_makes_a_refund_of_the_total_due_in_the_same_commit() {
        let due = refund_due("p1", TOTAL, "the order was returned");
        let history = [created(), paid("p1"), shipped(), delivered()];
        given(&history).when(give_back()).then(&[returned().now(), due.now()]);
    }

    #[test]
    fn only_a_delivered_order_can_be_returned_and_only_once() {
        let wrong_status = |actual| DecisionError::WrongStatus { expected: DELIVERED, actual };
        given(&[]).when(give_back()).then_rejected(DecisionError::NotFound);
        given(&[created(), paid("p1"), shipped()]).when(give_back()).then_rejected(wrong_status(Status::Shipped));
        given(&[created(), cancelled()]).when(give_back()).then_rejected(wrong_status(Status::Cancelled));
        given(&returned_order()).when(give_back()).then_rejected(wrong_status(Status::Returned));
    }

    #[test]
    fn the_payment_of_a_returned_order_is_refunded_once() {
        let refund = ConfirmRefund { payment_id: payment_id("p1"), refund_id: refund_id("r1"), amount: TOTAL };
        let done = refunded("p1", "r1", TOTAL);
        given(&returned_order()).when(refund.clone()).then(&[done.clone().now()]);
        given(&[&returned_order()[..], &[done]].concat()).when(refund).then_no_events();
    }

    #[test]
    fn a_capture_after_the_return_is_due_for_refund() {
        let due = refund_due("p2", TOTAL, "the order was paid with another payment");
        let capture = ConfirmPayment { payment_id: payment_id("p2"), amount: TOTAL };
        given(&returned_order()).when(capture).then(&[due.now()]);
    }

    #[test]
    fn a_returned_order_cannot_be_cancelled() {
        let history = returned_order();
        let order = replay(&history);
        let error = Decide::decide(&CancelOrder { reason: reason("too late") }, &order, now()).unwrap_err();
        assert_eq!(error.code(), "order-not-cancellable");
    }
}
