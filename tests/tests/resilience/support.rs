//! What these tests share.

use dynamodb_testkit::wait::until_some;
use orders_tests::bus::run_schedule;
use orders_tests::shop::{Response, Shop};
use serde_json::{Value, json};

/// The events of an order whose deferred payment was settled.
pub const SETTLED: [&str; 3] = ["OrderCreated", "OrderPaymentDeferred", "OrderPaid"];

/// The operational status.
pub async fn status(shop: &Shop) -> Value {
    shop.get("admin", "/ops/status").await.expect(200).body
}

/// The status of the payments' breaker, once its table has responded in time.
pub async fn breaker_status(shop: &Shop) -> Value {
    until_some("the breaker's state", async || {
        let breaker = status(shop).await["breakers"][0].take();
        assert_eq!(breaker["name"], "payments");
        (breaker["state"] != "unknown").then_some(breaker)
    })
    .await
}

/// The state and the generation of the payments' breaker.
pub async fn breaker(shop: &Shop) -> (String, u64) {
    let breaker = breaker_status(shop).await;
    (breaker["state"].as_str().unwrap().to_owned(), breaker["generation"].as_u64().unwrap())
}

/// The number of deferred payments in the rows.
pub async fn deferred_payments(shop: &Shop) -> u64 {
    status(shop).await["deferred_payments"]["waiting"].as_u64().unwrap()
}

/// Runs the schedule that settles payments.
pub async fn settle(shop: &Shop) {
    run_schedule(shop, "settle-payments").await;
}

/// The types of an order's events.
pub async fn history(shop: &Shop, order_id: &str) -> Vec<String> {
    let answer = shop.get("customer", &format!("/orders/{order_id}/events")).await.expect(200);
    let events = answer.body["events"].as_array().unwrap();
    events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// Asserts that the payment was deferred, and that the response says so.
#[track_caller]
pub fn assert_deferred(response: &Response) {
    assert_eq!((response.status, response.header("fallback")), (202, Some("payment-deferred")), "{response:?}");
    let body = (&response.body["status"], &response.body["payment"], &response.body["fallback"]);
    assert_eq!(body, (&json!("pending"), &json!("deferred"), &json!(true)), "{response:?}");
}
