//! The arrival of an order.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::state::Order;

/// Record that the order has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeliverOrder;

/// The order must be shipped.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`].
pub fn decide(order: &Order, _: &DeliverOrder, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?.require_status(Expected::Shipped)?;
    Ok(vec![OrderEvent::OrderDelivered { order_id: order.order_id, delivered_at: now }])
}
