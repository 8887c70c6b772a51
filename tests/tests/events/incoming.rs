//! Events of payments and shipping change orders.

use std::time::{Duration, Instant};

use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::wait::until;
use orders_local::bus::Mode;
use orders_local::stack::StackOptions;
use orders_tests::shop::Shop;
use serde_json::json;

use crate::consumer::{consumed, ended, everything_arrives, put, put_and_handle, queue, rejections};

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
async fn a_delivered_shipment_delivers_its_order_within_a_second_and_repeats_change_nothing() {
    let shop = Shop::open().await;
    let mut fastest = Duration::MAX;
    let mut order_id = String::new();
    // The first event starts the function's first container, and on a busy machine others are late as well.
    for number in 0..6 {
        order_id = shipped(&shop).await;
        let begun = Instant::now();
        put(&shop, "ShipmentDelivered", &format!("shp-{number}"), json!({ "order_id": order_id })).await;
        until("the delivery", async || status(&shop, &order_id).await.0 == "delivered").await;
        fastest = fastest.min(begun.elapsed());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");

    for _ in 0..3 {
        put_and_handle(&shop, "ShipmentDelivered", "shp-5", json!({ "order_id": order_id })).await;
    }
    assert_eq!(status(&shop, &order_id).await, ("delivered".into(), 4));
    everything_arrives(&shop).await;
    assert_eq!(rejections(&shop), []);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_replayed_from_the_archive_changes_nothing() {
    let shop = Shop::open().await;
    let order_id = shipped(&shop).await;
    let mut event = json!({
        "id": "1", "source": "shipping", "detail-type": "ShipmentDelivered",
        "detail": {"metadata": {"event_id": "shp-1"}, "data": {"order_id": order_id}},
    });
    shop.invoke("on-shipment-event", &event).await;
    let delivered = status(&shop, &order_id).await;
    event["replay-name"] = "replay-1".into();
    event["id"] = "2".into();
    shop.invoke("on-shipment-event", &event).await;
    assert_eq!((delivered.clone(), status(&shop, &order_id).await), (("delivered".into(), 4), delivered));
    everything_arrives(&shop).await;
    assert_eq!(rejections(&shop), []);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shipment_of_a_cancelled_order_is_rejected_with_the_reason_and_a_repeat_has_the_same_rejection() {
    let shop = Shop::open().await;
    let order_id = shipped(&shop).await;
    shop.cancel("fulfilment", &order_id).await.expect(200);
    let before = status(&shop, &order_id).await;
    for _ in 0..2 {
        put_and_handle(&shop, "ShipmentDelivered", "shp-1", json!({ "order_id": order_id })).await;
    }
    let rejected = rejections(&shop);
    let (event_id, code, reason) = &rejected[0];
    assert_eq!((event_id.as_str(), code.as_str()), ("shp-1", "order-not-shipped"));
    assert!(reason.contains("cancelled"), "{reason}");
    assert_eq!(rejected[0], rejected[1]);
    assert_eq!(status(&shop, &order_id).await, before);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_payment_pays_its_order_and_a_late_one_or_one_of_another_amount_is_refunded() {
    let shop = Shop::open().await;
    let capture = |order_id: &str, amount: f64| json!({ "order_id": order_id, "payment_id": "p-1", "amount": amount });

    let paid = shop.create().await;
    put_and_handle(&shop, "PaymentCaptured", "evt-1", capture(&paid, 44.98)).await;
    assert_eq!(status(&shop, &paid).await, ("paid".into(), 2));

    let late = shop.create().await;
    shop.cancel("customer", &late).await.expect(200);
    put_and_handle(&shop, "PaymentCaptured", "evt-2", capture(&late, 44.98)).await;

    let other = shop.create().await;
    put_and_handle(&shop, "PaymentCaptured", "evt-3", capture(&other, 40.0)).await;
    assert_eq!(status(&shop, &other).await.0, "pending", "the right amount is still due");

    everything_arrives(&shop).await;
    let due = |order_id: &str| {
        let facts = consumed(&shop).into_values();
        facts.filter(|(order, _, name)| order == order_id && name == "OrderRefundDue").count()
    };
    assert_eq!((due(&paid), due(&late), due(&other)), (0, 1, 1), "each refund is published");

    let refund = json!({ "order_id": late, "payment_id": "p-1", "refund_id": "r-1", "amount": 44.98 });
    put_and_handle(&shop, "RefundCompleted", "evt-4", refund).await;
    let refunded = || consumed(&shop).into_values().any(|(order, _, name)| order == late && name == "OrderRefunded");
    until("OrderRefunded", async || refunded()).await;
    assert_eq!(rejections(&shop), []);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_exhausts_its_retries_waits_in_the_dead_letter_queue_and_a_redrive_handles_it() {
    let retry_soon = |options: &mut StackOptions| options.retry_wait = Duration::from_millis(10);
    let (shop, proxy) = Shop::open_behind_proxy(&["on-shipment-event"], retry_soon).await;
    let order_id = shipped(&shop).await;
    proxy.faults.plan(|_| Some(Fault::Fail));
    let id = put(&shop, "ShipmentDelivered", "shp-1", json!({ "order_id": order_id })).await;
    assert_eq!(ended(&shop, &id).await, (3, json!({ "in-queue": queue(&shop, "FailedEvents") })));
    assert_eq!(status(&shop, &order_id).await.0, "shipped");
    let queues = shop.get("admin", "/dev/queues").await.expect(200).body;
    let record = &queues[queue(&shop, "FailedEvents")][0]["body"];
    assert_eq!(record["requestPayload"]["detail"]["metadata"]["event_id"], "shp-1");
    assert_eq!(record["responsePayload"]["errorType"], "NotProcessed", "{record}");

    proxy.faults.clear();
    let path = format!("/dev/queues/{}/redrive", queue(&shop, "FailedEvents"));
    assert_eq!(shop.post("admin", &path, json!({})).await.expect(200).body, json!({ "redriven": 1 }));
    until("the delivery", async || status(&shop, &order_id).await.0 == "delivered").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_write_responses_are_lost_is_applied_once() {
    let retry_soon = |options: &mut StackOptions| options.retry_wait = Duration::from_millis(10);
    let (shop, proxy) = Shop::open_behind_proxy(&["on-shipment-event"], retry_soon).await;
    let order_id = shipped(&shop).await;
    proxy.faults.plan(|call| Some(Fault::LoseResponse).filter(|_| call.operation == "PutItem"));
    let id = put(&shop, "ShipmentDelivered", "shp-1", json!({ "order_id": order_id })).await;
    assert_eq!(ended(&shop, &id).await.1, json!("done"));
    assert_eq!(status(&shop, &order_id).await, ("delivered".into(), 4));
    assert_eq!(rejections(&shop), [], "the lost write is not rejected as a conflict");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_rejection_cannot_be_published_is_retried_and_then_kept_in_the_dead_letter_queue() {
    let shop = Shop::open_as(|options| options.retry_wait = Duration::from_millis(10)).await;
    put_and_handle(&shop, "ShipmentDelivered", "warm", json!({})).await;
    shop.stack.bus().faults().mode(Mode::Down);
    let id = put(&shop, "ShipmentDelivered", "shp-1", json!({})).await;
    assert_eq!(ended(&shop, &id).await, (3, json!({ "in-queue": queue(&shop, "FailedEvents") })));
    shop.close().await;
}
