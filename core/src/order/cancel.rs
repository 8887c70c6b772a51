//! Giving an order up.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::ids::Reason;
use super::state::Order;

/// Cancel the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CancelOrder {
    /// Why.
    pub reason: Reason,
}

/// The order must be pending, paid or shipped. What was paid is owed back, in the same commit. A deferred payment stays
/// to be settled.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`].
pub fn decide(order: &Order, command: &CancelOrder, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?.require_status(Expected::Cancellable)?;
    let order_id = order.order_id;
    let mut events = vec![OrderEvent::OrderCancelled { order_id, reason: command.reason.clone(), cancelled_at: now }];
    events.extend(order.payment.as_ref().map(|payment| OrderEvent::OrderRefundDue {
        order_id,
        payment_id: payment.payment_id.clone(),
        amount: order.total,
        reason: Reason::literal("the order was cancelled"),
        due_at: now,
    }));
    Ok(events)
}
