//! Sending an order.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::ids::TrackingNumber;
use super::state::Order;

/// Record that the order was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShipOrder {
    /// The carrier's name of the parcel.
    pub tracking_number: TrackingNumber,
}

/// The order must be paid.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`].
pub fn decide(order: &Order, command: &ShipOrder, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?.require_status(Expected::Paid)?;
    let tracking_number = command.tracking_number.clone();
    Ok(vec![OrderEvent::OrderShipped { order_id: order.order_id, tracking_number, shipped_at: now }])
}
