//! The state of an order after its events: all that decisions and views need.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::event::{Item, OrderEvent};
use super::ids::{OrderId, PaymentId, Reason, RefundId, TrackingNumber, UserId};
use super::money::Money;
use service_clock::Timestamp;

/// An order, or (`Default`) one that does not exist yet. Its state is changed by [`Order::apply`] only.
///
/// Serialized it is a snapshot: empty fields are omitted, and an item is a list instead of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Order(pub(super) Option<Box<PlacedOrder>>);

impl Order {
    /// The order's contents, or `None` while it does not exist.
    pub fn placed(&self) -> Option<&PlacedOrder> {
        self.0.as_deref()
    }
}

/// The schema of the snapshots of [`Order`]: the form of its state, and the events that lead to it. Raised with every
/// change of the state, and with every event or schema of an event that becomes known. So no program goes on from a
/// snapshot over an event that it could not have read itself.
pub const SNAPSHOT_SCHEMA: u32 = 2;

macro_rules! statuses {
    ($($(#[$about:meta])* $status:ident = $name:literal, $open:literal;)+) => {
        /// The status of an order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum Status {
            $($(#[$about])* #[serde(rename = $name)] $status,)+
        }

        impl Status {
            /// All statuses. An order only ever moves to a later one.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$status),+];

            /// The status as it is written everywhere: `pending`, `paid`, ….
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$status => $name,)+
                }
            }

            /// Whether the order still needs work: open orders are in the work queue.
            pub fn is_open(self) -> bool {
                match self {
                    $(Self::$status => $open,)+
                }
            }
        }
    };
}

// The name, and whether the order is open.
statuses! {
    /// Created, and waiting for its payment.
    Pending = "pending", true;
    /// Its total was captured.
    Paid = "paid", true;
    /// Shipped.
    Shipped = "shipped", true;
    /// Delivered. Only refunds follow.
    Delivered = "delivered", false;
    /// Returned after its delivery. Only refunds follow.
    Returned = "returned", false;
    /// Cancelled. Only payments and refunds are still settled.
    Cancelled = "cancelled", false;
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is not a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {}", one_of(&Status::ALL))]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// Statuses as an error names them: `pending, paid or shipped`.
pub(crate) fn one_of(statuses: &[Status]) -> String {
    let names: Vec<_> = statuses.iter().map(|status| status.as_str()).collect();
    match names.split_last() {
        Some((last, rest @ [_, ..])) => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// An order that exists.
///
/// A payment is in at most one of `payment`, `deferred` and `rejected`. One that is due for refund is in `refunds`, once;
/// if it had paid the order, it stays in `payment` as well.
///
/// A snapshot with an unknown field was written by a newer program, after events that this one may not know either: it is
/// ignored, and the events are read instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacedOrder {
    /// The order.
    pub order_id: OrderId,
    /// Its owner.
    pub user_id: UserId,
    /// What was ordered.
    #[serde(with = "item_lists")]
    pub items: Vec<Item>,
    /// What it costs, and what its payment captured.
    pub total: Money,
    /// Its status.
    pub status: Status,
    /// When it was created.
    pub created_at: Timestamp,
    /// The payment that paid the total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// The payment of the total that the provider has yet to settle. A cancelled order may still have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferred: Option<DeferredPayment>,
    /// The newest payments that the provider declined, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<RejectedPayment>,
    /// Captured money that is due for refund or was refunded, in the order of the events; at most one per payment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<Refund>,
    /// How it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipment: Option<Shipment>,
    /// When it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// Why and when it was returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Returned>,
    /// Why and when it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Cancellation>,
}

/// The payment that paid an order; its amount is the order's total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Payment {
    /// The provider's id of it.
    pub payment_id: PaymentId,
    /// When it was captured.
    pub paid_at: Timestamp,
}

/// A payment that was accepted without verification; its amount is the order's total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeferredPayment {
    /// The provider's id of it.
    pub payment_id: PaymentId,
    /// Since when.
    pub deferred_at: Timestamp,
}

/// A payment that the provider declined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RejectedPayment {
    /// The provider's id of it.
    pub payment_id: PaymentId,
    /// Why.
    pub reason: Reason,
    /// When.
    pub rejected_at: Timestamp,
}

/// Money that is due for refund, or was refunded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The payment that captured it.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: Reason,
    /// Since when it is due.
    pub due_at: Timestamp,
    /// How it was refunded; `None` while it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<RefundDone>,
}

/// A completed refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RefundDone {
    /// The provider's id of the refund.
    pub refund_id: RefundId,
    /// When.
    pub refunded_at: Timestamp,
}

/// How an order was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Shipment {
    /// The carrier's id of the parcel.
    pub tracking_number: TrackingNumber,
    /// When.
    pub shipped_at: Timestamp,
}

/// Why an order was returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Returned {
    /// Why.
    pub reason: Reason,
    /// When.
    pub returned_at: Timestamp,
}

/// Why an order was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cancellation {
    /// Why.
    pub reason: Reason,
    /// When.
    pub cancelled_at: Timestamp,
}

