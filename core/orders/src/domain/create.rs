//! Creating an order.
use serde::Serialize;

use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::{OrderId, UserId};
use super::items::Items;
use super::money::Money;
use super::state::Order;
use service_clock::Timestamp;

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
pub fn decide(order: &Order, command: &CreateOrder, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::*;
    use crate::domain::items::ItemDraft;

    fn create(lines: &[(&str, &str)]) -> CreateOrder {
        let drafts: Vec<_> = items()
            .iter()
            .zip(lines)
            .map(|(item, (quantity, price))| ItemDraft { product_id: item.product_id, quantity, price })
            .collect();
        let items = Items::parse(&drafts, &"EUR".parse().unwrap()).unwrap();
        CreateOrder { order_id: order_id(), user_id: user_id(), items }
    }

    #[test]
    fn a_new_order_costs_the_sum_of_its_items() {
        given(&[]).when(create(&[("2", "15"), ("1", "10.00")])).then(&[created().now()]);
    }

    #[test]
    fn an_order_may_hold_a_free_item_but_not_be_free() {
        given(&[]).when(create(&[("3", "0")])).then_rejected(DecisionError::TotalNotPositive);
        let gift = create(&[("3", "0"), ("1", "0.01")]);
        let decided = decide(&Order::default(), &gift, now()).unwrap();
        let items = gift.items.as_slice().to_vec();
        let (order_id, user_id, created_at) = (order_id(), user_id(), now());
        assert_eq!(decided, [OrderEvent::OrderCreated { order_id, user_id, items, total: Money(1), created_at }]);
    }

    #[test]
    fn an_order_is_created_once() {
        let again = create(&[("2", "15"), ("1", "10")]);
        given(&[created()]).when(again.clone()).then_rejected(DecisionError::AlreadyExists);
        given(&[created(), cancelled()]).when(again).then_rejected(DecisionError::AlreadyExists);
    }
}
