//! Events that make no sense: each is refused by name or put aside, once, and nothing of it is done.

use orders_tests::shop::Shop;
use serde_json::{Value, json};

use crate::consumer::{ended, put, refusals, stored, taken};

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_event_is_refused_by_name_once_and_changes_nothing() {
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
    for (number, (name, data, code, said)) in events.into_iter().enumerate() {
        let event_id = format!("bad-{number}");
        let id = put(&shop, name, &event_id, data).await;
        assert_eq!(ended(&shop, &id).await, (1, json!("done")), "{name} {number}");
        let told: Vec<_> = refusals(&shop).into_iter().filter(|(refused, ..)| *refused == event_id).collect();
        let [(_, told_code, reason)] = told.as_slice() else { panic!("{name} {number}: {told:?}") };
        assert_eq!(told_code, code, "{name} {number}: {reason}");
        assert!(reason.contains(said) && reason.len() < 1_000, "{name} {number}: {reason}");
    }
    assert_eq!(stored(&shop).await, before);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_type_reaches_no_function_and_given_to_one_by_hand_it_is_refused() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let id = put(&shop, "PaymentPondered", "evt-1", json!({ "order_id": order_id })).await;
    let event = taken(&shop).into_iter().find(|event| event["id"] == id.as_str()).unwrap();
    let reached = shop.stack.bus().journal().since(0).into_iter().any(|entry| {
        matches!(entry.what, orders_local::journal::What::Event { event, targets, .. }
            if event.get().contains("PaymentPondered") && !targets.is_empty())
    });
    assert!(!reached, "it is none of the rule's");
    let answer = shop.stack.invoke("on-payment-event", event.to_string().into()).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), Value::Null);
    let [(event_id, code, _)] = refusals(&shop).try_into().unwrap();
    assert_eq!((event_id.as_str(), code.as_str()), ("evt-1", "unknown-detail-type"));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_function_takes_a_list_for_its_event() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    for function in &shop.stack.template().functions {
        let asked = match function.binary.as_str() {
            "on-payment-event" | "on-shipment-event" => json!(["id", "shipping", "ShipmentDelivered", {}]),
            "republish" | "rebuild-orders" => json!([order_id]),
            "verify-orders" => json!([0, 1]),
            // They take whatever the clock gives them.
            "catch-up-read-models" | "expire-orders" | "settle-payments" => continue,
            _ => json!([]),
        };
        let answer = shop.stack.invoke(&function.binary, asked.to_string().into()).await.unwrap();
        if !function.routes.is_empty() {
            // As a request it has no token.
            let response: Value = serde_json::from_slice(&answer.expect(&function.binary)).unwrap();
            assert_eq!(response["statusCode"], 401, "{}", function.binary);
            continue;
        }
        let error = answer.expect_err(&function.binary).to_string();
        assert!(error.contains("sequence"), "{}: {error}", function.binary);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_at_all_is_an_error_of_the_function_and_the_next_event_is_dealt_with() {
    let shop = Shop::open().await;
    for nonsense in ["null", "[]", "{}", "\"text\"", "{\"id\": 1}"] {
        let answer = shop.stack.invoke("on-shipment-event", nonsense.into()).await.unwrap();
        assert!(answer.is_err(), "{nonsense}");
    }
    let id = put(&shop, "ShipmentDelivered", "next", json!({ "order_id": uuid::Uuid::new_v4() })).await;
    assert_eq!(ended(&shop, &id).await, (1, json!("done")));
    assert_eq!(refusals(&shop)[0].1, "not-found");
    shop.close().await;
}
