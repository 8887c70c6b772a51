//! The facts of an order's life, under the names and fields that they are stored and published with.
//!
//! Amounts are integers of minor units here; the wire form with decimals is [`super::money::Currency::to_json`].
use serde::{Deserialize, Serialize};

use super::ids::{OrderId, PaymentId, ProductId, Reason, RefundId, TrackingNumber, UserId};
use super::money::Money;
use service_clock::Timestamp;

/// A fact about one order. Serialised as `{"type": …, "data": {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum OrderEvent {
    /// The order exists from here on; always the first event of its stream.
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
    },
    /// The total was captured.
    OrderPaid {
        /// The order.
        order_id: OrderId,
        /// The provider's name of the payment.
        payment_id: PaymentId,
        /// The captured amount, equal to the total.
        amount: Money,
        /// When.
        paid_at: Timestamp,
    },
    /// The parcel is on its way.
    OrderShipped {
        /// The order.
        order_id: OrderId,
        /// The carrier's name of the parcel.
        tracking_number: TrackingNumber,
        /// When.
        shipped_at: Timestamp,
    },
    /// The parcel has arrived.
    OrderDelivered {
        /// The order.
        order_id: OrderId,
        /// When.
        delivered_at: Timestamp,
    },
    /// Nobody will ship this any more.
    OrderCancelled {
        /// The order.
        order_id: OrderId,
        /// Why.
        reason: Reason,
        /// When.
        cancelled_at: Timestamp,
    },
    /// A payment was taken on, and the provider has yet to say whether it holds.
    OrderPaymentDeferred {
        /// The order.
        order_id: OrderId,
        /// The provider's name of the payment.
        payment_id: PaymentId,
        /// The amount that the caller named, equal to the total.
        amount: Money,
        /// When.
        deferred_at: Timestamp,
    },
    /// The provider said no to a payment.
    OrderPaymentRejected {
        /// The order.
        order_id: OrderId,
        /// The provider's name of the payment.
        payment_id: PaymentId,
        /// Why.
        reason: Reason,
        /// When.
        rejected_at: Timestamp,
    },
    /// Money was captured that the shop may not keep.
    OrderRefundDue {
        /// The order.
        order_id: OrderId,
        /// The payment to give back.
        payment_id: PaymentId,
        /// How much of it.
        amount: Money,
        /// Why.
        reason: Reason,
        /// When.
        due_at: Timestamp,
    },
    /// The money went back.
    OrderRefunded {
        /// The order.
        order_id: OrderId,
        /// The payment that was given back.
        payment_id: PaymentId,
        /// The provider's name of the refund.
        refund_id: RefundId,
        /// How much went back.
        amount: Money,
        /// When.
        refunded_at: Timestamp,
    },
}

impl OrderEvent {
    /// The event's type: the `type` that it is stored and published with.
    pub fn name(&self) -> &'static str {
        match self {
            Self::OrderCreated { .. } => "OrderCreated",
            Self::OrderPaid { .. } => "OrderPaid",
            Self::OrderShipped { .. } => "OrderShipped",
            Self::OrderDelivered { .. } => "OrderDelivered",
            Self::OrderCancelled { .. } => "OrderCancelled",
            Self::OrderPaymentDeferred { .. } => "OrderPaymentDeferred",
            Self::OrderPaymentRejected { .. } => "OrderPaymentRejected",
            Self::OrderRefundDue { .. } => "OrderRefundDue",
            Self::OrderRefunded { .. } => "OrderRefunded",
        }
    }

    /// The order that the fact is about.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::OrderCreated { order_id, .. }
            | Self::OrderPaid { order_id, .. }
            | Self::OrderShipped { order_id, .. }
            | Self::OrderDelivered { order_id, .. }
            | Self::OrderCancelled { order_id, .. }
            | Self::OrderPaymentDeferred { order_id, .. }
            | Self::OrderPaymentRejected { order_id, .. }
            | Self::OrderRefundDue { order_id, .. }
            | Self::OrderRefunded { order_id, .. } => *order_id,
        }
    }

    /// The payment that the fact is about, if it is about one.
    pub fn payment_id(&self) -> Option<&PaymentId> {
        match self {
            Self::OrderPaid { payment_id, .. }
            | Self::OrderPaymentDeferred { payment_id, .. }
            | Self::OrderPaymentRejected { payment_id, .. }
            | Self::OrderRefundDue { payment_id, .. }
            | Self::OrderRefunded { payment_id, .. } => Some(payment_id),
            Self::OrderCreated { .. }
            | Self::OrderShipped { .. }
            | Self::OrderDelivered { .. }
            | Self::OrderCancelled { .. } => None,
        }
    }

    /// When it happened, by the clock of whoever decided it.
    pub fn occurred_at(&self) -> Timestamp {
        match self {
            Self::OrderCreated { created_at: at, .. }
            | Self::OrderPaid { paid_at: at, .. }
            | Self::OrderShipped { shipped_at: at, .. }
            | Self::OrderDelivered { delivered_at: at, .. }
            | Self::OrderCancelled { cancelled_at: at, .. }
            | Self::OrderPaymentDeferred { deferred_at: at, .. }
            | Self::OrderPaymentRejected { rejected_at: at, .. }
            | Self::OrderRefundDue { due_at: at, .. }
            | Self::OrderRefunded { refunded_at: at, .. } => *at,
        }
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
    /// For how much apiece.
    pub price: Money,
}
