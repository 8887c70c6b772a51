//! The provider's word that a payment will not be captured.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::{PaymentId, Reason};
use super::state::{Order, PaymentStatus, Status};

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
pub fn decide(order: &Order, command: &RejectPayment, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, DecisionError> {
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