/// The status of one payment of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// It paid the order.
    Paid,
    /// The provider has yet to settle it.
    Deferred,
    /// The provider declined it, for this reason.
    Rejected(Reason),
    /// It captured money that is due for refund, for this reason.
    RefundDue(Reason),
    /// It was refunded.
    Refunded,
}

impl PlacedOrder {
    /// The event that makes the payment of the order due for refund; `None` if it is not paid.
    pub(super) fn refund_of_payment(&self, reason: Reason, now: Timestamp) -> Option<OrderEvent> {
        let payment_id = self.payment.as_ref()?.payment_id.clone();
        let (order_id, amount) = (self.order_id, self.total);
        Some(OrderEvent::OrderRefundDue { order_id, payment_id, amount, reason, due_at: now })
    }

    /// The status of a payment, or `None` if it is unknown.
    pub fn payment_status(&self, payment_id: &PaymentId) -> Option<PaymentStatus> {
        if let Some(refund) = self.refund(payment_id) {
            return Some(match refund.done {
                Some(_) => PaymentStatus::Refunded,
                None => PaymentStatus::RefundDue(refund.reason.clone()),
            });
        }
        if self.is_paid_with(payment_id) {
            return Some(PaymentStatus::Paid);
        }
        if self.is_deferred(payment_id) {
            return Some(PaymentStatus::Deferred);
        }
        let rejected = self.rejected.iter().find(|rejected| rejected.payment_id == *payment_id);
        rejected.map(|rejected| PaymentStatus::Rejected(rejected.reason.clone()))
    }

    /// What a payment captured, or `None` if no capture is recorded.
    pub fn captured(&self, payment_id: &PaymentId) -> Option<Money> {
        let owed = self.refund(payment_id).map(|refund| refund.amount);
        owed.or_else(|| self.is_paid_with(payment_id).then_some(self.total))
    }

    /// The refund of a payment, due or done.
    pub fn refund(&self, payment_id: &PaymentId) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.payment_id == *payment_id)
    }

    /// The refund with this id.
    pub(super) fn refunded_with(&self, refund_id: &RefundId) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.done.as_ref().is_some_and(|done| done.refund_id == *refund_id))
    }

    pub(super) fn is_paid_with(&self, payment_id: &PaymentId) -> bool {
        self.payment.as_ref().is_some_and(|payment| payment.payment_id == *payment_id)
    }

    pub(super) fn is_deferred(&self, payment_id: &PaymentId) -> bool {
        self.deferred.as_ref().is_some_and(|deferred| deferred.payment_id == *payment_id)
    }
}

/// An item in a snapshot: `[product_id, quantity, price]`.
mod item_lists {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Item;
    use crate::domain::ids::ProductId;
    use crate::domain::money::Money;

    pub fn serialize<S: Serializer>(items: &[Item], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(items.iter().map(|item| (item.product_id, item.quantity, item.price)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Item>, D::Error> {
        let lists = Vec::<(ProductId, u32, Money)>::deserialize(deserializer)?;
        Ok(lists.into_iter().map(|(product_id, quantity, price)| Item { product_id, quantity, price }).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::event::OrderEvent;
    use crate::domain::harness::*;
    use crate::domain::{golden, newest_schema};

    #[test]
    fn a_status_is_read_from_its_name_only() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!("Paid".parse::<Status>(), Err(UnknownStatus));
        assert!(UnknownStatus.to_string().starts_with("must be pending, paid, "));
        let named = [&[Status::Paid][..], &[Status::Pending, Status::Paid, Status::Shipped]].map(one_of);
        assert_eq!(named, ["paid", "pending, paid or shipped"]);
    }

    #[test]
    fn a_snapshot_is_the_state() {
        for (_, history) in histories() {
            for lived in 0..=history.len() {
                let order = replay(&history[..lived]);
                let snapshot = serde_json::to_vec(&order).unwrap();
                assert_eq!(serde_json::from_slice::<Order>(&snapshot).unwrap(), order);
                let attributes: serde_dynamo::AttributeValue = serde_dynamo::to_attribute_value(&order).unwrap();
                assert_eq!(serde_dynamo::from_attribute_value::<_, Order>(attributes).unwrap(), order);
            }
        }
    }

    #[test]
    fn a_snapshot_of_the_present_schema_is_of_the_same_form_and_the_same_events() {
        let events: serde_json::Map<_, _> =
            OrderEvent::NAMES.into_iter().map(|name| (name.to_owned(), newest_schema(name).into())).collect();
        let orders: serde_json::Map<_, _> =
            histories().into_iter().map(|(name, history)| (name.to_owned(), json!(replay(&history)))).collect();
        let advice = "raise SNAPSHOT_SCHEMA; only if nothing but a history was added to the harness, delete the file";
        let file = format!("src/domain/golden/snapshots/v{SNAPSHOT_SCHEMA}.json");
        golden::check(&file, &json!({ "events": events, "orders": orders }), advice);
    }

    #[test]
    fn a_snapshot_of_a_plain_order_is_small() {
        let order = replay(&[created(), paid("p1"), shipped(), delivered()]);
        let snapshot = serde_json::to_string(&order).unwrap();
        assert!(snapshot.len() < 600, "{}: {snapshot}", snapshot.len());
    }
}
