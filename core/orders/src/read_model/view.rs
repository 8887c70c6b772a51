//! Orders as they are shown.
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

use crate::domain::ids::{OrderId, PaymentId, ProductId, Reason, UserId};
use crate::domain::money::{Currency, Money};
use crate::domain::state::{
    Cancellation, DeferredPayment, Order, Payment, PlacedOrder, RefundDone, RejectedPayment, Returned, Shipment, Status,
};
use dynamodb_event_store::{Stream, Version};
use service_clock::Timestamp;

/// An order as it is shown, at one version. `M` is the form of amounts: [`Money`] inside, JSON numbers in responses.
///
/// The projector's rows and a fold of the events give the same view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderView<M = Money> {
    /// The order.
    pub order_id: OrderId,
    /// Its owner.
    pub user_id: UserId,
    /// Its status.
    pub status: Status,
    /// What was ordered.
    pub items: Vec<ItemView<M>>,
    /// Its total.
    pub total: M,
    /// The newest event in this view.
    pub version: Version,
    /// When it was created.
    pub created_at: Timestamp,
    /// When that event was recorded.
    pub updated_at: Timestamp,
    /// The payment that paid it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// The payment that the provider has yet to settle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deferred_payment: Option<DeferredPayment>,
    /// The newest declined payment, unless one is deferred or was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_payment: Option<RejectedPayment>,
    /// Captured money that is due for refund or was refunded, by the time it became due.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<RefundView<M>>,
    /// How it was shipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipment: Option<Shipment>,
    /// When it was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// Why and when it was returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returned: Option<Returned>,
    /// Why and when it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Cancellation>,
    /// Newer events exist that cannot be shown for now.
    #[serde(default, deserialize_with = "is_parked", skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ItemView<M = Money> {
    /// What.
    pub product_id: ProductId,
    /// How many.
    pub quantity: u32,
    /// The price of one.
    pub price: M,
}

/// Money that is due for refund, or was refunded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RefundView<M = Money> {
    /// The payment that captured it.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: M,
    /// Why.
    pub reason: Reason,
    /// Since when it is due.
    pub due_at: Timestamp,
    /// How it was refunded, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<RefundDone>,
}

/// An order as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderSummary<M = Money> {
    /// The order.
    pub order_id: OrderId,
    /// Its owner.
    pub user_id: UserId,
    /// Its status.
    pub status: Status,
    /// Its total.
    pub total: M,
    /// The newest event in this summary.
    pub version: Version,
    /// How many lines it has.
    pub item_count: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its newest event was recorded.
    pub updated_at: Timestamp,
    /// Newer events exist that cannot be shown for now.
    #[serde(default, deserialize_with = "is_parked", skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
}

/// In a row, `parked` holds why; a view only says that it is there.
fn is_parked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl OrderView {
    /// The order in a stream, or `None` if the stream is empty.
    pub fn of(stream: &Stream<Order>) -> Option<Self> {
        Some(Self::new(stream.state().placed()?, stream.version(), stream.recorded_at()?))
    }

    /// The order at `version`, which was recorded at `updated_at`.
    pub fn new(order: &PlacedOrder, version: Version, updated_at: Timestamp) -> Self {
        let items = order.items.iter();
        let refunds = order.refunds.iter();
        Self {
            order_id: order.order_id,
            user_id: order.user_id.clone(),
            status: order.status,
            items: items
                .map(|item| ItemView { product_id: item.product_id, quantity: item.quantity, price: item.price })
                .collect(),
            total: order.total,
            version,
            created_at: order.created_at,
            updated_at,
            payment: order.payment.clone(),
            deferred_payment: order.deferred.clone(),
            rejected_payment: order.rejected.last().cloned(),
            refunds: refunds
                .map(|refund| RefundView {
                    payment_id: refund.payment_id.clone(),
                    amount: refund.amount,
                    reason: refund.reason.clone(),
                    due_at: refund.due_at,
                    done: refund.done.clone(),
                })
                .collect(),
            shipment: order.shipment.clone(),
            delivered_at: order.delivered_at,
            returned: order.returned.clone(),
            cancellation: order.cancellation.clone(),
            parked: false,
        }
        .normalized()
    }

    /// Rows and states hold refunds and rejections in different ways: this is the one form that is shown.
    pub(super) fn normalized(mut self) -> Self {
        self.refunds.sort_by(|a, b| (a.due_at, &a.payment_id).cmp(&(b.due_at, &b.payment_id)));
        if self.payment.is_some() || self.deferred_payment.is_some() || !self.refunds.is_empty() {
            self.rejected_payment = None;
        }
        self
    }

    /// The view with amounts as responses show them.
    pub fn on_the_wire(self, currency: &Currency) -> OrderView<Number> {
        let amount = |money| currency.to_json(money);
        let items = self.items.into_iter();
        let refunds = self.refunds.into_iter();
        OrderView {
            order_id: self.order_id,
            user_id: self.user_id,
            status: self.status,
            items: items
                .map(|item| ItemView {
                    product_id: item.product_id,
                    quantity: item.quantity,
                    price: amount(item.price),
                })
                .collect(),
            total: amount(self.total),
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
            payment: self.payment,
            deferred_payment: self.deferred_payment,
            rejected_payment: self.rejected_payment,
            refunds: refunds
                .map(|refund| RefundView {
                    payment_id: refund.payment_id,
                    amount: amount(refund.amount),
                    reason: refund.reason,
                    due_at: refund.due_at,
                    done: refund.done,
                })
                .collect(),
            shipment: self.shipment,
            delivered_at: self.delivered_at,
            returned: self.returned,
            cancellation: self.cancellation,
            parked: self.parked,
        }
    }
}

