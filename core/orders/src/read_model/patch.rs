//! What events change in a row.

use std::collections::BTreeMap;
use std::collections::btree_map::IntoIter;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;

use super::row::{
    self, DEFERRED, OpenStatus, REFUND, REFUNDED, RefundRow, RowItem, deferred_shard, shard_of, status_shard,
};
use crate::domain::event::OrderEvent;
use crate::domain::ids::{OrderId, PaymentId};
use crate::domain::state::{Cancellation, Payment, RefundDone, RejectedPayment, Shipment, Status};
use dynamodb_event_store::{Commit, Version};

/// The attributes that a run of events sets, or, where there is no value, removes: whatever the row held before.
///
/// The patch of a run that begins with the first event is the whole row.
#[derive(Debug, PartialEq)]
pub(super) struct Patch {
    changes: BTreeMap<String, Option<AttributeValue>>,
    /// The payment that waits to be settled, as far as the run tells.
    waiting: Waiting,
    /// Whether the patch is right only for a row without a payment that waits.
    pub assumes_none_waits: bool,
}

/// The payment that waits to be settled, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Waiting {
    Unknown,
    For(Option<PaymentId>),
}

/// An event that this order cannot have at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event at version {version} cannot belong to this order: {why}")]
pub(super) struct Misplaced {
    pub version: Version,
    why: &'static str,
}

impl Patch {
    /// The patch of commits that follow each other, for a row with this payment waiting.
    pub fn of(order_id: OrderId, commits: &[Commit<OrderEvent>], waiting: Waiting) -> Result<Self, Misplaced> {
        let mut patch = Self { changes: BTreeMap::new(), waiting, assumes_none_waits: false };
        for commit in commits {
            for (version, event) in commit.versioned() {
                patch.add(order_id, event).map_err(|why| Misplaced { version, why })?;
                if matches!(event, OrderEvent::OrderCreated { .. }) != (version == 1) {
                    return Err(Misplaced { version, why: "an order is created by its first event" });
                }
            }
            patch.set("version", &commit.last());
            patch.set("updated_at", &commit.recorded_at);
        }
        Ok(patch)
    }

    fn add(&mut self, order_id: OrderId, event: &OrderEvent) -> Result<(), &'static str> {
        if event.order_id() != order_id {
            return Err("it names another one");
        }
        match event.clone() {
            OrderEvent::OrderCreated { user_id, items, total, created_at, .. } => {
                self.set("user_id", &user_id);
                self.set("item_count", &items.len());
                self.set("items", &items);
                self.set("total", &total);
                self.set("created_at", &created_at);
                self.set_status(order_id, Status::Pending);
            }
            OrderEvent::OrderPaid { payment_id, paid_at, .. } => {
                self.remove(format!("{DEFERRED}{payment_id}"));
                self.set("payment", &Payment { payment_id, paid_at });
                self.set_status(order_id, Status::Paid);
                // Nothing else can be waiting when an order is paid.
                self.nothing_waits();
            }
            OrderEvent::OrderShipped { tracking_number, shipped_at, .. } => {
                self.set("shipment", &Shipment { tracking_number, shipped_at });
                self.set_status(order_id, Status::Shipped);
            }
            OrderEvent::OrderDelivered { delivered_at, .. } => {
                self.set("delivered_at", &delivered_at);
                self.set_status(order_id, Status::Delivered);
            }
            OrderEvent::OrderCancelled { reason, cancelled_at, .. } => {
                self.set("cancellation", &Cancellation { reason, cancelled_at });
                self.set_status(order_id, Status::Cancelled);
            }
            OrderEvent::OrderPaymentDeferred { payment_id, deferred_at, .. } => {
                self.set(format!("{DEFERRED}{payment_id}"), &deferred_at);
                self.set("deferred_shard", &deferred_shard(shard_of(order_id)));
                self.set("deferred_at", &deferred_at);
                self.waiting = Waiting::For(Some(payment_id));
            }
            OrderEvent::OrderPaymentRejected { payment_id, reason, rejected_at, .. } => {
                self.remove(format!("{DEFERRED}{payment_id}"));
                self.settle(&payment_id);
                self.set("rejected_payment", &RejectedPayment { payment_id, reason, rejected_at });
            }
            OrderEvent::OrderRefundDue { payment_id, amount, reason, due_at, .. } => {
                self.remove(format!("{DEFERRED}{payment_id}"));
                self.settle(&payment_id);
                self.set(format!("{REFUND}{payment_id}"), &RefundRow { amount, reason, due_at });
            }
            OrderEvent::OrderRefunded { payment_id, refund_id, refunded_at, .. } => {
                self.set(format!("{REFUNDED}{payment_id}"), &RefundDone { refund_id, refunded_at });
            }
        }
        Ok(())
    }

    /// A payment is settled. If it is the one that waited, nothing waits any more.
    fn settle(&mut self, payment_id: &PaymentId) {
        match &self.waiting {
            Waiting::Unknown => {
                self.assumes_none_waits = true;
                self.waiting = Waiting::For(None);
            }
            Waiting::For(waiting) if waiting.as_ref() == Some(payment_id) => self.nothing_waits(),
            Waiting::For(_) => {}
        }
    }

    fn nothing_waits(&mut self) {
        self.remove("deferred_shard".into());
        self.remove("deferred_at".into());
        self.waiting = Waiting::For(None);
    }

    fn set_status(&mut self, order_id: OrderId, status: Status) {
        self.set("status", &status);
        match OpenStatus::try_from(status) {
            Ok(open) => self.set("status_shard", &status_shard(open, shard_of(order_id))),
            Err(_) => self.remove("status_shard".into()),
        }
    }

    fn set(&mut self, attribute: impl Into<String>, value: &impl Serialize) {
        #[expect(clippy::expect_used, reason = "texts, integers and times, in lists and structs: always an attribute")]
        let value = serde_dynamo::to_attribute_value(value).expect("a value of ours is an attribute value");
        self.changes.insert(attribute.into(), Some(value));
    }

    fn remove(&mut self, attribute: String) {
        self.changes.insert(attribute, None);
    }

    /// How many attributes it changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// The row that this patch makes of nothing.
    pub fn into_row(self, order_id: OrderId) -> RowItem {
        let set = self.changes.into_iter().filter_map(|(attribute, value)| Some((attribute, value?)));
        set.chain([row::key(order_id)]).collect()
    }
}

