//! The capture of a payment, reported by the provider.
use serde::Serialize;

use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::{PaymentId, Reason};
use super::money::Money;
use super::reject_payment::{self, RejectPayment};
use super::state::{Order, PaymentStatus, PlacedOrder, Status};
use service_clock::Timestamp;

/// Record that the provider captured a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfirmPayment {
    /// The provider's id of the payment.
    pub payment_id: PaymentId,
    /// What it captured.
    pub amount: Money,
}

/// Captured money is never rejected: it pays the order, or it is due for refund. It pays a pending order with its exact
/// total unless another payment is in progress. A recorded capture is success without an event.
///
/// A capture of zero ends a deferred payment as a rejection does, so that the order can be paid with another payment.
///
/// # Errors
/// [`DecisionError::NotFound`]; [`DecisionError::PaymentAmountDiffers`] if the payment is recorded with another
/// amount; [`DecisionError::AmountMismatch`] for a capture of zero by a payment that is neither deferred nor rejected.
pub fn decide(state: &Order, command: &ConfirmPayment, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = state.require()?;
    let ConfirmPayment { payment_id, amount } = command;
    order.require_same_amount(payment_id, *amount)?;
    if order.captured(payment_id).is_some() {
        return Ok(Vec::new());
    }
    if *amount == Money::ZERO {
        return zero_capture(state, payment_id, now);
    }
    let (order_id, payment_id, amount) = (order.order_id, payment_id.clone(), *amount);
    Ok(vec![match refund_reason(order, &payment_id, amount) {
        None => OrderEvent::OrderPaid { order_id, payment_id, amount, paid_at: now },
        Some(reason) => {
            OrderEvent::OrderRefundDue { order_id, payment_id, amount, reason: Reason::literal(reason), due_at: now }
        }
    }])
}

/// A capture of zero by a payment without a recorded capture.
fn zero_capture(state: &Order, payment_id: &PaymentId, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = state.require()?;
    match order.payment_status(payment_id) {
        Some(PaymentStatus::Deferred | PaymentStatus::Rejected(_)) => {
            let reason = Reason::literal("the provider captured nothing");
            reject_payment::decide(state, &RejectPayment { payment_id: payment_id.clone(), reason }, now)
        }
        _ => Err(DecisionError::AmountMismatch { total: order.total, given: Money::ZERO }),
    }
}

