//! The form of a row of the order table: the names of its attributes, and how a view is read from them.
//!
//! Every event sets or removes whole attributes, whatever they held before. So what exists once per payment has an
//! attribute per payment, named by a prefix and the payment's id. Amounts are integers of minor units.

use std::collections::BTreeMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};

use super::view::{OrderSummary, OrderView, RefundView};
use crate::domain::ids::{OrderId, PaymentId, Reason};
use crate::domain::money::Money;
use crate::domain::state::{DeferredPayment, RefundDone, Status, one_of};
pub(super) use dynamodb_event_store::projection::RowItem;
use service_clock::Timestamp;

/// `deferred:<payment_id>`: since when the payment is deferred.
pub(super) const DEFERRED: &str = "deferred:";
/// `refund:<payment_id>`: the refund that is due, [`RefundRow`].
pub(super) const REFUND: &str = "refund:";
/// `refunded:<payment_id>`: how it was refunded, [`RefundDone`].
pub(super) const REFUNDED: &str = "refunded:";

/// The shards of the indexes `by-status` and `by-deferred`. A changed number needs a rebuild
/// of the rows.
pub(super) const SHARDS: u8 = 4;

/// The key of an open order in the index `by-status`.
pub(super) fn open_shard(shard: u8) -> String {
    format!("open#{shard}")
}

/// The key of an order in the index `by-deferred`.
pub(super) fn deferred_shard(shard: u8) -> String {
    format!("deferred#{shard}")
}

/// The shard of an order: the low bits of its id, which are random in random and in hash-based UUIDs.
pub(super) fn shard_of(order_id: OrderId) -> u8 {
    order_id.0.as_bytes()[15] % SHARDS
}

/// A status of open orders. Only these are in the index `by-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenStatus(Status);

impl OpenStatus {
    /// Waiting for its payment.
    pub const PENDING: Self = Self(Status::Pending);
}

/// A status of closed orders, which are not listed, or no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {}: closed orders are not listed", one_of(&open()))]
pub struct NotOpen;

impl TryFrom<Status> for OpenStatus {
    type Error = NotOpen;

    fn try_from(status: Status) -> Result<Self, NotOpen> {
        if status.is_open() { Ok(Self(status)) } else { Err(NotOpen) }
    }
}

impl FromStr for OpenStatus {
    type Err = NotOpen;

    fn from_str(text: &str) -> Result<Self, NotOpen> {
        text.parse::<Status>().map_err(|_| NotOpen)?.try_into()
    }
}

impl From<OpenStatus> for Status {
    fn from(open: OpenStatus) -> Self {
        open.0
    }
}

fn open() -> Vec<Status> {
    Status::ALL.into_iter().filter(|status| status.is_open()).collect()
}

/// The refund of one payment that is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefundRow {
    pub amount: Money,
    pub reason: Reason,
    pub due_at: Timestamp,
}

/// The order in a row; `None` for the row of an order that was parked before anything was known of it.
pub(super) fn view(item: RowItem) -> Result<Option<OrderView>, serde_dynamo::Error> {
    if is_stub(&item) {
        return Ok(None);
    }
    let deferred = per_payment::<Timestamp>(&item, DEFERRED)?.into_iter().next();
    let mut refunded = per_payment::<RefundDone>(&item, REFUNDED)?;
    let refunds = per_payment::<RefundRow>(&item, REFUND)?.into_iter().map(|(payment_id, refund)| RefundView {
        done: refunded.remove(&payment_id),
        payment_id,
        amount: refund.amount,
        reason: refund.reason,
        due_at: refund.due_at,
    });
    let view = OrderView {
        deferred_payment: deferred.map(|(payment_id, deferred_at)| DeferredPayment { payment_id, deferred_at }),
        refunds: refunds.collect(),
        ..serde_dynamo::from_item(item)?
    };
    Ok(Some(view.normalized()))
}

/// What lists show of a row.
pub(super) fn summary(row: RowItem) -> Result<OrderSummary, serde_dynamo::Error> {
    serde_dynamo::from_item(row)
}

/// The deferred payment, if there is one.
pub(super) fn deferred_payment(row: &RowItem) -> Option<PaymentId> {
    row.keys().find_map(|name| name.strip_prefix(DEFERRED)?.parse().ok())
}

/// The key of an order's row.
pub(super) fn key(order_id: OrderId) -> (String, AttributeValue) {
    ("order_id".into(), AttributeValue::S(order_id.to_string()))
}

fn is_stub(item: &RowItem) -> bool {
    item.contains_key("parked") && !item.contains_key("version")
}

/// The attributes of one prefix, by payment.
fn per_payment<T: for<'de> Deserialize<'de>>(
    item: &RowItem,
    prefix: &str,
) -> Result<BTreeMap<PaymentId, T>, serde_dynamo::Error> {
    let named = item.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value)));
    named
        .map(|(payment_id, value)| {
            // Stored texts are not checked again.
            let payment_id: StrDeserializer<'_, serde_dynamo::Error> = payment_id.into_deserializer();
            Ok((PaymentId::deserialize(payment_id)?, serde_dynamo::from_attribute_value(value.clone())?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_order_stays_in_one_shard_and_orders_spread_over_all() {
        let key = |n| open_shard(shard_of(OrderId(Uuid::from_u128(n))));
        assert_eq!([0, 1, 2, 3, 4].map(key), ["open#0", "open#1", "open#2", "open#3", "open#0"]);
        assert_eq!([0, 3].map(deferred_shard), ["deferred#0", "deferred#3"]);
        let spread =
            (0..4_000).map(|_| shard_of(OrderId(Uuid::new_v4()))).fold([0; SHARDS as usize], |mut counts, shard| {
                counts[usize::from(shard)] += 1;
                counts
            });
        assert!(spread.iter().all(|count| *count > 800), "{spread:?}");
    }

    #[test]
    fn only_orders_that_need_work_are_open() {
        use Status::{Cancelled, Delivered, Paid, Pending, Shipped};
        let open = |status| OpenStatus::try_from(status).map(Status::from);
        assert_eq!([Pending, Paid, Shipped].map(open), [Ok(Pending), Ok(Paid), Ok(Shipped)]);
        assert_eq!([Delivered, Cancelled].map(open), [Err(NotOpen), Err(NotOpen)]);
        assert_eq!(NotOpen.to_string(), "must be pending, paid or shipped: closed orders are not listed");
        assert!(OpenStatus::PENDING.0.is_open());
    }

    fn item(attributes: &[(&str, AttributeValue)]) -> RowItem {
        attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn a_row_that_is_only_a_mark_has_no_view_and_a_damaged_one_is_an_error() {
        let mark = AttributeValue::M([("version".to_owned(), AttributeValue::N("1".into()))].into());
        let key = key(OrderId(Uuid::from_u128(1)));
        let stub = item(&[(&key.0, key.1.clone()), ("parked", mark.clone())]);
        assert_eq!(view(stub).unwrap(), None);
        let mut damaged = item(&[(&key.0, key.1), ("version", AttributeValue::N("1".into()))]);
        view(damaged.clone()).unwrap_err();
        damaged.insert("parked".into(), mark);
        view(damaged).unwrap_err();
        let long = AttributeValue::S("2026-01-01T00:00:00Z".into());
        let nameless = item(&[("version", AttributeValue::N("1".into())), ("deferred:", long)]);
        view(nameless).unwrap_err();
    }
}
