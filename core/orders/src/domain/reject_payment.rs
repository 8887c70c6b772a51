//! The provider's word that a payment will not be captured.
use serde::Serialize;

use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::{PaymentId, Reason};
use super::state::{Order, PaymentStatus, Status};
use service_clock::Timestamp;

/// Record that the provider refused a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectPayment {
    /// The provider's name of the payment.
    pub payment_id: PaymentId,
    /// Why it was refused.
    pub reason: Reason,
}

/// Settles a deferred payment, on a cancelled order too, and is remembered while the order is to be paid. It never
/// touches another payment, and comes to nothing for one that was captured (the refusal of an earlier attempt,
/// delivered late), that is known to be refused, or on whose success nothing hangs any more.
///
/// # Errors
/// [`DecisionError::NotFound`].
pub fn decide(order: &Order, command: &RejectPayment, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?;
    let matters = match order.payment_status(&command.payment_id) {
        Some(PaymentStatus::Deferred) => true,
        None => order.status == Status::Pending,
        Some(_) => false,
    };
    if !matters {
        return Ok(Vec::new());
    }
    Ok(vec![OrderEvent::OrderPaymentRejected {
        order_id: order.order_id,
        payment_id: command.payment_id.clone(),
        reason: command.reason.clone(),
        rejected_at: now,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::*;

    fn reject(payment: &str) -> RejectPayment {
        RejectPayment { payment_id: payment_id(payment), reason: reason("card expired") }
    }

    #[test]
    fn a_deferred_payment_is_rejected_and_the_order_can_be_paid_again() {
        given(&[created(), deferred("p1")]).when(reject("p1")).then(&[rejected("p1").now()]);
        let order = replay(&[created(), deferred("p1"), rejected("p1")]);
        let order = order.placed().unwrap();
        assert_eq!((order.status, &order.deferred), (Status::Pending, &None));
        assert_eq!(order.payment_status(&payment_id("p1")), Some(PaymentStatus::Rejected(reason("card expired"))));
    }

    #[test]
    fn a_cancelled_order_is_rid_of_its_deferred_payment() {
        given(&[created(), deferred("p1"), cancelled()]).when(reject("p1")).then(&[rejected("p1").now()]);
    }

    #[test]
    fn a_rejection_does_not_disturb_another_payment() {
        given(&[created(), deferred("p1")]).when(reject("p2")).then(&[rejected("p2").now()]);
        let order = replay(&[created(), deferred("p1"), rejected("p2")]);
        assert!(order.placed().unwrap().is_deferred(&payment_id("p1")));

        given(&[created(), paid("p1")]).when(reject("p2")).then_no_events();
        given(&[created(), paid("p1"), shipped()]).when(reject("p2")).then_no_events();
        given(&[created(), deferred("p1"), cancelled()]).when(reject("p2")).then_no_events();
    }

    #[test]
    fn a_captured_payment_cannot_be_rejected_any_more() {
        let due = refund_due("p1", TOTAL, "the order was cancelled");
        given(&[created(), paid("p1")]).when(reject("p1")).then_no_events();
        given(&[created(), paid("p1"), cancelled(), due]).when(reject("p1")).then_no_events();
        let other = refund_due("p1", OTHER, "the captured amount is not the order's total");
        given(&[created(), other]).when(reject("p1")).then_no_events();
    }

    #[test]
    fn a_rejection_that_comes_before_its_payment_is_remembered() {
        given(&[created()]).when(reject("p1")).then(&[rejected("p1").now()]);
    }

    #[test]
    fn a_rejection_told_twice_is_recorded_once() {
        given(&[created(), rejected("p1")]).when(reject("p1")).then_no_events();
        given(&[created(), rejected("p1"), cancelled()]).when(reject("p1")).then_no_events();
    }

    #[test]
    fn the_rejection_of_a_payment_of_no_order_is_refused() {
        given(&[]).when(reject("p1")).then_rejected(DecisionError::NotFound);
    }
}
