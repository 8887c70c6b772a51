//! The provider's word that money went back.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::{PaymentId, RefundId};
use super::money::Money;
use super::state::Order;

/// Record that the provider gave a payment back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfirmRefund {
    /// The payment that was given back.
    pub payment_id: PaymentId,
    /// The provider's name of the refund.
    pub refund_id: RefundId,
    /// How much went back.
    pub amount: Money,
}

/// A refund must be due, and of this amount. The same refund once more is success without an event.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::RefundNotDue`], [`DecisionError::RefundAmountDiffers`];
/// [`DecisionError::AlreadyRefunded`] for a second refund of one payment. Money that went back without being owed is
/// for people to look after.
pub fn decide(order: &Order, command: &ConfirmRefund, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, DecisionError> {
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
    Ok(vec![OrderEvent::OrderRefunded { order_id: order.order_id, payment_id, refund_id, amount, refunded_at: now }])
}
