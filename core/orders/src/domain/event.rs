//! The events of an order, under the names and fields that they are stored and published with.
//!
//! Each event is defined once, in `events!`. Its name, its accessors, its stored form, its JSON Schema and the tests that
//! need one of every kind follow from there.
//!
//! Amounts are integers of minor units here; the wire form with decimals is [`super::money::Currency::to_json`].
use serde::{Deserialize, Serialize};

use super::ids::{OrderId, PaymentId, ProductId, Reason, RefundId, TrackingNumber, UserId};
use super::money::Money;
use service_clock::Timestamp;

/// Defines [`OrderEvent`]. Every event has an `order_id`, an event about a payment has a `payment_id`, and the last field
/// is the time.
macro_rules! events {
    ($($(#[$about:meta])* $event:ident { $($(#[$says:meta])* $field:ident: $type:ty,)+ })+) => {
        /// An event of one order. Serialized as `{"type": …, "data": {…}}`.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(tag = "type", content = "data")]
        pub enum OrderEvent {
            $($(#[$about])* $event { $($(#[$says])* $field: $type,)+ },)+
        }

        impl OrderEvent {
            /// The types of all events.
            pub const NAMES: [&'static str; [$(stringify!($event)),+].len()] = [$(stringify!($event)),+];

            /// The event's type: the `type` that it is stored and published with.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$event { .. } => stringify!($event),)+
                }
            }

            /// The order that the event is about.
            pub fn order_id(&self) -> OrderId {
                match self {
                    $(Self::$event { order_id, .. })|+ => *order_id,
                }
            }

            /// The payment that the event is about, if it is about one.
            pub fn payment_id(&self) -> Option<&PaymentId> {
                match self {
                    $(Self::$event { .. } => payment_id!(self, $event, $($field)+),)+
                }
            }

            /// When it happened, by the clock of the function that decided it.
            pub fn occurred_at(&self) -> Timestamp {
                match self {
                    $(last!($event, at, $($field)+) => *at,)+
                }
            }

            /// For histories that happen at other times.
            #[cfg(test)]
            pub(crate) fn occurred_at_mut(&mut self) -> &mut Timestamp {
                match self {
                    $(last!($event, at, $($field)+) => at,)+
                }
            }
        }
    };
}

/// A pattern of an event that binds its last field.
macro_rules! last {
    ($event:ident, $bound:ident, $field:ident) => { OrderEvent::$event { $field: $bound, .. } };
    ($event:ident, $bound:ident, $_:ident $($rest:ident)+) => { last!($event, $bound, $($rest)+) };
}

/// The field `payment_id` of an event, if it has one.
macro_rules! payment_id {
    ($self:ident, $event:ident, payment_id $($_:ident)*) => {
        match $self {
            OrderEvent::$event { payment_id, .. } => Some(payment_id),
            _ => None,
        }
    };
    ($self:ident, $event:ident, $_:ident $($rest:ident)*) => { payment_id!($self, $event, $($rest)*) };
    ($self:ident, $event:ident,) => { None };
}

events! {
    /// The order was created. Always the first event of its stream.
    OrderCreated {
        /// The order.
        order_id: OrderId,
        /// Its owner.
        user_id: UserId,
        /// What was ordered, never empty.
        items: Vec<Item>,
        /// Σ price × quantity, positive.
        total: Money,
        /// When.
        created_at: Timestamp,
    }
    /// The order was paid, with its exact total.
    OrderPaid {
        /// The order.
        order_id: OrderId,
        /// The provider's id of the payment.
        payment_id: PaymentId,
        /// The captured amount, equal to the total.
        amount: Money,
        /// When.
        paid_at: Timestamp,
    }
    /// The parcel is on its way.
    OrderShipped {
        /// The order.
        order_id: OrderId,
        /// The carrier's id of the parcel.
        tracking_number: TrackingNumber,
        /// When.
        shipped_at: Timestamp,
    }
    /// The parcel has arrived.
    OrderDelivered {
        /// The order.
        order_id: OrderId,
        /// When.
        delivered_at: Timestamp,
    }
    /// A delivered order was returned. A refund of its payment is due.
    OrderReturned {
        /// The order.
        order_id: OrderId,
        /// Why.
        reason: Reason,
        /// When.
        returned_at: Timestamp,
    }
    /// The order was cancelled: by its owner, by fulfilment, or because it was not paid in time.
    OrderCancelled {
        /// The order.
        order_id: OrderId,
        /// Why.
        reason: Reason,
        /// When.
        cancelled_at: Timestamp,
    }
    /// A payment was accepted without verification: the provider has yet to settle it.
    OrderPaymentDeferred {
        /// The order.
        order_id: OrderId,
        /// The provider's id of the payment.
        payment_id: PaymentId,
        /// The amount that the caller claims, equal to the total.
        amount: Money,
        /// When.
        deferred_at: Timestamp,
    }
    /// The provider declined a payment. The order waits for another.
    OrderPaymentRejected {
        /// The order.
        order_id: OrderId,
        /// The provider's id of the payment.
        payment_id: PaymentId,
        /// Why.
        reason: Reason,
        /// When.
        rejected_at: Timestamp,
    }
    /// Captured money must be refunded: the payment system does it and sends `RefundCompleted`.
    OrderRefundDue {
        /// The order.
        order_id: OrderId,
        /// The payment to refund.
        payment_id: PaymentId,
        /// How much of it.
        amount: Money,
        /// Why.
        reason: Reason,
        /// When.
        due_at: Timestamp,
    }
    /// A payment was refunded.
    OrderRefunded {
        /// The order.
        order_id: OrderId,
        /// The payment that was refunded.
        payment_id: PaymentId,
        /// The provider's id of the refund.
        refund_id: RefundId,
        /// How much was refunded.
        amount: Money,
        /// When.
        refunded_at: Timestamp,
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Item {
    /// What.
    pub product_id: ProductId,
    /// How many, 1–10,000.
    pub quantity: u32,
    /// The price of one.
    pub price: Money,
}
