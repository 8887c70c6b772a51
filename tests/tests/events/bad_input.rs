//! Invalid events: each is rejected once with a reason, and changes nothing.

use orders_tests::shop::Shop;
use serde_json::{Value, json};

use crate::consumer::{published, put, put_and_handle, rejections, stored};

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_event_is_rejected_once_with_the_reason_and_changes_nothing() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let before = stored(&shop).await;
    let long = "x".repeat(100_000);
    let unknown = uuid::Uuid::new_v4();
    let events = [
        ("PaymentCaptured", json!({ "payment_id": "p", "amount": 1 }), "invalid-event", "order_id"),
        ("PaymentCaptured", json!({ "order_id": 7, "payment_id": "p", "amount": 1 }), "invalid-event", "order_id"),
        (
            "PaymentCaptured",
            json!({ "order_id": "seven", "payment_id": "p", "amount": 1 }),
            "invalid-event",
            "order_id",
        ),
        ("PaymentCaptured", json!({ "order_id": long, "payment_id": "p", "amount": 1 }), "invalid-event", "order_id"),
        ("PaymentFailed", json!({ "order_id": unknown, "payment_id": "p", "reason": "no" }), "not-found", ""),
        ("PaymentCaptured", json!({ "order_id": unknown, "payment_id": "p", "amount": 1 }), "not-found", ""),
        (
            "PaymentCaptured",
            json!({ "order_id": order_id, "payment_id": 1, "amount": 1 }),
            "invalid-event",
            "payment_id",
        ),
        (
            "PaymentCaptured",
            json!({ "order_id": order_id, "payment_id": long, "amount": 1 }),
            "invalid-event",
            "payment_id",
        ),
        (
            "PaymentCaptured",
            json!({ "order_id": order_id, "payment_id": "p", "amount": -1 }),
            "invalid-event",
            "amount",
        ),
        (
            "PaymentCaptured",
            json!({ "order_id": order_id, "payment_id": "p", "amount": "44.98" }),
            "invalid-event",
            "amount",
        ),
        (
            "PaymentCaptured",
            json!({ "order_id": order_id, "payment_id": "p", "amount": 44.981 }),
            "invalid-event",
            "amount",
        ),
        ("PaymentCaptured", json!([1, 2]), "invalid-event", "detail.data"),
        ("PaymentFailed", json!([order_id, "p"]), "invalid-event", "detail.data"),
        ("ShipmentDelivered", json!([order_id]), "invalid-event", "detail.data"),
        (
            "PaymentCaptured",
            json!({ "order_id": order_id, "payment_id": "p", "amount": 44.98, "currency": "USD" }),
            "invalid-event",
            "must be EUR",
        ),
        ("PaymentFailed", json!({ "order_id": order_id }), "invalid-event", "payment_id"),
        (
            "RefundCompleted",
            json!({ "order_id": order_id, "payment_id": "p", "amount": 1 }),
            "invalid-event",
            "refund_id",
        ),
        ("ShipmentDispatched", json!({ "order_id": order_id }), "invalid-event", "tracking_number"),
        (
            "ShipmentDispatched",
            json!({ "order_id": order_id, "tracking_number": long }),
            "invalid-event",
            "tracking_number",
        ),
        ("ShipmentDispatched", json!({ "order_id": order_id, "tracking_number": "T" }), "order-not-paid", "pending"),
        ("ShipmentDelivered", json!(null), "invalid-event", "data"),
    ];
    for (number, (name, data, code, detail)) in events.into_iter().enumerate() {
        let event_id = format!("bad-{number}");
        put_and_handle(&shop, name, &event_id, data).await;
        let rejected: Vec<_> = rejections(&shop).into_iter().filter(|(rejected, ..)| *rejected == event_id).collect();
        let [(_, rejected_code, reason)] = rejected.as_slice() else { panic!("{name} {number}: {rejected:?}") };
        assert_eq!(rejected_code, code, "{name} {number}: {reason}");
        assert!(reason.contains(detail) && reason.len() < 1_000, "{name} {number}: {reason}");
    }
    assert_eq!(stored(&shop).await, before);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_type_reaches_no_function_and_a_function_invoked_with_it_rejects_it() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let id = put(&shop, "PaymentPondered", "evt-1", json!({ "order_id": order_id })).await;
    let event = published(&shop).into_iter().find(|event| event["id"] == id.as_str()).unwrap();
    let reached = shop.stack.bus().journal().since(0).into_iter().any(|entry| {
        matches!(entry.kind, orders_local::journal::EntryKind::Event { event, targets, .. }
            if event.get().contains("PaymentPondered") && !targets.is_empty())
    });
    assert!(!reached, "no rule matches it");
    assert_eq!(shop.invoke("on-payment-event", &event).await, Value::Null);
    let [(event_id, code, _)] = rejections(&shop).try_into().unwrap();
    assert_eq!((event_id.as_str(), code.as_str()), ("evt-1", "unknown-detail-type"));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_function_accepts_a_list_as_its_event() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    for function in &shop.stack.template().functions {
        let event = match function.binary.as_str() {
            "on-payment-event" | "on-shipment-event" => json!(["id", "shipping", "ShipmentDelivered", {}]),
            "republish" | "rebuild-orders" => json!([order_id]),
            "verify-orders" => json!([0, 1]),
            // Their schedules' events are ignored.
            "catch-up-read-models" | "expire-orders" => continue,
            _ => json!([]),
        };
        let response = shop.stack.invoke(&function.binary, event.to_string().into()).await.unwrap();
        if !function.routes.is_empty() {
            // As a request it has no token.
            let response: Value = serde_json::from_slice(&response.expect(&function.binary)).unwrap();
            assert_eq!(response["statusCode"], 401, "{}", function.binary);
            continue;
        }
        let error = response.expect_err(&function.binary).to_string();
        assert!(error.contains("sequence"), "{}: {error}", function.binary);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_event_fails_its_function_and_the_next_event_is_handled() {
    let shop = Shop::open().await;
    for malformed in ["null", "[]", "{}", "\"text\"", "{\"id\": 1}"] {
        let response = shop.stack.invoke("on-shipment-event", malformed.into()).await.unwrap();
        assert!(response.is_err(), "{malformed}");
    }
    put_and_handle(&shop, "ShipmentDelivered", "next", json!({ "order_id": uuid::Uuid::new_v4() })).await;
    assert_eq!(rejections(&shop)[0].1, "not-found");
    shop.close().await;
}
