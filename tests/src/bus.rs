//! The bus of a running stack.

use dynamodb_testkit::wait::until_some;
use orders_local::journal::EntryKind;
use serde_json::{Value, json};

use crate::shop::Shop;

/// Puts an event on the bus as its producer would; returns the id that the bus gave it.
pub async fn put(shop: &Shop, detail_type: &str, event_id: &str, data: Value) -> String {
    let source = if detail_type.starts_with("Shipment") { "shipping" } else { "payments" };
    let detail = json!({ "metadata": { "event_id": event_id }, "data": data });
    put_event(shop, json!({ "source": source, "detail-type": detail_type, "detail": detail })).await
}

/// Puts this event on the bus; returns the id that the bus gave it.
pub async fn put_event(shop: &Shop, event: Value) -> String {
    started(shop, "/dev/events", event).await
}

/// Waits until the delivery of an event has ended; returns the number of attempts and the outcome.
pub async fn ended(shop: &Shop, id: &str) -> (u32, Value) {
    let end = || {
        shop.stack.bus().journal().since(0).into_iter().find_map(|entry| match entry.kind {
            EntryKind::Delivery(delivery) if delivery.event_id == id => {
                let outcome = serde_json::to_value(&delivery.outcome).unwrap();
                (outcome != "failed").then_some((delivery.attempt, outcome))
            }
            _ => None,
        })
    };
    until_some(&format!("the end of the delivery of {id}"), async || end()).await
}

/// Asserts that an event is handled at the first attempt.
pub async fn assert_handled(shop: &Shop, id: &str) {
    assert_eq!(ended(shop, id).await, (1, json!("done")), "{id}");
}

/// Puts an event on the bus, and asserts that it is handled at the first attempt.
pub async fn put_and_handle(shop: &Shop, detail_type: &str, event_id: &str, data: Value) {
    assert_handled(shop, &put(shop, detail_type, event_id, data).await).await;
}

/// Runs the schedule of a function, and asserts that it succeeds at the first attempt.
pub async fn run_schedule(shop: &Shop, function: &str) {
    assert_handled(shop, &started(shop, &format!("/dev/schedules/{function}"), json!({})).await).await;
}

async fn started(shop: &Shop, path: &str, body: Value) -> String {
    let started = shop.post("admin", path, body).await.expect(200);
    started.body["id"].as_str().unwrap().to_owned()
}
