//! Republishing from the event table.

use orders_local::lambda::binaries;
use orders_local::stack::{Environment, StackOptions};
use orders_tests::shop::Shop;
use serde_json::json;
use service_clock::Timestamp;

use crate::consumer::{consumed, everything_arrives, published};

#[tokio::test(flavor = "multi_thread")]
async fn events_are_republished_under_their_ids_by_order_and_by_time() {
    let shop = Shop::open().await;
    let (first, second) = (shop.create().await, shop.create().await);
    shop.pay(&first).await.expect(200);
    everything_arrives(&shop).await;
    let (once, count) = (consumed(&shop), published(&shop).len());

    let republish = async |request| shop.invoke("republish", &request).await;
    let done = |count: u32| json!({ "published": count, "unpublished": 0, "done": true });
    assert_eq!(republish(json!({ "order_id": first })).await, done(2));
    assert_eq!(published(&shop).len(), count + 2);
    let now = Timestamp::now();
    let span = json!({ "from": now - chrono::TimeDelta::hours(1), "until": now + chrono::TimeDelta::hours(1) });
    assert_eq!(republish(span).await, done(3));
    let past = json!({ "from": now - chrono::TimeDelta::hours(2), "until": now - chrono::TimeDelta::hours(1) });
    assert_eq!(republish(past).await, done(0));
    assert_eq!(consumed(&shop), once, "a consumer that drops repeats has the same events");
    assert!(once.into_values().any(|(order, ..)| order == second));
    shop.close().await;
}

/// As `cargo run -- invoke` does beside `cargo run`.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_a_second_stack_may_publish_on_the_bus_of_the_first() {
    let first = Shop::open().await;
    let order_id = first.create().await;
    everything_arrives(&first).await;
    let description = reqwest::get(format!("{}/dev/stack", first.stack.url())).await.unwrap();
    let description: serde_json::Value = description.json().await.unwrap();
    let mut options = StackOptions::new(binaries::build().await.unwrap());
    options.dynamodb = description["dynamodb"].as_str().map(str::to_owned);
    options.eventbridge = description["eventbridge"].as_str().map(str::to_owned);
    options.reading.prefix = first.table("Orders").strip_suffix("Orders").unwrap().to_owned();
    let second = Environment::start(&options).await.unwrap();
    let count = published(&first).len();
    let request = json!({ "order_id": order_id }).to_string();
    let republished = second.invoke("republish", request.into()).await.unwrap().unwrap();
    assert_eq!(republished, r#"{"published":1,"unpublished":0,"done":true}"#);
    assert_eq!(published(&first).len(), count + 1);
    second.stop().await;
    first.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_request_is_an_error_that_says_why() {
    let shop = Shop::open().await;
    for (request, message) in [
        (json!({}), "NotRepublished\",\"errorMessage\":\"give either `order_id`, or `from` and `until`"),
        (json!({ "order_id": uuid::Uuid::new_v4() }), "NotRepublished\",\"errorMessage\":\"order "),
        (json!({ "order_id": "seven" }), "UUID"),
        (json!({ "since": "yesterday" }), "unknown field `since`"),
    ] {
        let error = shop.stack.invoke("republish", request.to_string().into()).await.unwrap().unwrap_err();
        assert!(error.to_string().contains(message), "{request}: {error}");
    }
    shop.close().await;
}
