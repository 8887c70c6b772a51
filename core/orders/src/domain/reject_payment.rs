//! The rejection of a payment, reported by the provider.
use serde::Serialize;

use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::{PaymentId, Reason};
use super::state::{Order, PaymentStatus, Status};
use service_clock::Timestamp;

/// Record that the provider declined a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectPayment {
    /// The provider's id of the payment.
    pub payment_id: PaymentId,
    /// Why it was declined.
    pub reason: Reason,
}

/// Settles a deferred payment, also on a cancelled order, and is recorded while the order is pending. It never affects
/// another payment. It is success without an event for a payment that was captured (the rejection of an earlier attempt,
/// delivered late), that is rejected already, or that no longer matters to the order.
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
    fn the_deferred_payment_of_a_cancelled_order_is_rejected() {
        given(&[created(), deferred("p1"), cancelled()]).when(reject("p1")).then(&[rejected("p1").now()]);
    }

    #[test]
    fn a_rejection_does_not_affect_another_payment() {
        given(&[created(), deferred("p1")]).when(reject("p2")).then(&[rejected("p2").now()]);
        let order = replay(&[created(), deferred("p1"), rejected("p2")]);
        assert!(order.placed().unwrap().is_deferred(&payment_id("p1")));

        given(&[created(), paid("p1")]).when(reject("p2")).then_no_events();
        given(&[created(), paid("p1"), shipped()]).when(reject("p2")).then_no_events();
        given(&[created(), deferred("p1"), cancelled()]).when(reject("p2")).then_no_events();
    }

    #[test]
    fn a_captured_payment_cannot_be_rejected() {
        let due = refund_due("p1", TOTAL, "the order was cancelled");
        given(&[created(), paid("p1")]).when(reject("p1")).then_no_events();
        given(&[created(), paid("p1"), cancelled(), due]).when(reject("p1")).then_no_events();
        let other = refund_due("p1", OTHER, "the captured amount is not the order's total");
        given(&[created(), other]).when(reject("p1")).then_no_events();
    }

    #[test]
    fn a_rejection_that_arrives_before_its_payment_is_recorded() {
        given(&[created()]).when(reject("p1")).then(&[rejected("p1").now()]);
    }

    #[test]
    fn a_rejection_reported_twice_is_recorded_once() {
        given(&[created(), rejected("p1")]).when(reject("p1")).then_no_events();
        given(&[created(), rejected("p1"), cancelled()]).when(reject("p1")).then_no_events();
    }

    #[test]
    fn a_rejection_of_a_payment_of_an_unknown_order_is_rejected() {
        given(&[]).when(reject("p1")).then_rejected(DecisionError::NotFound);
    }
}
