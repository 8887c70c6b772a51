//! What happens to orders reaches the bus.

use std::time::{Duration, Instant};

use orders_tests::shop::{PRODUCT, Shop, until};
use serde_json::{Value, json};

use crate::consumer::{consumed, everything_arrives, records, taken};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_an_order_reaches_the_bus_with_its_place_its_cause_and_its_data() {
    let shop = Shop::open().await;
    let headers = [("x-correlation-id", "checkout-7")];
    let created = shop.post_with("storefront", "/orders", shop.basket(), &headers).await.expect(201);
    let order_id = created.body["order_id"].as_str().unwrap().to_owned();
    shop.pay(&order_id).await.expect(200);
    shop.ship(&order_id).await.expect(200);
    shop.post("fulfilment", &format!("/orders/{order_id}/cancel"), json!({ "reason": "lost" })).await.expect(200);
    everything_arrives(&shop).await;

    let mut events = taken(&shop);
    events.sort_by_key(|event| event["detail"]["metadata"]["version"].as_u64());
    let names: Vec<&str> = events.iter().map(|event| event["detail-type"].as_str().unwrap()).collect();
    assert_eq!(names, ["OrderCreated", "OrderPaid", "OrderShipped", "OrderCancelled", "OrderRefundDue"]);
    let created = &events[0];
    assert_eq!(created["source"], "orders");
    let metadata = &created["detail"]["metadata"];
    assert_eq!(
        (&metadata["order_id"], &metadata["version"], &metadata["schema"], &metadata["correlation_id"]),
        (&json!(order_id), &json!(1), &json!(1), &json!("checkout-7"))
    );
    assert!(metadata["causation_id"].is_string() && metadata["occurred_at"].is_string(), "{metadata}");
    let data = &created["detail"]["data"];
    assert_eq!((&data["total"], &data["items"][0]["product_id"]), (&json!(44.98), &json!(PRODUCT)));
    assert_eq!(events[4]["detail"]["data"]["amount"], json!(44.98));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_on_the_bus_within_a_second() {
    let shop = Shop::open().await;
    shop.create().await;
    everything_arrives(&shop).await; // The publisher's first container has started.
    let mut fastest = Duration::MAX;
    // On a busy machine some are late.
    for _ in 0..5 {
        let order_id = shop.create().await;
        let stored = Instant::now();
        until(async || consumed(&shop).into_values().any(|(order, ..)| order == order_id)).await;
        fastest = fastest.min(stored.elapsed());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_counted_and_holds_up_nothing() {
    let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let gather = lines.clone();
    let logs = orders_local::lambda::Logs::to(move |_, line| gather.lock().unwrap().push(line.to_owned()));
    let shop = Shop::open_as(|options| options.logs = logs).await;
    let poison = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../events/project-orders-poison.json")).unwrap();
    let records = serde_json::from_slice::<Value>(&poison).unwrap()["Records"].as_array().unwrap().len();
    let answer = shop.stack.invoke("publish-events", poison.into()).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), json!({ "batchItemFailures": [] }));
    assert!(consumed(&shop).len() >= records - 1, "the records beside it are published");
    let counted = || lines.lock().unwrap().iter().any(|line| line.contains("\"EventsUnpublished\":1"));
    until(async || counted()).await;
    assert!(lines.lock().unwrap().iter().any(|line| line.contains("a commit that cannot be read is not published")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_large_for_the_bus_is_announced_with_the_address_of_its_data() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    everything_arrives(&shop).await;
    let mut records = records(&shop).await;
    // The API takes 100 items; here is what 4,000 would be.
    let items = &mut records[0]["dynamodb"]["NewImage"]["events"]["L"][0]["M"]["data"]["M"]["items"]["L"];
    let item = items[0].clone();
    *items = vec![item; 4_000].into();
    let batch = json!({ "Records": records });
    let answer = shop.stack.invoke("publish-events", batch.to_string().into()).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), json!({ "batchItemFailures": [] }));
    let [small, large] = taken(&shop).try_into().unwrap();
    assert_eq!(small["detail"]["metadata"]["event_id"], large["detail"]["metadata"]["event_id"]);
    assert_eq!(large["detail"]["data"], Value::Null);
    let address = large["detail"]["metadata"]["data_url"].as_str().unwrap();
    // The address is the one that the stack would have on AWS.
    let (_, path) = address.split_once(".amazonaws.com").unwrap_or_else(|| panic!("{address}"));
    let events = shop.get("customer", path).await.expect(200).body;
    assert_eq!(events["events"][0]["data"], small["detail"]["data"], "{events} of {order_id}");
    shop.close().await;
}
