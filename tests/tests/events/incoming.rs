//! What payments and shipping say happens to orders.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use orders_local::bus::Mode;
use orders_tests::database::TestTables;
use orders_tests::shop::{Shop, until};
use serde_json::json;

use crate::consumer::{consumed, ended, everything_arrives, put, queue, refusals};

async fn status(shop: &Shop, order_id: &str) -> (String, u64) {
    let versions = shop.get("customer", &format!("/orders/{order_id}/events")).await.expect(200);
    let version = versions.body["events"].as_array().unwrap().len();
    let order = shop.get("customer", &format!("/orders/{order_id}?min_version={version}")).await.expect(200);
    (order.body["status"].as_str().unwrap().to_owned(), order.version())
}

async fn shipped(shop: &Shop) -> String {
    let order_id = shop.create().await;
    shop.pay(&order_id).await.expect(200);
    shop.ship(&order_id).await.expect(200);
    order_id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parcel_that_arrived_delivers_its_order_within_a_second_and_once_however_often_it_is_said() {
    let shop = Shop::open().await;
    let mut fastest = Duration::MAX;
    let mut order_id = String::new();
    // The first one starts the function's first container; on a busy machine some others are late as well.
    for number in 0..6 {
        order_id = shipped(&shop).await;
        let said = Instant::now();
        put(&shop, "ShipmentDelivered", &format!("shp-{number}"), json!({ "order_id": order_id })).await;
        until(async || status(&shop, &order_id).await.0 == "delivered").await;
        fastest = fastest.min(said.elapsed());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");

    for _ in 0..3 {
        let id = put(&shop, "ShipmentDelivered", "shp-5", json!({ "order_id": order_id })).await;
        assert_eq!(ended(&shop, &id).await, (1, json!("done")));
    }
    assert_eq!(status(&shop, &order_id).await, ("delivered".into(), 4));
    everything_arrives(&shop).await;
    assert_eq!(refusals(&shop), []);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_s_parcel_is_refused_with_the_reason_under_one_id() {
    let shop = Shop::open().await;
    let order_id = shipped(&shop).await;
    shop.post("fulfilment", &format!("/orders/{order_id}/cancel"), json!({ "reason": "lost" })).await.expect(200);
    let before = status(&shop, &order_id).await;
    for _ in 0..2 {
        let id = put(&shop, "ShipmentDelivered", "shp-1", json!({ "order_id": order_id })).await;
        assert_eq!(ended(&shop, &id).await, (1, json!("done")), "a refusal is not tried again");
    }
    let told = refusals(&shop);
    let (event_id, code, reason) = &told[0];
    assert_eq!((event_id.as_str(), code.as_str()), ("shp-1", "order-not-shipped"));
    assert!(reason.contains("cancelled"), "{reason}");
    assert_eq!(told[0], told[1]);
    assert_eq!(status(&shop, &order_id).await, before);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_payment_pays_and_one_that_is_late_or_of_another_amount_is_owed_back_and_refunded() {
    let shop = Shop::open().await;
    let capture = |order_id: &str, amount: f64| json!({ "order_id": order_id, "payment_id": "p-1", "amount": amount });

    let paid = shop.create().await;
    let id = put(&shop, "PaymentCaptured", "evt-1", capture(&paid, 44.98)).await;
    assert_eq!(ended(&shop, &id).await, (1, json!("done")));
    assert_eq!(status(&shop, &paid).await, ("paid".into(), 2));

    let late = shop.create().await;
    let path = format!("/orders/{late}/cancel");
    shop.post("customer", &path, json!({ "reason": "changed my mind" })).await.expect(200);
    let id = put(&shop, "PaymentCaptured", "evt-2", capture(&late, 44.98)).await;
    assert_eq!(ended(&shop, &id).await, (1, json!("done")));

    let other = shop.create().await;
    let id = put(&shop, "PaymentCaptured", "evt-3", capture(&other, 40.0)).await;
    assert_eq!(ended(&shop, &id).await, (1, json!("done")));
    assert_eq!(status(&shop, &other).await.0, "pending", "it still waits for the right amount");

    everything_arrives(&shop).await;
    let due = |order_id: &str| {
        let facts = consumed(&shop).into_values();
        facts.filter(|(order, _, name)| order == order_id && name == "OrderRefundDue").count()
    };
    assert_eq!((due(&paid), due(&late), due(&other)), (0, 1, 1), "and everybody learns that money is owed back");

    let refund = json!({ "order_id": late, "payment_id": "p-1", "refund_id": "r-1", "amount": 44.98 });
    let id = put(&shop, "RefundCompleted", "evt-4", refund).await;
    assert_eq!(ended(&shop, &id).await, (1, json!("done")));
    until(async || consumed(&shop).into_values().any(|(order, _, name)| order == late && name == "OrderRefunded"))
        .await;
    assert_eq!(refusals(&shop), []);
    shop.close().await;
}

/// A shop whose event functions reach the database through a proxy, and wait for repeats as little as possible.
async fn shop_behind(tables: &TestTables, proxy: &Proxy) -> Shop {
    Shop::open_as(|options| {
        options.dynamodb = Some(tables.endpoint().to_owned());
        options.retry_wait = Duration::from_millis(10);
        for function in ["on-payment-event", "on-shipment-event"] {
            let environment = BTreeMap::from([("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), proxy.endpoint().to_owned())]);
            options.function_environment.insert(function.into(), environment);
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_every_time_waits_in_the_queue_and_is_done_once_it_is_given_again() {
    let tables = TestTables::create(&[]).await;
    let proxy = Proxy::start(tables.endpoint());
    let shop = shop_behind(&tables, &proxy).await;
    let order_id = shipped(&shop).await;
    proxy.faults.plan(|_| Some(Fault::Fail));
    let id = put(&shop, "ShipmentDelivered", "shp-1", json!({ "order_id": order_id })).await;
    assert_eq!(ended(&shop, &id).await, (3, json!({ "in-queue": queue(&shop, "FailedEvents") })));
    assert_eq!(status(&shop, &order_id).await.0, "shipped");
    let queues = shop.get("admin", "/dev/queues").await.expect(200).body;
    let record = &queues[queue(&shop, "FailedEvents")][0]["body"];
    assert_eq!(record["requestPayload"]["detail"]["metadata"]["event_id"], "shp-1");
    assert_eq!(record["responsePayload"]["errorType"], "NotDone", "{record}");

    proxy.faults.clear();
    let path = format!("/dev/queues/{}/redrive", queue(&shop, "FailedEvents"));
    assert_eq!(shop.post("admin", &path, json!({})).await.expect(200).body, json!({ "redriven": 1 }));
    until(async || status(&shop, &order_id).await.0 == "delivered").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_answers_are_lost_moves_its_order_once() {
    let tables = TestTables::create(&[]).await;
    let proxy = Proxy::start(tables.endpoint());
    let shop = shop_behind(&tables, &proxy).await;
    let order_id = shipped(&shop).await;
    proxy.faults.plan(|call| Some(Fault::LoseResponse).filter(|_| call.operation == "PutItem"));
    let id = put(&shop, "ShipmentDelivered", "shp-1", json!({ "order_id": order_id })).await;
    assert_eq!(ended(&shop, &id).await.1, json!("done"));
    assert_eq!(status(&shop, &order_id).await, ("delivered".into(), 4));
    assert_eq!(refusals(&shop), [], "a write of its own is not taken for somebody else's");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_cannot_be_published_is_tried_again_and_then_kept() {
    let shop = Shop::open_as(|options| options.retry_wait = Duration::from_millis(10)).await;
    let id = put(&shop, "ShipmentDelivered", "warm", json!({})).await;
    assert_eq!(ended(&shop, &id).await, (1, json!("done")));
    shop.stack.bus().faults().mode(Mode::Down);
    let id = put(&shop, "ShipmentDelivered", "shp-1", json!({})).await;
    assert_eq!(ended(&shop, &id).await, (3, json!({ "in-queue": queue(&shop, "FailedEvents") })));
    shop.close().await;
}
