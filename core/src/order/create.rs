//! Creating an order.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::{OrderId, UserId};
use super::items::Items;
use super::money::Money;
use super::state::Order;

/// Create an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreateOrder {
    /// The order's id; whoever repeats the request names the same one.
    pub order_id: OrderId,
    /// Its owner.
    pub user_id: UserId,
    /// What is ordered.
    pub items: Items,
}

/// The order must be new, and cost something.
///
/// # Errors
/// [`DecisionError::AlreadyExists`], [`DecisionError::TotalNotPositive`].
pub fn decide(order: &Order, command: &CreateOrder, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, DecisionError> {
    if order.placed().is_some() {
        return Err(DecisionError::AlreadyExists);
    }
    let total = command.items.total();
    if total == Money::ZERO {
        return Err(DecisionError::TotalNotPositive);
    }
    Ok(vec![OrderEvent::OrderCreated {
        order_id: command.order_id,
        user_id: command.user_id.clone(),
        items: command.items.as_slice().to_vec(),
        total,
        created_at: now,
    }])
}
