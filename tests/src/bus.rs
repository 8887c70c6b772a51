//! The bus of a running stack, as producers use it.

use dynamodb_testkit::wait::until_some;
use orders_local::journal::What;
use serde_json::{Value, json};

use crate::shop::Shop;

/// Puts an event on the bus, as its producer would; answers the bus's id of it.
pub async fn put(shop: &Shop, detail_type: &str, event_id: &str, data: Value) -> String {
    let source = if detail_type.starts_with("Shipment") { "shipping" } else { "payments" };
    let detail = json!({ "metadata": { "event_id": event_id }, "data": data });
    let event = json!({ "source": source, "detail-type": detail_type, "detail": detail });
    let answer = shop.post("admin", "/dev/events", event).await.expect(200);
    answer.body["id"].as_str().unwrap().to_owned()
}

/// Waits until an event was given to its function for good; answers how often that took, and how it ended.
pub async fn ended(shop: &Shop, id: &str) -> (u32, Value) {
    let end = || {
        shop.stack.bus().journal().since(0).into_iter().find_map(|entry| match entry.what {
            What::Delivery(delivery) if delivery.event_id == id => {
                let outcome = serde_json::to_value(&delivery.outcome).unwrap();
                (outcome != "failed").then_some((delivery.attempt, outcome))
            }
            _ => None,
        })
    };
    until_some("the delivery of the event", async || end()).await
}
