//! Deferred payments, and the ways in which they are settled.

use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::wait::until;
use orders_local::payments::Mode;
use orders_tests::bus::put_and_handle;
use orders_tests::shop::Shop;
use serde_json::json;

use crate::support::{SETTLED, assert_deferred, deferred_payments, history, settle};

/// The provider is called even while it is down.
const NEVER_OPENS: (&str, &str) = ("PaymentBreaker", "failures=10000");

/// Creates orders with a deferred payment, and waits for their rows.
async fn deferred_orders(shop: &Shop, orders: usize) -> Vec<String> {
    shop.stack.payments().set_mode(Mode::Down);
    let mut ids = Vec::new();
    for _ in 0..orders {
        let order_id = shop.create().await;
        assert_deferred(&shop.pay(&order_id).await);
        shop.projected(&order_id, 2).await;
        ids.push(order_id);
    }
    shop.stack.payments().set_mode(Mode::Ok);
    ids
}

/// Publishes an event on an order's payment as the provider does.
async fn publish(shop: &Shop, detail_type: &str, order_id: &str) {
    let data = json!({ "order_id": order_id, "payment_id": format!("pay-{order_id}"), "amount": 44.98 });
    put_and_handle(shop, detail_type, &format!("{detail_type}-{order_id}"), data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_settlements_and_the_providers_events_pay_each_order_once() {
    let shop = Shop::open_with(&[NEVER_OPENS]).await;
    let orders = deferred_orders(&shop, 8).await;
    let events = async {
        // Two orders are left to the settlements.
        for order_id in orders[2..].iter().rev() {
            publish(&shop, "PaymentCaptured", order_id).await;
        }
    };
    tokio::join!(settle(&shop), settle(&shop), events);
    settle(&shop).await;
    for order_id in &orders {
        assert_eq!(history(&shop, order_id).await, SETTLED);
    }
    until("no deferred payment", async || deferred_payments(&shop).await == 0).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_whose_responses_are_lost_and_whose_breaker_has_no_table_pays_each_order_once() {
    let (shop, proxy) = Shop::open_behind_proxy(&["settle-payments"], |options| {
        options.reading.parameters.insert(NEVER_OPENS.0.into(), NEVER_OPENS.1.into());
    })
    .await;
    let orders = deferred_orders(&shop, 4).await;
    proxy.faults.plan(|call| match call.operation.as_str() {
        "PutItem" => Some(Fault::LoseResponse),
        _ => Some(Fault::Hang).filter(|_| call.table.contains("CircuitBreakers")),
    });
    settle(&shop).await;
    proxy.faults.clear();
    settle(&shop).await;
    for order_id in &orders {
        assert_eq!(history(&shop, order_id).await, SETTLED);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deferred_payment_of_a_cancelled_order_is_refunded_once() {
    let shop = Shop::open_with(&[NEVER_OPENS]).await;
    let orders = deferred_orders(&shop, 2).await;
    for order_id in &orders {
        assert_eq!(shop.cancel("customer", order_id).await.expect(200).body["status"], "cancelled");
    }
    assert_eq!(deferred_payments(&shop).await, 2, "still deferred");
    tokio::join!(settle(&shop), settle(&shop), publish(&shop, "PaymentCaptured", &orders[0]));
    for order_id in &orders {
        let expected = ["OrderCreated", "OrderPaymentDeferred", "OrderCancelled", "OrderRefundDue"];
        assert_eq!(history(&shop, order_id).await, expected);
        let order = shop.get("customer", &format!("/orders/{order_id}?min_version=4")).await.expect(200);
        assert_eq!(order.body["status"], "cancelled");
    }
    until("no deferred payment", async || deferred_payments(&shop).await == 0).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_payment_is_rejected_and_the_order_can_be_paid_with_another() {
    let shop = Shop::open_with(&[NEVER_OPENS]).await;
    let [by_run, by_event] = deferred_orders(&shop, 2).await.try_into().unwrap();
    let provider = shop.stack.payments();
    provider.set_mode(Mode::Declines);
    let at_once = shop.create().await;
    let declined = shop.pay(&at_once).await.expect(422);
    assert_eq!(declined.problem(), "payment-declined");
    assert_eq!(history(&shop, &at_once).await, ["OrderCreated", "OrderPaymentRejected"]);

    publish(&shop, "PaymentFailed", &by_event).await;
    shop.projected(&by_event, 3).await;
    let asked = provider.requests_about(&format!("pay-{by_event}"));
    settle(&shop).await;
    assert_eq!(provider.requests_about(&format!("pay-{by_event}")), asked, "the payment is settled");
    for order_id in [by_run, by_event] {
        assert_eq!(history(&shop, &order_id).await, ["OrderCreated", "OrderPaymentDeferred", "OrderPaymentRejected"]);
        provider.set_mode(Mode::Ok);
        let paid = shop.pay_with(&order_id, "another").await.expect(200);
        assert_eq!(paid.body["status"], "paid");
    }
    until("no deferred payment", async || deferred_payments(&shop).await == 0).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_payment_that_the_order_no_longer_remembers_can_be_deferred_again_and_pays_it() {
    let shop = Shop::open_with(&[NEVER_OPENS]).await;
    let [order_id] = deferred_orders(&shop, 1).await.try_into().unwrap();
    let provider = shop.stack.payments();
    provider.set_mode(Mode::Declines);
    settle(&shop).await;
    assert_eq!(history(&shop, &order_id).await.last().unwrap(), "OrderPaymentRejected");
    for n in 0..16 {
        let declined = shop.pay_with(&order_id, &format!("other-{n}")).await.expect(422);
        assert_eq!(declined.problem(), "payment-declined");
    }
    provider.set_mode(Mode::Down);
    assert_deferred(&shop.pay(&order_id).await);
    shop.projected(&order_id, 20).await;
    provider.set_mode(Mode::Ok);
    settle(&shop).await;
    let order = shop.get("customer", &format!("/orders/{order_id}?min_version=21")).await.expect(200);
    assert_eq!(order.body["payment"]["payment_id"], format!("pay-{order_id}"));
    until("no deferred payment", async || deferred_payments(&shop).await == 0).await;
    shop.close().await;
}
