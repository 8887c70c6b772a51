//! Which events are valid in which state, and what they change. Decisions follow these rules; replay checks them.

use super::event::OrderEvent;
use super::ids::{OrderId, PaymentId};
use super::money::Money;
use super::state::{
    Cancellation, DeferredPayment, Order, Payment, PlacedOrder, Refund, RefundDone, RejectedPayment, Returned,
    Shipment, Status,
};

/// How many rejected payments the state holds. Older ones are dropped, so that no client can make the state grow without
/// bound; a repeat of a dropped one is a new payment, which the provider declines again.
const MAX_REJECTED: usize = 16;

/// An event that is not valid in the state: the stream is corrupt, or was written under other rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not valid in this state: {broken}")]
pub struct TransitionError {
    /// The event's type.
    pub event: &'static str,
    /// The rule that it breaks.
    pub broken: BrokenRule,
}

/// Why an event is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// Only `OrderCreated` can be the first event.
    #[error("the order does not exist yet")]
    NotCreated,
    /// `OrderCreated` can only be the first event.
    #[error("the order already exists")]
    CreatedTwice,
    /// The event belongs to another order.
    #[error("it belongs to order {0}")]
    OtherOrder(OrderId),
    /// It is not valid in the order's status.
    #[error("the order is {0}")]
    Status(Status),
    /// An amount is not the one that it must equal.
    #[error("its amount is {found} minor units instead of {expected}", found = found.0, expected = expected.0)]
    Amount {
        /// What it must be.
        expected: Money,
        /// What it is.
        found: Money,
    },
    /// Another payment of the order has yet to be settled.
    #[error("payment {0} is deferred")]
    PaymentDeferred(PaymentId),
    /// The payment was captured.
    #[error("payment {0} was already captured")]
    PaymentCaptured(PaymentId),
    /// The order owes no refund of this payment.
    #[error("no refund of payment {0} is due")]
    NoRefundDue(PaymentId),
}

impl Order {
    /// Moves the order by one event. On an error the order is as it was before.
    ///
    /// # Errors
    /// The event is not valid. The caller adds stream and version to the error and stops reading.
    pub fn apply(&mut self, event: &OrderEvent) -> Result<(), TransitionError> {
        let moved = match (&mut self.0, event) {
            (empty @ None, OrderEvent::OrderCreated { order_id, user_id, items, total, created_at }) => {
                *empty = Some(Box::new(PlacedOrder {
                    order_id: *order_id,
                    user_id: user_id.clone(),
                    items: items.clone(),
                    total: *total,
                    status: Status::Pending,
                    created_at: *created_at,
                    payment: None,
                    deferred: None,
                    rejected: Vec::new(),
                    refunds: Vec::new(),
                    shipment: None,
                    delivered_at: None,
                    returned: None,
                    cancellation: None,
                }));
                Ok(())
            }
            (None, _) => Err(BrokenRule::NotCreated),
            (Some(order), event) => order.apply(event),
        };
        moved.map_err(|broken| TransitionError { event: event.name(), broken })
    }
}

impl OrderEvent {
    /// The status that the order has after the event, or `None` if the event does not change it.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::OrderCreated { .. } => Some(Status::Pending),
            Self::OrderPaid { .. } => Some(Status::Paid),
            Self::OrderShipped { .. } => Some(Status::Shipped),
            Self::OrderDelivered { .. } => Some(Status::Delivered),
            Self::OrderReturned { .. } => Some(Status::Returned),
            Self::OrderCancelled { .. } => Some(Status::Cancelled),
            Self::OrderPaymentDeferred { .. }
            | Self::OrderPaymentRejected { .. }
            | Self::OrderRefundDue { .. }
            | Self::OrderRefunded { .. } => None,
        }
    }
}

