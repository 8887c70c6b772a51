//! Cancelling an order.
use serde::Serialize;

use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::ids::Reason;
use super::state::{Order, Status};
use service_clock::Timestamp;

const CANCELLABLE: Expected =
    Expected { code: "order-not-cancellable", statuses: &[Status::Pending, Status::Paid, Status::Shipped] };

/// Cancel the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CancelOrder {
    /// Why.
    pub reason: Reason,
}

/// The order must be pending, paid or shipped. Its payment is due for refund, in the same commit. A deferred
/// payment is still settled.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`].
pub fn decide(order: &Order, command: &CancelOrder, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?.require_status(CANCELLABLE)?;
    let order_id = order.order_id;
    let mut events = vec![OrderEvent::OrderCancelled { order_id, reason: command.reason.clone(), cancelled_at: now }];
    events.extend(order.refund_of_payment(Reason::literal("the order was cancelled"), now));
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::*;

    fn cancel() -> CancelOrder {
        CancelOrder { reason: reason("changed my mind") }
    }

    #[test]
    fn cancelling_an_unpaid_order_makes_no_refund_due() {
        given(&[created()]).when(cancel()).then(&[cancelled().now()]);
        given(&[created(), rejected("p1")]).when(cancel()).then(&[cancelled().now()]);
    }

    #[test]
    fn cancelling_a_paid_or_shipped_order_makes_a_refund_of_the_total_due_in_the_same_commit() {
        let due = refund_due("p1", TOTAL, "the order was cancelled");
        let both = [cancelled().now(), due.now()];
        given(&[created(), paid("p1")]).when(cancel()).then(&both);
        given(&[created(), deferred("p1"), paid("p1"), shipped()]).when(cancel()).then(&both);
    }

    #[test]
    fn cancelling_leaves_a_deferred_payment_deferred() {
        given(&[created(), deferred("p1")]).when(cancel()).then(&[cancelled().now()]);
        let order = replay(&[created(), deferred("p1"), cancelled()]);
        assert!(order.placed().unwrap().is_deferred(&payment_id("p1")));
    }

    #[test]
    fn cancelling_does_not_affect_the_refund_of_another_payment() {
        let late = refund_due("p2", TOTAL, "the order was paid with another payment");
        let due = refund_due("p1", TOTAL, "the order was cancelled");
        given(&[created(), paid("p1"), late]).when(cancel()).then(&[cancelled().now(), due.now()]);
    }

    #[test]
    fn a_delivered_or_cancelled_order_cannot_be_cancelled() {
        let rejected = |actual| DecisionError::WrongStatus { expected: CANCELLABLE, actual };
        given(&[]).when(cancel()).then_rejected(DecisionError::NotFound);
        let history = [created(), paid("p1"), shipped(), delivered()];
        given(&history).when(cancel()).then_rejected(rejected(Status::Delivered));
        given(&[created(), cancelled()]).when(cancel()).then_rejected(rejected(Status::Cancelled));
    }
}
