//! Events of orders reach the bus.

use std::time::{Duration, Instant};

use dynamodb_testkit::wait::until;
use orders_tests::logs::LogLines;
use orders_tests::shop::{PRODUCT, Shop};
use serde_json::{Value, json};

use crate::consumer::{consumed, everything_arrives, published, records};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_an_order_reaches_the_bus_with_its_version_cause_and_data() {
    let shop = Shop::open().await;
    let headers = [("x-correlation-id", "checkout-7")];
    let created = shop.post_with("storefront", "/orders", shop.basket(), &headers).await.expect(201);
    let order_id = created.body["order_id"].as_str().unwrap().to_owned();
    shop.pay(&order_id).await.expect(200);
    shop.ship(&order_id).await.expect(200);
    shop.cancel("fulfilment", &order_id).await.expect(200);
    everything_arrives(&shop).await;

    let mut events = published(&shop);
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
        until("the event", async || consumed(&shop).into_values().any(|(order, ..)| order == order_id)).await;
        fastest = fastest.min(stored.elapsed());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_is_counted_and_the_others_are_published() {
    let log = LogLines::default();
    let shop = Shop::open_as(|options| options.logs = log.sink()).await;
    let poison = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../events/project-orders-poison.json")).unwrap();
    let poison: Value = serde_json::from_slice(&poison).unwrap();
    assert_eq!(shop.invoke("publish-events", &poison).await, json!({ "batchItemFailures": [] }));
    assert!(
        consumed(&shop).len() >= poison["Records"].as_array().unwrap().len() - 1,
        "the other records are published"
    );
    let logged = |text: &str| log.of("publish-events").iter().any(|line| line.contains(text));
    until("the metric", async || logged("\"EventsUnpublished\":1")).await;
    assert!(logged("a commit that cannot be read is not published"));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_large_for_the_bus_is_published_with_the_address_of_its_data() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    everything_arrives(&shop).await;
    let mut records = records(&shop).await;
    // More items than the API accepts.
    let items = &mut records[0]["dynamodb"]["NewImage"]["events"]["L"][0]["M"]["data"]["M"]["items"]["L"];
    let item = items[0].clone();
    *items = vec![item; 4_000].into();
    let batch = json!({ "Records": records });
    assert_eq!(shop.invoke("publish-events", &batch).await, json!({ "batchItemFailures": [] }));
    let [small, large] = published(&shop).try_into().unwrap();
    assert_eq!(small["detail"]["metadata"]["event_id"], large["detail"]["metadata"]["event_id"]);
    assert_eq!(large["detail"]["data"], Value::Null);
    let address = large["detail"]["metadata"]["data_url"].as_str().unwrap();
    // The address is that of a deployed stack.
    let (_, path) = address.split_once(".amazonaws.com").unwrap_or_else(|| panic!("{address}"));
    let events = shop.get("customer", path).await.expect(200).body;
    assert_eq!(events["events"][0]["data"], small["detail"]["data"], "{events} of {order_id}");
    shop.close().await;
}