/// Why a new capture cannot pay the order and is due for refund, if it is.
fn refund_reason(order: &PlacedOrder, payment_id: &PaymentId, amount: Money) -> Option<&'static str> {
    if order.status == Status::Cancelled {
        Some("captured after the order was cancelled")
    } else if order.payment.is_some() {
        Some("the order was paid with another payment")
    } else if amount != order.total {
        Some("the captured amount is not the order's total")
    } else if order.deferred.is_some() && !order.is_deferred(payment_id) {
        Some("another payment of the order was in progress")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::domain::harness::*;

    fn confirm(payment: &str, amount: Money) -> ConfirmPayment {
        ConfirmPayment { payment_id: payment_id(payment), amount }
    }

    const CANCELLED: &str = "captured after the order was cancelled";
    const PAID_OTHERWISE: &str = "the order was paid with another payment";
    const OTHER_AMOUNT: &str = "the captured amount is not the order's total";
    const IN_PROGRESS: &str = "another payment of the order was in progress";

    #[test]
    fn a_capture_of_zero_ends_a_deferred_payment_and_is_recorded_once() {
        let nothing = rejected_for("p1", "the provider captured nothing").now();
        given(&[created(), deferred("p1")]).when(confirm("p1", Money::ZERO)).then(slice::from_ref(&nothing));
        given(&[created(), deferred("p1"), nothing]).when(confirm("p1", Money::ZERO)).then_no_events();
        let mismatch = DecisionError::AmountMismatch { total: TOTAL, given: Money::ZERO };
        given(&[created()]).when(confirm("p1", Money::ZERO)).then_rejected(mismatch);
    }

    #[test]
    fn a_late_rejection_of_a_payment_that_was_deferred_again_does_not_prevent_its_capture() {
        let history = [created(), deferred("p1"), rejected("p1"), deferred("p1"), rejected("p1")];
        given(&history).when(confirm("p1", TOTAL)).then(&[paid("p1").now()]);
    }

    #[test]
    fn a_capture_pays_a_pending_order() {
        given(&[created()]).when(confirm("p1", TOTAL)).then(&[paid("p1").now()]);
        given(&[created(), deferred("p1")]).when(confirm("p1", TOTAL)).then(&[paid("p1").now()]);
    }

    #[test]
    fn a_capture_after_a_rejection_pays_the_order_or_is_due_for_refund() {
        given(&[created(), rejected("p1")]).when(confirm("p1", TOTAL)).then(&[paid("p1").now()]);
        let order = replay(&[created(), rejected("p1"), paid("p1")]);
        assert_eq!(order.placed().unwrap().payment_status(&payment_id("p1")), Some(PaymentStatus::Paid));
        let due = refund_due("p1", TOTAL, CANCELLED);
        given(&[created(), rejected("p1"), cancelled()]).when(confirm("p1", TOTAL)).then(&[due.now()]);
    }

    #[test]
    fn a_capture_after_cancellation_is_due_for_refund() {
        let due = refund_due("p1", TOTAL, CANCELLED).now();
        given(&[created(), cancelled()]).when(confirm("p1", TOTAL)).then(std::slice::from_ref(&due));
        given(&[created(), deferred("p1"), cancelled()]).when(confirm("p1", TOTAL)).then(&[due]);
        let order = replay(&[created(), deferred("p1"), cancelled(), refund_due("p1", TOTAL, CANCELLED)]);
        assert_eq!(order.placed().unwrap().deferred, None);
    }

    #[test]
    fn a_capture_after_another_payment_is_due_for_refund() {
        let due = refund_due("p2", TOTAL, PAID_OTHERWISE).now();
        let history = [created(), paid("p1"), shipped(), delivered()];
        for lived in 2..=history.len() {
            given(&history[..lived]).when(confirm("p2", TOTAL)).then(std::slice::from_ref(&due));
        }
    }

    #[test]
    fn a_capture_beside_a_deferred_payment_is_due_for_refund_and_leaves_that_one_deferred() {
        let due = refund_due("p2", TOTAL, IN_PROGRESS);
        given(&[created(), deferred("p1")]).when(confirm("p2", TOTAL)).then(&[due.clone().now()]);
        given(&[created(), deferred("p1"), due]).when(confirm("p1", TOTAL)).then(&[paid("p1").now()]);
    }

    #[test]
    fn a_capture_of_another_amount_is_due_for_refund_and_the_order_can_still_be_paid() {
        for amount in [OTHER, Money(TOTAL.0 + 1), Money::MAX] {
            let due = refund_due("p1", amount, OTHER_AMOUNT);
            given(&[created()]).when(confirm("p1", amount)).then(&[due.clone().now()]);
            given(&[created(), deferred("p1")]).when(confirm("p1", amount)).then(&[due.clone().now()]);
            given(&[created(), deferred("p1"), due]).when(confirm("p2", TOTAL)).then(&[paid("p2").now()]);
        }
    }

    #[test]
    fn a_capture_reported_twice_is_recorded_once() {
        let due = refund_due("p1", TOTAL, "the order was cancelled");
        let history = [created(), paid("p1"), cancelled(), due, refunded("p1", "r1", TOTAL)];
        for lived in 2..=history.len() {
            given(&history[..lived]).when(confirm("p1", TOTAL)).then_no_events();
        }
        let late = [created(), paid("p1"), refund_due("p2", OTHER, PAID_OTHERWISE)];
        given(&late).when(confirm("p2", OTHER)).then_no_events();
    }

    #[test]
    fn a_recorded_capture_cannot_change_its_amount() {
        let differs = |payment, recorded, given| DecisionError::PaymentAmountDiffers {
            payment_id: payment_id(payment),
            recorded,
            given,
        };
        let history = [created(), paid("p1"), refund_due("p2", OTHER, PAID_OTHERWISE)];
        given(&history).when(confirm("p1", OTHER)).then_rejected(differs("p1", TOTAL, OTHER));
        given(&history).when(confirm("p2", TOTAL)).then_rejected(differs("p2", OTHER, TOTAL));
    }

    #[test]
    fn a_capture_of_zero_or_of_an_unknown_order_is_rejected() {
        let nothing = DecisionError::AmountMismatch { total: TOTAL, given: Money::ZERO };
        given(&[created()]).when(confirm("p1", Money::ZERO)).then_rejected(nothing);
        given(&[]).when(confirm("p1", TOTAL)).then_rejected(DecisionError::NotFound);
    }
}
