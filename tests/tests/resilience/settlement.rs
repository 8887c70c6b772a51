//! Payments that were taken on, and all the ways in which they are settled.

use std::collections::BTreeMap;

use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use orders_local::payments::Mode;
use orders_tests::bus::{ended, put};
use orders_tests::database::TestTables;
use orders_tests::shop::{Shop, until};
use serde_json::json;

use crate::support::{SETTLED, history, settle, taken_on, waiting};

/// So that a provider that is down is asked all the same, and is well at once when it is back.
const NEVER_OPENS: (&str, &str) = ("PaymentBreaker", "failures=10000");

/// Orders whose payments were taken on, and which the rows know of.
async fn taken_on_orders(shop: &Shop, orders: usize) -> Vec<String> {
    shop.stack.payments().behave(Mode::Down);
    let mut ids = Vec::new();
    for _ in 0..orders {
        let order_id = shop.create().await;
        taken_on(&shop.pay(&order_id).await);
        shop.projected(&order_id, 2).await;
        ids.push(order_id);
    }
    shop.stack.payments().behave(Mode::Ok);
    ids
}

/// Says on the bus what became of an order's payment.
async fn tell(shop: &Shop, detail_type: &str, order_id: &str) {
    let data = json!({ "order_id": order_id, "payment_id": format!("pay-{order_id}"), "amount": 44.98 });
    let id = put(shop, detail_type, &format!("{detail_type}-{order_id}"), data).await;
    assert_eq!(ended(shop, &id).await, (1, json!("done")));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_and_the_providers_own_events_pay_each_order_once() {
    let shop = Shop::open_with(&[NEVER_OPENS]).await;
    let orders = taken_on_orders(&shop, 8).await;
    let events = async {
        // Some are left to the runs alone.
        for order_id in orders[2..].iter().rev() {
            tell(&shop, "PaymentCaptured", order_id).await;
        }
    };
    tokio::join!(settle(&shop), settle(&shop), events);
    settle(&shop).await;
    for order_id in &orders {
        assert_eq!(history(&shop, order_id).await, SETTLED);
    }
    until(async || waiting(&shop).await == 0).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_answers_are_lost_and_whose_breaker_has_no_table_pays_each_order_once() {
    let tables = TestTables::create(&[]).await;
    let proxy = Proxy::start(tables.endpoint());
    let shop = Shop::open_as(|options| {
        options.dynamodb = Some(tables.endpoint().to_owned());
        options.reading.parameters.insert(NEVER_OPENS.0.into(), NEVER_OPENS.1.into());
        let environment = BTreeMap::from([("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), proxy.endpoint().to_owned())]);
        options.function_environment.insert("settle-payments".into(), environment);
    })
    .await;
    let orders = taken_on_orders(&shop, 4).await;
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
async fn the_payment_of_an_order_that_was_cancelled_meanwhile_is_owed_back_once() {
    let shop = Shop::open_with(&[NEVER_OPENS]).await;
    let orders = taken_on_orders(&shop, 2).await;
    for order_id in &orders {
        let cancel =
            shop.post("customer", &format!("/orders/{order_id}/cancel"), json!({ "reason": "too late" })).await;
        assert_eq!(cancel.expect(200).body["status"], "cancelled");
    }
    assert_eq!(waiting(&shop).await, 2, "it waits on");
    tokio::join!(settle(&shop), settle(&shop), tell(&shop, "PaymentCaptured", &orders[0]));
    for order_id in &orders {
        let expected = ["OrderCreated", "OrderPaymentDeferred", "OrderCancelled", "OrderRefundDue"];
        assert_eq!(history(&shop, order_id).await, expected);
        let order = shop.get("customer", &format!("/orders/{order_id}?min_version=4")).await.expect(200);
        assert_eq!(order.body["status"], "cancelled");
    }
    until(async || waiting(&shop).await == 0).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_declines_is_refused_and_the_order_can_be_paid_in_another_way() {
    let shop = Shop::open_with(&[NEVER_OPENS]).await;
    let [by_run, by_event] = taken_on_orders(&shop, 2).await.try_into().unwrap();
    let provider = shop.stack.payments();
    provider.behave(Mode::Declines);
    let at_once = shop.create().await;
    let refused = shop.pay(&at_once).await.expect(422);
    assert_eq!(refused.problem(), "payment-declined");
    assert_eq!(history(&shop, &at_once).await, ["OrderCreated", "OrderPaymentRejected"]);

    tell(&shop, "PaymentFailed", &by_event).await;
    shop.projected(&by_event, 3).await;
    let asked = provider.asked_about(&format!("pay-{by_event}"));
    settle(&shop).await;
    assert_eq!(provider.asked_about(&format!("pay-{by_event}")), asked, "the provider has said it already");
    for order_id in [by_run, by_event] {
        assert_eq!(history(&shop, &order_id).await, ["OrderCreated", "OrderPaymentDeferred", "OrderPaymentRejected"]);
        provider.behave(Mode::Ok);
        let another = json!({ "payment_id": "another", "amount": 44.98 });
        let paid = shop.post("customer", &format!("/orders/{order_id}/pay"), another).await.expect(200);
        assert_eq!(paid.body["status"], "paid");
    }
    until(async || waiting(&shop).await == 0).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_an_order_has_forgotten_and_takes_on_again_pays_it_all_the_same() {
    let shop = Shop::open_with(&[NEVER_OPENS]).await;
    let [order_id] = taken_on_orders(&shop, 1).await.try_into().unwrap();
    let provider = shop.stack.payments();
    provider.behave(Mode::Declines);
    settle(&shop).await;
    assert_eq!(history(&shop, &order_id).await.last().unwrap(), "OrderPaymentRejected");
    for n in 0..16 {
        let other = json!({ "payment_id": format!("other-{n}"), "amount": 44.98 });
        let declined = shop.post("customer", &format!("/orders/{order_id}/pay"), other).await.expect(422);
        assert_eq!(declined.problem(), "payment-declined");
    }
    provider.behave(Mode::Down);
    taken_on(&shop.pay(&order_id).await);
    shop.projected(&order_id, 20).await;
    provider.behave(Mode::Ok);
    settle(&shop).await;
    let order = shop.get("customer", &format!("/orders/{order_id}?min_version=21")).await.expect(200);
    assert_eq!(order.body["payment"]["payment_id"], format!("pay-{order_id}"));
    until(async || waiting(&shop).await == 0).await;
    shop.close().await;
}