impl OrderSummary {
    /// The summary with its amount as responses show it.
    pub fn on_the_wire(self, currency: &Currency) -> OrderSummary<Number> {
        OrderSummary {
            order_id: self.order_id,
            user_id: self.user_id,
            status: self.status,
            total: currency.to_json(self.total),
            version: self.version,
            item_count: self.item_count,
            created_at: self.created_at,
            updated_at: self.updated_at,
            parked: self.parked,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::domain::event::{Item, OrderEvent};

    const AT: &str = "2026-01-01T00:00:00.000Z";

    /// The view after an order's creation and these events.
    fn after(facts: &[serde_json::Value]) -> OrderView {
        let id = Uuid::from_u128(1);
        let created = OrderEvent::OrderCreated {
            order_id: OrderId(id),
            user_id: "alice".parse().unwrap(),
            items: vec![Item { product_id: ProductId(id), quantity: 2, price: Money(1005) }],
            total: Money(2010),
            created_at: AT.parse().unwrap(),
        };
        let mut order = Order::default();
        order.apply(&created).unwrap();
        for fact in facts {
            let mut fact = fact.clone();
            fact["data"]["order_id"] = id.to_string().into();
            let fact: OrderEvent = serde_json::from_value(fact).unwrap();
            order.apply(&fact).unwrap();
        }
        OrderView::new(order.placed().unwrap(), 1 + facts.len() as Version, AT.parse().unwrap())
    }

    fn rejected(payment_id: &str) -> serde_json::Value {
        json!({ "type": "OrderPaymentRejected", "data": { "payment_id": payment_id, "reason": "no", "rejected_at": AT } })
    }

    fn deferred(payment_id: &str) -> serde_json::Value {
        json!({ "type": "OrderPaymentDeferred", "data": { "payment_id": payment_id, "amount": 2010, "deferred_at": AT } })
    }

    fn paid(payment_id: &str) -> serde_json::Value {
        json!({ "type": "OrderPaid", "data": { "payment_id": payment_id, "amount": 2010, "paid_at": AT } })
    }

    fn refund_due(payment_id: &str, due_at: &str) -> serde_json::Value {
        let data = json!({ "payment_id": payment_id, "amount": 5, "reason": "too little", "due_at": due_at });
        json!({ "type": "OrderRefundDue", "data": data })
    }

    #[test]
    fn amounts_are_shown_in_the_decimals_of_the_currency_and_empty_fields_are_omitted() {
        let view = after(&[refund_due("p", AT)]).on_the_wire(&"EUR".parse().unwrap());
        let id = Uuid::from_u128(1);
        let expected = json!({
            "order_id": id, "user_id": "alice", "status": "pending", "total": 20.1, "version": 2,
            "items": [{ "product_id": id, "quantity": 2, "price": 10.05 }],
            "created_at": AT, "updated_at": AT,
            "refunds": [{ "payment_id": "p", "amount": 0.05, "reason": "too little", "due_at": AT }],
        });
        assert_eq!(serde_json::to_value(view).unwrap(), expected);
    }

    #[test]
    fn a_parked_order_is_marked() {
        let view = OrderView { parked: true, ..after(&[]) }.on_the_wire(&"JPY".parse().unwrap());
        let shown = serde_json::to_value(view).unwrap();
        assert_eq!((&shown["parked"], &shown["total"]), (&json!(true), &json!(2010)));
    }

    #[test]
    fn a_declined_payment_is_shown_until_another_is_deferred_or_captured() {
        let shown = |facts: &[_]| after(facts).rejected_payment.map(|rejected| rejected.payment_id.to_string());
        assert_eq!(shown(&[]), None);
        assert_eq!(shown(&[rejected("p1"), rejected("p2")]), Some("p2".into()));
        assert_eq!(shown(&[rejected("p1"), deferred("p2")]), None);
        assert_eq!(shown(&[deferred("p1"), rejected("p1")]), Some("p1".into()));
        assert_eq!(shown(&[rejected("p1"), paid("p1")]), None);
        assert_eq!(shown(&[rejected("p1"), refund_due("p1", AT)]), None);
    }

    #[test]
    fn refunds_are_shown_by_the_time_they_became_due() {
        let facts = [refund_due("b", "2026-01-02T00:00:00.000Z"), refund_due("c", AT), refund_due("a", AT)];
        let shown: Vec<String> = after(&facts).refunds.iter().map(|refund| refund.payment_id.to_string()).collect();
        assert_eq!(shown, ["a", "c", "b"]);
    }
}
