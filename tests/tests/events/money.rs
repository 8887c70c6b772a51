//! Captures and refunds that cannot be recorded wait in a queue of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use dynamodb_testkit::wait::until;
use orders_local::bus::Mode;
use orders_tests::shop::Shop;
use serde_json::{Value, json};

use crate::consumer::{assert_handled, ended, published, put, put_and_handle, put_event, queue, rejections, stored};

/// The messages of a queue, oldest first.
async fn messages(shop: &Shop, logical_id: &str) -> Vec<Value> {
    let queues = shop.get("admin", "/dev/queues").await.expect(200).body;
    queues[queue(shop, logical_id)].as_array().unwrap().iter().map(|message| message["body"].clone()).collect()
}

/// The unrecorded events by their producer's id: the code, and the whole event.
async fn unrecorded(shop: &Shop) -> BTreeMap<String, (String, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entry = |message: Value| {
        let data = &message["detail"]["data"];
        (text(&data["event_id"]), (text(&data["code"]), data["event"].clone()))
    };
    messages(shop, "UnrecordedMoney").await.into_iter().map(entry).collect()
}

fn capture(order_id: &str, change: Value) -> Value {
    let mut data = json!({ "order_id": order_id, "payment_id": "p-1", "amount": 44.98 });
    data.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn captures_and_refunds_that_cannot_be_recorded_wait_in_their_queue_with_the_event_and_the_reason() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let before = stored(&shop).await;
    let unknown = uuid::Uuid::new_v4().to_string();
    let refund = json!({ "order_id": order_id, "payment_id": "p-1", "refund_id": "r-1", "amount": 44.98 });
    let money = [
        ("unknown", "PaymentCaptured", capture(&unknown, json!({})), "not-found"),
        ("currency", "PaymentCaptured", capture(&order_id, json!({ "currency": "USD" })), "invalid-event"),
        ("amount", "PaymentCaptured", capture(&order_id, json!({ "amount": 44.981 })), "invalid-event"),
        ("list", "PaymentCaptured", json!([order_id, "p-1", 44.98]), "invalid-event"),
        ("refund", "RefundCompleted", refund, "refund-not-due"),
    ];
    for (event_id, name, data, _) in &money {
        put_and_handle(&shop, name, event_id, data.clone()).await;
    }
    let declined = json!({ "order_id": unknown, "payment_id": "p-1" });
    for (name, data) in [("PaymentFailed", declined), ("ShipmentDelivered", json!({ "order_id": unknown }))] {
        put_and_handle(&shop, name, "no-money", data).await;
    }

    until("all messages", async || unrecorded(&shop).await.len() == money.len()).await;
    let waiting = unrecorded(&shop).await;
    for (event_id, name, data, code) in &money {
        let (actual, event) = &waiting[*event_id];
        assert_eq!((actual.as_str(), event["detail-type"].as_str()), (*code, Some(*name)), "{event_id}");
        assert_eq!(&event["detail"]["data"], data, "{event_id}");
    }
    assert_eq!(rejections(&shop).len(), money.len() + 2, "all of them are rejected on the bus");
    assert_eq!(stored(&shop).await, before);

    // A corrected event is recorded when it is put on the bus again.
    let mut event = waiting["currency"].1.clone();
    event["detail"]["data"]["currency"] = "EUR".into();
    assert_handled(&shop, &put_event(&shop, event).await).await;
    assert_eq!(stored(&shop).await.len(), before.len() + 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrecorded_capture_is_not_lost_while_its_queue_is_unreachable_or_the_bus_is_down() {
    let shop = Shop::open_as(|options| options.retry_wait = Duration::from_millis(10)).await;
    let data = capture(&uuid::Uuid::new_v4().to_string(), json!({}));
    let id = put(&shop, "PaymentCaptured", "evt-1", data.clone()).await;
    assert_handled(&shop, &id).await;
    until("the first message", async || unrecorded(&shop).await.len() == 1).await;

    // The function can publish, and the bus reaches no target: the bus retries until it does.
    let mut event = published(&shop).into_iter().find(|event| event["id"] == id.as_str()).unwrap();
    event["detail"]["metadata"]["event_id"] = "evt-2".into();
    shop.stack.bus().faults().mode(Mode::Deaf);
    shop.invoke("on-payment-event", &event).await;
    assert_eq!(unrecorded(&shop).await.len(), 1);
    shop.stack.bus().faults().mode(Mode::Ok);
    until("the second message", async || unrecorded(&shop).await.len() == 2).await;

    // The function cannot publish: it fails, and the event goes to the queue of failed events.
    shop.stack.bus().faults().mode(Mode::Down);
    let id = put(&shop, "PaymentCaptured", "evt-3", data).await;
    assert_eq!(ended(&shop, &id).await, (3, json!({ "in-queue": queue(&shop, "FailedEvents") })));
    shop.stack.bus().faults().mode(Mode::Ok);
    let path = format!("/dev/queues/{}/redrive", queue(&shop, "FailedEvents"));
    shop.post("admin", &path, json!({})).await.expect(200);
    until("the third message", async || unrecorded(&shop).await.contains_key("evt-3")).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_whose_event_is_too_large_for_the_rejection_is_kept_whole_with_the_failed_events() {
    let shop = Shop::open_as(|options| options.retry_wait = Duration::from_millis(10)).await;
    let order_id = shop.create().await;
    let data = capture(&order_id, json!({ "payment_id": "x".repeat(1_000_000) }));
    let id = put(&shop, "PaymentCaptured", "evt-1", data.clone()).await;
    assert_eq!(ended(&shop, &id).await, (3, json!({ "in-queue": queue(&shop, "FailedEvents") })));
    assert_eq!(messages(&shop, "FailedEvents").await[0]["requestPayload"]["detail"]["data"], data);
    until("the message", async || unrecorded(&shop).await.contains_key("evt-1")).await;
    assert_eq!(unrecorded(&shop).await["evt-1"], ("invalid-event".into(), Value::Null), "rejected without the event");
    shop.close().await;
}
