//! The rows of orders: how events change them.

use serde::Serialize;

use super::row::{DEFERRED, REFUND, REFUNDED, RefundRow, deferred_payment, deferred_shard, open_shard, shard_of};
use crate::domain::event::OrderEvent;
use crate::domain::ids::{OrderId, PaymentId};
use crate::domain::state::{Cancellation, Order, Payment, RefundDone, RejectedPayment, Returned, Shipment, Status};
use crate::store::order_of;
use dynamodb_event_store::projection::{ChangeError, CurrentRow, ReadModel, RowChange};
use dynamodb_event_store::{Commit, StreamId};

/// The read model with a row for every order: what clients see of it, and the lists.
#[derive(Clone, Copy, Debug)]
pub struct OrderRows;

impl ReadModel for OrderRows {
    type Aggregate = Order;
    const NAME: &'static str = "orders";
    const KEY: &'static str = "order_id";

    fn includes(&self, stream: &StreamId) -> bool {
        order_of(stream).is_some()
    }

    fn change(
        &self,
        stream: &StreamId,
        commits: &[Commit<OrderEvent>],
        before: CurrentRow<'_>,
    ) -> Result<RowChange, ChangeError> {
        let waiting = match before {
            CurrentRow::Missing => Waiting::For(None),
            CurrentRow::NotRead => Waiting::Unknown,
            CurrentRow::Row(row) => Waiting::For(deferred_payment(row)),
        };
        let mut patch = Patch { change: RowChange::default(), waiting };
        for commit in commits {
            for (version, event) in commit.versioned() {
                let misplaced = |why| ChangeError::InvalidEvent { version, why };
                let order_id = order_of(stream).filter(|order_id| event.order_id() == *order_id);
                patch.add(order_id.ok_or_else(|| misplaced("it names another order"))?, event);
                if matches!(event, OrderEvent::OrderCreated { .. }) != (version == 1) {
                    return Err(misplaced("an order is created by its first event"));
                }
            }
            patch.set("updated_at", &commit.recorded_at);
        }
        Ok(patch.change)
    }
}

/// The change that consecutive events make, whatever the row held before. Beginning with the first event, it is the whole
/// row.
struct Patch {
    change: RowChange,
    /// The deferred payment, as far as the events tell.
    waiting: Waiting,
}

/// The deferred payment, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
enum Waiting {
    Unknown,
    For(Option<PaymentId>),
}

