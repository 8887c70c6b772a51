//! The refund of a payment, reported by the provider.
use serde::Serialize;

use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::{PaymentId, RefundId};
use super::money::Money;
use super::state::Order;
use service_clock::Timestamp;

/// Record that the provider refunded a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfirmRefund {
    /// The payment that was refunded.
    pub payment_id: PaymentId,
    /// The provider's id of the refund.
    pub refund_id: RefundId,
    /// How much was refunded.
    pub amount: Money,
}

/// A refund of this amount must be due. The same refund again is success without an event.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::RefundNotDue`], [`DecisionError::RefundAmountDiffers`];
/// [`DecisionError::AlreadyRefunded`] for a second refund of one payment, [`DecisionError::RefundOfOtherPayment`] for
/// one refund of two payments. A refund that was not due needs manual attention.
pub fn decide(order: &Order, command: &ConfirmRefund, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?;
    let ConfirmRefund { payment_id, refund_id, amount } = command.clone();
    let Some(refund) = order.refund(&payment_id) else {
        return Err(DecisionError::RefundNotDue(payment_id));
    };
    if let Some(done) = &refund.done
        && done.refund_id != refund_id
    {
        return Err(DecisionError::AlreadyRefunded { payment_id, refund_id: done.refund_id.clone() });
    }
    if refund.amount != amount {
        return Err(DecisionError::RefundAmountDiffers { payment_id, due: refund.amount, given: amount });
    }
    if refund.done.is_some() {
        return Ok(Vec::new());
    }
    if let Some(other) = order.refunded_with(&refund_id) {
        return Err(DecisionError::RefundOfOtherPayment { refund_id, payment_id: other.payment_id.clone() });
    }
    Ok(vec![OrderEvent::OrderRefunded { order_id: order.order_id, payment_id, refund_id, amount, refunded_at: now }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::OrderEvent;
    use crate::domain::harness::*;

    fn confirm(payment: &str, refund: &str, amount: Money) -> ConfirmRefund {
        ConfirmRefund { payment_id: payment_id(payment), refund_id: refund_id(refund), amount }
    }

    fn cancelled_after_payment() -> [OrderEvent; 4] {
        [created(), paid("p1"), cancelled(), refund_due("p1", TOTAL, "the order was cancelled")]
    }

    #[test]
    fn a_due_refund_is_confirmed() {
        given(&cancelled_after_payment()).when(confirm("p1", "r1", TOTAL)).then(&[refunded("p1", "r1", TOTAL).now()]);
    }

    #[test]
    fn refunds_of_several_payments_are_confirmed_separately() {
        let late = refund_due("p2", OTHER, "captured after the order was cancelled");
        let history = [cancelled_after_payment().as_slice(), &[late]].concat();
        given(&history).when(confirm("p2", "r1", OTHER)).then(&[refunded("p2", "r1", OTHER).now()]);
        let history = [history.as_slice(), &[refunded("p2", "r1", OTHER)]].concat();
        given(&history).when(confirm("p1", "r2", TOTAL)).then(&[refunded("p1", "r2", TOTAL).now()]);
    }

    #[test]
    fn a_refund_belongs_to_one_payment() {
        let late = refund_due("p2", TOTAL, "captured after the order was cancelled");
        let history = [cancelled_after_payment().as_slice(), &[late, refunded("p2", "r1", TOTAL)]].concat();
        let rejected = DecisionError::RefundOfOtherPayment { refund_id: refund_id("r1"), payment_id: payment_id("p2") };
        given(&history).when(confirm("p1", "r1", TOTAL)).then_rejected(rejected);
        given(&history).when(confirm("p2", "r1", TOTAL)).then_no_events();
    }

    #[test]
    fn a_refund_reported_twice_is_recorded_once() {
        let history = [cancelled_after_payment().as_slice(), &[refunded("p1", "r1", TOTAL)]].concat();
        given(&history).when(confirm("p1", "r1", TOTAL)).then_no_events();
        let differs = DecisionError::RefundAmountDiffers { payment_id: payment_id("p1"), due: TOTAL, given: OTHER };
        given(&history).when(confirm("p1", "r1", OTHER)).then_rejected(differs);
    }

    #[test]
    fn a_payment_is_refunded_once() {
        let history = [cancelled_after_payment().as_slice(), &[refunded("p1", "r1", TOTAL)]].concat();
        let rejected = DecisionError::AlreadyRefunded { payment_id: payment_id("p1"), refund_id: refund_id("r1") };
        given(&history).when(confirm("p1", "r2", TOTAL)).then_rejected(rejected);
    }

    #[test]
    fn a_refund_that_is_not_due_is_rejected() {
        let not_due = |payment| DecisionError::RefundNotDue(payment_id(payment));
        given(&[]).when(confirm("p1", "r1", TOTAL)).then_rejected(DecisionError::NotFound);
        given(&[created()]).when(confirm("p1", "r1", TOTAL)).then_rejected(not_due("p1"));
        given(&[created(), paid("p1")]).when(confirm("p1", "r1", TOTAL)).then_rejected(not_due("p1"));
        given(&cancelled_after_payment()).when(confirm("p2", "r1", TOTAL)).then_rejected(not_due("p2"));
    }

    #[test]
    fn the_amount_must_be_the_refund_that_is_due() {
        let differs = DecisionError::RefundAmountDiffers { payment_id: payment_id("p1"), due: TOTAL, given: OTHER };
        given(&cancelled_after_payment()).when(confirm("p1", "r1", OTHER)).then_rejected(differs);
    }
}
