//! The provider's word that it captured a payment.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::{PaymentId, Reason};
use super::money::Money;
use super::state::{Order, PlacedOrder, Status};

/// Record that the provider captured a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfirmPayment {
    /// The provider's name of the payment.
    pub payment_id: PaymentId,
    /// What it captured.
    pub amount: Money,
}

/// Captured money is never refused: it pays the order, or it is owed back. It pays a pending order with its exact
/// total unless another payment is in progress. A capture on record is success without an event.
///
/// # Errors
/// [`DecisionError::NotFound`]; [`DecisionError::PaymentAmountDiffers`] if the payment is on record with another
/// amount; [`DecisionError::AmountMismatch`] if nothing was captured.
pub fn decide(order: &Order, command: &ConfirmPayment, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?;
    let ConfirmPayment { payment_id, amount } = command;
    order.require_same_amount(payment_id, *amount)?;
    if order.captured(payment_id).is_some() {
        return Ok(Vec::new());
    }
    if *amount == Money::ZERO {
        return Err(DecisionError::AmountMismatch { total: order.total, given: *amount });
    }
    let (order_id, payment_id, amount) = (order.order_id, payment_id.clone(), *amount);
    Ok(vec![match why_owed_back(order, &payment_id, amount) {
        None => OrderEvent::OrderPaid { order_id, payment_id, amount, paid_at: now },
        Some(reason) => {
            OrderEvent::OrderRefundDue { order_id, payment_id, amount, reason: Reason::literal(reason), due_at: now }
        }
    }])
}

/// Why a new capture cannot pay the order, if it cannot.
fn why_owed_back(order: &PlacedOrder, payment_id: &PaymentId, amount: Money) -> Option<&'static str> {
    match order.status {
        Status::Cancelled => Some("captured after the order was cancelled"),
        Status::Paid | Status::Shipped | Status::Delivered => Some("the order was paid with another payment"),
        Status::Pending if amount != order.total => Some("the captured amount is not the order's total"),
        Status::Pending if order.deferred.is_some() && !order.is_deferred(payment_id) => {
            Some("another payment of the order was in progress")
        }
        Status::Pending => None,
    }
}