impl IntoIterator for Patch {
    type Item = (String, Option<AttributeValue>);
    type IntoIter = IntoIter<String, Option<AttributeValue>>;

    fn into_iter(self) -> Self::IntoIter {
        self.changes.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::event::Item;
    use crate::domain::harness::properties;
    use crate::domain::ids::ProductId;
    use crate::domain::lifetimes::{commands, live};
    use crate::domain::money::Money;
    use crate::read_model::row::Standing;
    use crate::read_model::view::OrderView;
    use dynamodb_event_store::{Metadata, StreamId};
    use service_clock::Timestamp;

    fn id() -> OrderId {
        OrderId(Uuid::from_u128(6))
    }

    fn time() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).unwrap()
    }

    fn created(order_id: OrderId) -> OrderEvent {
        let items = vec![Item { product_id: ProductId(Uuid::from_u128(1)), quantity: 2, price: Money(1999) }];
        OrderEvent::OrderCreated {
            order_id,
            user_id: "alice".parse().unwrap(),
            items,
            total: Money(3998),
            created_at: time(),
        }
    }

    fn delivered(order_id: OrderId) -> OrderEvent {
        OrderEvent::OrderDelivered { order_id, delivered_at: time() }
    }

    fn commit(first: Version, events: Vec<OrderEvent>) -> Commit<OrderEvent> {
        Commit {
            stream: StreamId::new(id().to_string()),
            first,
            events,
            id: Uuid::nil(),
            recorded_at: time(),
            metadata: Metadata::default(),
            request_hash: None,
            epoch: None,
        }
    }

    #[test]
    fn the_first_event_makes_the_whole_row_with_amounts_in_minor_units() {
        let row = Patch::of(id(), &[commit(1, vec![created(id())])], Waiting::Unknown).unwrap().into_row(id());
        let text = |name: &str| row[name].as_s().unwrap().as_str();
        let number = |name: &str| row[name].as_n().unwrap().as_str();
        assert_eq!(text("order_id"), "00000000-0000-0000-0000-000000000006");
        assert_eq!((text("user_id"), text("status"), text("status_shard")), ("alice", "pending", "pending#2"));
        assert_eq!(text("created_at"), "2027-01-15T08:00:00.000Z");
        assert_eq!((number("version"), number("total"), number("item_count")), ("1", "3998", "1"));
    }

    #[test]
    fn an_order_that_is_done_leaves_the_work_queue() {
        let changes: BTreeMap<_, _> =
            Patch::of(id(), &[commit(4, vec![delivered(id())])], Waiting::Unknown).unwrap().into_iter().collect();
        assert_eq!(changes["status_shard"], None);
        assert_eq!(changes["version"], Some(AttributeValue::N("4".into())));
    }

    #[test]
    fn the_patches_of_a_history_in_any_cut_make_the_view_of_its_fold() {
        properties(1_000, &(commands(), any::<u64>()), |(commands, cuts)| {
            let (order, history) = live(&commands)?;
            let Some(placed) = order.placed() else { return Ok(()) };
            let (mut row, mut first, mut run) = (RowItem::from([row::key(placed.order_id)]), 1, Vec::new());
            for (n, event) in history.iter().enumerate() {
                run.push(event.clone());
                if (cuts >> (n % 64)) & 1 == 0 && n + 1 < history.len() {
                    continue;
                }
                let commit = commit(first, std::mem::take(&mut run));
                first = commit.last() + 1;
                let commits = [commit];
                let mut patch = Patch::of(placed.order_id, &commits, Waiting::Unknown).unwrap();
                if patch.assumes_none_waits && row.contains_key("deferred_shard") {
                    let waiting = Standing::of(Some(row.clone())).waiting;
                    patch = Patch::of(placed.order_id, &commits, Waiting::For(waiting)).unwrap();
                }
                for (attribute, value) in patch {
                    match value {
                        Some(value) => row.insert(attribute, value),
                        None => row.remove(&attribute),
                    };
                }
            }
            let expected = OrderView::new(placed, first - 1, time());
            prop_assert_eq!(row::view(row.clone()).unwrap(), Some(expected));
            let whole = Patch::of(placed.order_id, &[commit(1, history)], Waiting::For(None)).unwrap();
            prop_assert_eq!(whole.into_row(placed.order_id), row);
            Ok(())
        });
    }

    #[test]
    fn an_event_of_another_order_or_in_an_impossible_place_is_found() {
        let other = OrderId(Uuid::from_u128(7));
        for (first, events, misplaced) in [
            (1, vec![created(other)], 1),
            (1, vec![created(id()), delivered(other)], 2),
            (1, vec![delivered(id())], 1),
            (2, vec![delivered(id()), created(id())], 3),
        ] {
            assert_eq!(Patch::of(id(), &[commit(first, events)], Waiting::Unknown).unwrap_err().version, misplaced);
        }
    }
}