impl Patch {
    fn add(&mut self, order_id: OrderId, event: &OrderEvent) {
        if let Some(status) = event.status() {
            self.set_status(order_id, status);
        }
        match event.clone() {
            OrderEvent::OrderCreated { user_id, items, total, created_at, .. } => {
                self.set("user_id", &user_id);
                self.set("item_count", &items.len());
                self.set("items", &items);
                self.set("total", &total);
                self.set("created_at", &created_at);
            }
            OrderEvent::OrderPaid { payment_id, paid_at, .. } => {
                self.remove(format!("{DEFERRED}{payment_id}"));
                self.set("payment", &Payment { payment_id, paid_at });
                // No other payment can be deferred when an order is paid.
                self.remove_deferred();
            }
            OrderEvent::OrderShipped { tracking_number, shipped_at, .. } => {
                self.set("shipment", &Shipment { tracking_number, shipped_at });
            }
            OrderEvent::OrderDelivered { delivered_at, .. } => {
                self.set("delivered_at", &delivered_at);
            }
            OrderEvent::OrderReturned { reason, returned_at, .. } => {
                self.set("returned", &Returned { reason, returned_at });
            }
            OrderEvent::OrderCancelled { reason, cancelled_at, .. } => {
                self.set("cancellation", &Cancellation { reason, cancelled_at });
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
    }

    /// A payment is settled. If it is the deferred one, none is deferred any more.
    fn settle(&mut self, payment_id: &PaymentId) {
        match &self.waiting {
            Waiting::Unknown => {
                // If one is deferred after all, the row that the write returns says which one.
                self.change.unless_exists = Some("deferred_shard");
                self.waiting = Waiting::For(None);
            }
            Waiting::For(waiting) if waiting.as_ref() == Some(payment_id) => self.remove_deferred(),
            Waiting::For(_) => {}
        }
    }

    fn remove_deferred(&mut self) {
        self.remove("deferred_shard".into());
        self.remove("deferred_at".into());
        self.waiting = Waiting::For(None);
    }

    fn set_status(&mut self, order_id: OrderId, status: Status) {
        self.set("status", &status);
        if status.is_open() {
            self.set("open_shard", &open_shard(shard_of(order_id)));
        } else {
            self.remove("open_shard".into());
        }
    }

    fn set(&mut self, attribute: impl Into<String>, value: &impl Serialize) {
        #[expect(clippy::expect_used, reason = "texts, integers and times, in lists and structs: always an attribute")]
        let value = serde_dynamo::to_attribute_value(value).expect("a value of these types is an attribute value");
        self.change.attributes.insert(attribute.into(), Some(value));
    }

    fn remove(&mut self, attribute: String) {
        self.change.attributes.insert(attribute, None);
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::domain::event::Item;
    use crate::domain::harness::{every_event, histories, properties, replay};
    use crate::domain::ids::ProductId;
    use crate::domain::lifetimes::{commands, live};
    use crate::domain::money::Money;
    use crate::read_model::row::{self, RowItem};
    use crate::read_model::view::OrderView;
    use dynamodb_event_store::{Metadata, Version};
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
            stream: id().into(),
            first,
            events,
            id: Uuid::nil(),
            recorded_at: time(),
            metadata: Metadata::default(),
            request_hash: None,
            epoch: None,
        }
    }

    fn change(
        order_id: OrderId,
        commits: &[Commit<OrderEvent>],
        before: CurrentRow<'_>,
    ) -> Result<RowChange, ChangeError> {
        OrderRows.change(&order_id.into(), commits, before)
    }

    /// Applies a change to a row, as the store does.
    fn apply(row: &mut RowItem, change: RowChange, last: Version) {
        for (attribute, value) in change.attributes {
            match value {
                Some(value) => row.insert(attribute, value),
                None => row.remove(&attribute),
            };
        }
        row.insert("version".into(), AttributeValue::N(last.to_string()));
    }

    #[test]
    fn the_first_event_makes_the_whole_row_with_amounts_in_minor_units() {
        let row = change(id(), &[commit(1, vec![created(id())])], CurrentRow::Missing).unwrap().attributes;
        let row = |name: &str| row[name].clone().unwrap();
        let text = |name: &str| row(name).as_s().unwrap().clone();
        let number = |name: &str| row(name).as_n().unwrap().clone();
        assert_eq!(["user_id", "status", "open_shard"].map(text), ["alice", "pending", "open#2"]);
        assert_eq!(text("created_at"), "2027-01-15T08:00:00.000Z");
        assert_eq!(["total", "item_count"].map(number), ["3998", "1"]);
    }

    #[test]
    fn a_closed_order_leaves_the_open_shard() {
        let change = change(id(), &[commit(4, vec![delivered(id())])], CurrentRow::NotRead).unwrap();
        assert_eq!(change.attributes["open_shard"], None);
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
                let before = if commits[0].first == 1 { CurrentRow::Missing } else { CurrentRow::NotRead };
                let mut patch = change(placed.order_id, &commits, before).unwrap();
                if patch.unless_exists.is_some_and(|attribute| row.contains_key(attribute)) {
                    patch = change(placed.order_id, &commits, CurrentRow::Row(&row)).unwrap();
                }
                apply(&mut row, patch, first - 1);
            }
            // The keys of the sparse indexes, which no view shows.
            let indexed = [placed.status.is_open(), placed.deferred.is_some(), placed.deferred.is_some()];
            let keys = ["open_shard", "deferred_shard", "deferred_at"];
            prop_assert_eq!(keys.map(|key| row.contains_key(key)), indexed);
            let expected = OrderView::new(placed, first - 1, time());
            prop_assert_eq!(row::view(row.clone()).unwrap(), Some(expected));
            let whole = change(placed.order_id, &[commit(1, history)], CurrentRow::Missing).unwrap();
            let mut made = RowItem::from([row::key(placed.order_id)]);
            apply(&mut made, whole, first - 1);
            prop_assert_eq!(made, row);
            Ok(())
        });
    }

    /// Fields of events that are not shown, each with the reason: `("OrderShipped", "/carrier", "…")`.
    const NOT_SHOWN: [(&str, &str, &str); 0] = [];

    /// The places of the values in an event's data, such as `/items/0/price`.
    fn places(data: &Value) -> Vec<String> {
        let children: Vec<(String, &Value)> = match data {
            Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), field)).collect(),
            Value::Array(values) => values.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
            _ => return vec![String::new()],
        };
        let places = |(name, child)| places(child).into_iter().map(move |place| format!("/{name}{place}"));
        children.into_iter().flat_map(places).collect()
    }

    fn data(event: &OrderEvent) -> Value {
        serde_json::to_value(event).unwrap()["data"].take()
    }

    /// The event with an unmistakable value in one place, and that value.
    fn marked(event: &OrderEvent, place: &str) -> (OrderEvent, Value) {
        let mut marked = serde_json::to_value(event).unwrap();
        let value = marked["data"].pointer_mut(place).unwrap();
        let marker = match value.as_str() {
            None => json!(7_777),
            Some(text) if text.parse::<Timestamp>().is_ok() => json!("2031-02-03T04:05:06.007Z"),
            Some(text) if text.parse::<Uuid>().is_ok() => json!(Uuid::from_u128(7_777)),
            Some(_) => json!("marker"),
        };
        *value = marker.clone();
        (serde_json::from_value(marked).unwrap(), marker)
    }

    fn has(shown: &Value, marker: &Value) -> bool {
        shown == marker
            || shown.as_array().is_some_and(|values| values.iter().any(|value| has(value, marker)))
            || shown.as_object().is_some_and(|fields| fields.values().any(|value| has(value, marker)))
    }

    #[test]
    fn the_row_and_the_view_show_every_field_of_every_event() {
        let fields = |event: &OrderEvent| {
            let name = event.name();
            places(&data(event)).into_iter().map(move |place| (name, place)).collect::<Vec<_>>()
        };
        let mut hidden: BTreeSet<_> = every_event().iter().flat_map(fields).collect();
        for (_, history) in histories() {
            for lived in 1..=history.len() {
                let (before, event) = (&history[..lived - 1], &history[lived - 1]);
                for field in fields(event) {
                    // Where a rule ties the value to an earlier event, it stays.
                    let (with_marker, marker) = marked(event, &field.1);
                    let free = replay(before).apply(&with_marker).is_ok();
                    let event = if free { with_marker } else { event.clone() };
                    let marker = if free { marker } else { data(&event).pointer(&field.1).unwrap().clone() };

                    let (order_id, events) = (event.order_id(), [before, &[event]].concat());
                    let whole = change(order_id, &[commit(1, events.clone())], CurrentRow::Missing).unwrap();
                    let mut row = RowItem::from([row::key(order_id)]);
                    apply(&mut row, whole, lived as Version);
                    let views = [
                        row::view(row).unwrap().unwrap(),
                        OrderView::new(replay(&events).placed().unwrap(), lived as Version, time()),
                    ];
                    if views.iter().all(|view| has(&json!(view), &marker)) {
                        hidden.remove(&field);
                    }
                }
            }
        }
        let expected = NOT_SHOWN.iter().map(|(event, place, _)| (*event, (*place).to_owned())).collect();
        assert_eq!(hidden, expected, "show the field in order_rows.rs and view.rs, or say in NOT_SHOWN why not");
    }

    #[test]
    fn an_event_of_another_order_or_in_an_impossible_position_is_found() {
        let other = OrderId(Uuid::from_u128(7));
        for (first, events, misplaced) in [
            (1, vec![created(other)], 1),
            (1, vec![created(id()), delivered(other)], 2),
            (1, vec![delivered(id())], 1),
            (2, vec![delivered(id()), created(id())], 3),
        ] {
            let error = change(id(), &[commit(first, events)], CurrentRow::NotRead).unwrap_err();
            assert!(matches!(error, ChangeError::InvalidEvent { version, .. } if version == misplaced), "{error}");
        }
    }
}
