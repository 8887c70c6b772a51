//! Giving up an order that nobody paid.
use serde::Serialize;

use super::cancel::{self, CancelOrder};
use super::error::DecisionError;
use super::event::OrderEvent;
use super::ids::Reason;
use super::state::{Order, Status};
use service_clock::Timestamp;

/// Cancel the order if it has waited for its payment for too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpireOrder {
    /// An order that was created before this has waited for too long.
    pub created_before: Timestamp,
}

/// Cancels a pending order of that age. An order that was paid meanwhile, or whose payment is being settled, is left as
/// it is: that is success without an event.
///
/// # Errors
/// [`DecisionError::NotFound`].
pub fn decide(order: &Order, command: &ExpireOrder, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let placed = order.require()?;
    let unpaid = placed.status == Status::Pending && placed.deferred.is_none();
    if !unpaid || placed.created_at >= command.created_before {
        return Ok(Vec::new());
    }
    cancel::decide(order, &CancelOrder { reason: Reason::literal("not paid in time") }, now)
}

#[cfg(test)]
mod tests {
    use chrono::Duration;

    use super::*;
    use crate::domain::harness::*;

    fn expire() -> ExpireOrder {
        ExpireOrder { created_before: now() }
    }

    fn not_paid_in_time() -> OrderEvent {
        OrderEvent::OrderCancelled { order_id: order_id(), reason: reason("not paid in time"), cancelled_at: now() }
    }

    #[test]
    fn an_order_that_nobody_paid_in_time_is_cancelled() {
        given(&[created()]).when(expire()).then(&[not_paid_in_time()]);
        given(&[created(), rejected("p1")]).when(expire()).then(&[not_paid_in_time()]);
    }

    #[test]
    fn an_order_that_is_young_enough_is_left_alone() {
        let order = replay(&[created()]);
        let created_before = order.placed().unwrap().created_at;
        given(&[created()]).when(ExpireOrder { created_before }).then_no_events();
        let created_before = created_before + Duration::milliseconds(1);
        given(&[created()]).when(ExpireOrder { created_before }).then(&[not_paid_in_time()]);
    }

    #[test]
    fn an_order_with_a_payment_in_progress_is_left_alone() {
        given(&[created(), deferred("p1")]).when(expire()).then_no_events();
    }

    #[test]
    fn an_order_that_was_paid_or_given_up_meanwhile_is_left_alone() {
        given(&[created(), paid("p1")]).when(expire()).then_no_events();
        given(&[created(), paid("p1"), shipped()]).when(expire()).then_no_events();
        given(&[created(), cancelled()]).when(expire()).then_no_events();
    }

    #[test]
    fn an_unknown_order_does_not_expire() {
        given(&[]).when(expire()).then_rejected(DecisionError::NotFound);
    }
}