impl PlacedOrder {
    fn apply(&mut self, event: &OrderEvent) -> Result<(), BrokenRule> {
        if event.order_id() != self.order_id {
            return Err(BrokenRule::OtherOrder(event.order_id()));
        }
        match event {
            OrderEvent::OrderCreated { .. } => return Err(BrokenRule::CreatedTwice),
            OrderEvent::OrderPaid { payment_id, amount, paid_at, .. } => {
                self.require_one_of(&[Status::Pending])?;
                self.require_uncaptured(payment_id)?;
                self.require_no_other_deferred_payment(payment_id)?;
                require_amount(self.total, *amount)?;
                self.remove_unsettled(payment_id);
                self.payment = Some(Payment { payment_id: payment_id.clone(), paid_at: *paid_at });
            }
            OrderEvent::OrderShipped { tracking_number, shipped_at, .. } => {
                self.require_one_of(&[Status::Paid])?;
                let tracking_number = tracking_number.clone();
                self.shipment = Some(Shipment { tracking_number, shipped_at: *shipped_at });
            }
            OrderEvent::OrderDelivered { delivered_at, .. } => {
                self.require_one_of(&[Status::Shipped])?;
                self.delivered_at = Some(*delivered_at);
            }
            OrderEvent::OrderReturned { reason, returned_at, .. } => {
                self.require_one_of(&[Status::Delivered])?;
                self.returned = Some(Returned { reason: reason.clone(), returned_at: *returned_at });
            }
            OrderEvent::OrderCancelled { reason, cancelled_at, .. } => {
                self.require_one_of(&[Status::Pending, Status::Paid, Status::Shipped])?;
                self.cancellation = Some(Cancellation { reason: reason.clone(), cancelled_at: *cancelled_at });
            }
            OrderEvent::OrderPaymentDeferred { payment_id, amount, deferred_at, .. } => {
                self.require_one_of(&[Status::Pending])?;
                self.require_uncaptured(payment_id)?;
                self.require_no_deferred_payment()?;
                require_amount(self.total, *amount)?;
                self.remove_unsettled(payment_id);
                self.deferred = Some(DeferredPayment { payment_id: payment_id.clone(), deferred_at: *deferred_at });
            }
            OrderEvent::OrderPaymentRejected { payment_id, reason, rejected_at, .. } => {
                if !self.is_deferred(payment_id) {
                    self.require_one_of(&[Status::Pending])?;
                }
                self.require_uncaptured(payment_id)?;
                self.remove_unsettled(payment_id);
                if self.rejected.len() >= MAX_REJECTED {
                    self.rejected.remove(0);
                }
                let (payment_id, reason) = (payment_id.clone(), reason.clone());
                self.rejected.push(RejectedPayment { payment_id, reason, rejected_at: *rejected_at });
            }
            OrderEvent::OrderRefundDue { payment_id, amount, reason, due_at, .. } => {
                if self.refund(payment_id).is_some() {
                    return Err(BrokenRule::PaymentCaptured(payment_id.clone()));
                }
                if self.is_paid_with(payment_id) {
                    self.require_one_of(&[Status::Returned, Status::Cancelled])?;
                    require_amount(self.total, *amount)?;
                }
                self.remove_unsettled(payment_id);
                let (payment_id, reason) = (payment_id.clone(), reason.clone());
                self.refunds.push(Refund { payment_id, amount: *amount, reason, due_at: *due_at, done: None });
            }
            OrderEvent::OrderRefunded { payment_id, refund_id, amount, refunded_at, .. } => {
                let refund = self.refunds.iter_mut().find(|refund| refund.payment_id == *payment_id);
                let due = refund.filter(|refund| refund.done.is_none());
                let refund = due.ok_or_else(|| BrokenRule::NoRefundDue(payment_id.clone()))?;
                require_amount(refund.amount, *amount)?;
                refund.done = Some(RefundDone { refund_id: refund_id.clone(), refunded_at: *refunded_at });
            }
        }
        self.status = event.status().unwrap_or(self.status);
        Ok(())
    }

    fn require_one_of(&self, allowed: &[Status]) -> Result<(), BrokenRule> {
        if allowed.contains(&self.status) { Ok(()) } else { Err(BrokenRule::Status(self.status)) }
    }

    fn require_uncaptured(&self, payment_id: &PaymentId) -> Result<(), BrokenRule> {
        match self.captured(payment_id) {
            Some(_) => Err(BrokenRule::PaymentCaptured(payment_id.clone())),
            None => Ok(()),
        }
    }

    fn require_no_deferred_payment(&self) -> Result<(), BrokenRule> {
        match &self.deferred {
            Some(deferred) => Err(BrokenRule::PaymentDeferred(deferred.payment_id.clone())),
            None => Ok(()),
        }
    }

    fn require_no_other_deferred_payment(&self, payment_id: &PaymentId) -> Result<(), BrokenRule> {
        if self.is_deferred(payment_id) { Ok(()) } else { self.require_no_deferred_payment() }
    }

    /// A newer event about a payment replaces its being deferred or rejected.
    fn remove_unsettled(&mut self, payment_id: &PaymentId) {
        self.deferred.take_if(|deferred| deferred.payment_id == *payment_id);
        self.rejected.retain(|rejected| rejected.payment_id != *payment_id);
    }
}

fn require_amount(expected: Money, found: Money) -> Result<(), BrokenRule> {
    if expected == found { Ok(()) } else { Err(BrokenRule::Amount { expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::*;

    #[test]
    fn an_event_of_another_order_is_not_valid() {
        let mut order = replay(&[created()]);
        let mut event = paid("p1");
        let OrderEvent::OrderPaid { order_id, .. } = &mut event else { panic!("not paid") };
        order_id.0 = uuid::Uuid::from_u128(7);
        let error = order.apply(&event).unwrap_err();
        assert_eq!(
            error.to_string(),
            "OrderPaid is not valid in this state: it belongs to order 00000000-0000-0000-0000-000000000007"
        );
        assert_eq!(order, replay(&[created()]));
    }

    #[test]
    fn a_cancelled_order_refunds_the_total_of_its_payment() {
        let mut order = replay(&[created(), paid("p1"), cancelled()]);
        let error = order.apply(&refund_due("p1", OTHER, "the order was cancelled")).unwrap_err();
        assert_eq!(error.broken, BrokenRule::Amount { expected: TOTAL, found: OTHER });
        order.apply(&refund_due("p1", TOTAL, "the order was cancelled")).unwrap();
    }

    #[test]
    fn a_payment_is_in_one_list_only() {
        let order = replay(&[created(), rejected("p1"), deferred("p1"), rejected("p2")]);
        let placed = order.placed().unwrap();
        assert!(placed.is_deferred(&payment_id("p1")));
        assert_eq!(placed.rejected.len(), 1);
        let order = replay(&[created(), rejected("p1"), deferred("p1"), paid("p1")]);
        let placed = order.placed().unwrap();
        assert_eq!((&placed.deferred, placed.rejected.len()), (&None, 0));
    }

    #[test]
    fn only_the_newest_rejections_are_stored() {
        let mut order = replay(&[created()]);
        for n in 0..MAX_REJECTED + 3 {
            order.apply(&rejected(&format!("p{n}"))).unwrap();
        }
        let placed = order.placed().unwrap();
        assert_eq!(placed.rejected.len(), MAX_REJECTED);
        assert_eq!(placed.rejected[0].payment_id, payment_id("p3"));
        assert_eq!(placed.payment_status(&payment_id("p2")), None);
    }
}
