//! Shipping an order.
use serde::Serialize;

use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::ids::TrackingNumber;
use super::state::{Order, Status};
use service_clock::Timestamp;

const PAID: Expected = Expected { code: "order-not-paid", statuses: &[Status::Paid] };

/// Record that the order was shipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShipOrder {
    /// The carrier's id of the parcel.
    pub tracking_number: TrackingNumber,
}

/// The order must be paid.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`].
pub fn decide(order: &Order, command: &ShipOrder, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let order = order.require()?.require_status(PAID)?;
    let tracking_number = command.tracking_number.clone();
    Ok(vec![OrderEvent::OrderShipped { order_id: order.order_id, tracking_number, shipped_at: now }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::*;

    fn ship() -> ShipOrder {
        ShipOrder { tracking_number: tracking_number() }
    }

    #[test]
    fn a_paid_order_is_shipped() {
        given(&[created(), paid("p1")]).when(ship()).then(&[shipped().now()]);
    }

    #[test]
    fn only_a_paid_order_can_be_shipped() {
        let rejected = |actual| DecisionError::WrongStatus { expected: PAID, actual };
        given(&[]).when(ship()).then_rejected(DecisionError::NotFound);
        given(&[created()]).when(ship()).then_rejected(rejected(Status::Pending));
        given(&[created(), deferred("p1")]).when(ship()).then_rejected(rejected(Status::Pending));
        given(&[created(), cancelled()]).when(ship()).then_rejected(rejected(Status::Cancelled));
    }

    #[test]
    fn an_order_is_shipped_once() {
        let rejected = |actual| DecisionError::WrongStatus { expected: PAID, actual };
        given(&[created(), paid("p1"), shipped()]).when(ship()).then_rejected(rejected(Status::Shipped));
        let history = [created(), paid("p1"), shipped(), delivered()];
        given(&history).when(ship()).then_rejected(rejected(Status::Delivered));
    }
}
