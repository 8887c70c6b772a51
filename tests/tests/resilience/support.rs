//! What these tests have in common.

use dynamodb_testkit::wait::until_some;
use orders_tests::bus::ended;
use orders_tests::shop::{Answer, Shop};
use serde_json::{Value, json};

/// What an order with a payment that was settled later has lived through.
pub const SETTLED: [&str; 3] = ["OrderCreated", "OrderPaymentDeferred", "OrderPaid"];

/// What administrators are told.
pub async fn status(shop: &Shop) -> Value {
    shop.get("admin", "/ops/status").await.expect(200).body
}

/// What administrators are told of the payments' breaker, once its table has answered in time.
pub async fn shown(shop: &Shop) -> Value {
    until_some("the breaker's state", async || {
        let shown = status(shop).await["breakers"][0].take();
        assert_eq!(shown["name"], "payments");
        (shown["state"] != "unknown").then_some(shown)
    })
    .await
}

/// Its state and generation.
pub async fn breaker(shop: &Shop) -> (String, u64) {
    let shown = shown(shop).await;
    (shown["state"].as_str().unwrap().to_owned(), shown["generation"].as_u64().unwrap())
}

/// How many payments wait to be settled, as far as the rows know.
pub async fn waiting(shop: &Shop) -> u64 {
    status(shop).await["deferred_payments"]["waiting"].as_u64().unwrap()
}

/// Runs the schedule that settles payments, to its end.
pub async fn settle(shop: &Shop) {
    let run = shop.post("admin", "/dev/schedules/settle-payments", json!({})).await.expect(200);
    assert_eq!(ended(shop, run.body["id"].as_str().unwrap()).await, (1, json!("done")));
}

/// What has happened to an order.
pub async fn history(shop: &Shop, order_id: &str) -> Vec<String> {
    let answer = shop.get("customer", &format!("/orders/{order_id}/events")).await.expect(200);
    let events = answer.body["events"].as_array().unwrap();
    events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// Asserts that a payment was taken on, and that the answer says so.
#[track_caller]
pub fn taken_on(answer: &Answer) {
    assert_eq!((answer.status, answer.header("fallback")), (202, Some("payment-deferred")), "{answer:?}");
    let said = (&answer.body["status"], &answer.body["payment"], &answer.body["fallback"]);
    assert_eq!(said, (&json!("pending"), &json!("deferred"), &json!(true)), "{answer:?}");
}
