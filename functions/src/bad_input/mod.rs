//! Whatever is sent, every function responds with a well-formed problem, and stores nothing.

mod described;
pub mod functions;
mod hostile;
mod mangled;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::testing::{OWNER, Shop, body, problem, with_header};
use functions::{good, send};

const PRODUCT: &str = "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11";

fn with_body(mut event: Value, body: &str) -> Value {
    event["body"] = body.into();
    event["headers"]["content-type"] = "application/json".into();
    event
}

/// Checks that a response is this problem, well formed, and that its first error names this path.
fn expect(answer: &Answer, status: u16, name: &str, path: Option<&str>, sent: &str) {
    assert_eq!((answer.status(), problem(answer).as_str()), (status, name), "{sent}: {}", answer.body());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let details = body(answer);
    assert_eq!(details["status"], status);
    assert!(details["instance"].as_str().unwrap().starts_with("urn:orders:request:"));
    for member in ["title", "detail"] {
        assert!(!details[member].as_str().unwrap().is_empty(), "{sent}");
    }
    assert_eq!(details["errors"][0]["path"].as_str(), path, "{sent}: {}", answer.body());
    for inside in ["struct", "i64", "panick", "dynamo", "Dynamo", "OrderEvents", "::"] {
        assert!(!answer.body().contains(inside), "{sent}: {}", answer.body());
    }
}

fn items(items: &Value) -> String {
    json!({"items": items}).to_string()
}

fn item(quantity: &str, price: &str) -> String {
    format!(r#"{{"items": [{{"product_id": "{PRODUCT}", "quantity": {quantity}, "price": {price}}}]}}"#)
}

#[tokio::test]
async fn a_bad_body_is_400_with_the_path_of_its_field() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    let one = json!({"product_id": PRODUCT, "quantity": 1, "price": 1});
    let long = |length: usize| format!("\"{}\"", "x".repeat(length));
    let pay = |id: &str, amount: &str| format!(r#"{{"payment_id": {id}, "amount": {amount}}}"#);
    let mut cases: Vec<(&str, String, &str)> = vec![
        ("create-order", r#"{"items": []}"#.into(), "items"),
        ("create-order", items(&json!(vec![one.clone(); 101])), "items"),
        ("create-order", items(&json!({})), "items"),
        ("create-order", items(&json!([PRODUCT])), "items[0]"),
        ("create-order", items(&json!([[PRODUCT, 1, 1]])), "items[0]"),
        ("create-order", items(&json!([one, {"product_id": "1", "quantity": 1, "price": 1}])), "items[1].product_id"),
        ("create-order", items(&json!([{"product_id": PRODUCT, "price": 1}])), "items[0].quantity"),
        ("create-order", item("1", "1, \"tax\": 1"), "items[0].tax"),
        ("create-order", item("1, \"quantity\": 2", "1"), "items[0].quantity"),
        ("create-order", format!(r#"{{"items": [{one}], "user_id": ""}}"#), "user_id"),
        ("create-order", format!(r#"{{"items": [{one}], "user_id": {}}}"#, long(129)), "user_id"),
        ("create-order", format!(r#"{{"items": [{one}], "user_id": "a b"}}"#), "user_id"),
        ("create-order", format!(r#"{{"items": [{one}], "user_id": "a\u0000"}}"#), "user_id"),
        ("create-order", item(&"9".repeat(9_000), "1"), "items[0].quantity"),
        (
            "create-order",
            items(&json!(vec![json!({"product_id": PRODUCT, "quantity": 0, "price": -1}); 2])),
            "items[0].quantity",
        ),
        ("pay-order", pay("\"p1\"", "\"44.98\""), "amount"),
        ("pay-order", pay("\"p1\"", "44.981"), "amount"),
        ("pay-order", pay("\"p1\"", "-44.98"), "amount"),
        ("pay-order", pay("\"p1\"", "1e300"), "amount"),
        ("pay-order", pay("\"p1\"", "null"), "amount"),
        ("pay-order", pay("\"p1\"", "[]"), "amount"),
        ("pay-order", pay("\"\"", "44.98"), "payment_id"),
        ("pay-order", pay(&long(129), "44.98"), "payment_id"),
        ("pay-order", pay("\"p\\u001b1\"", "44.98"), "payment_id"),
        ("pay-order", pay("7", "44.98"), "payment_id"),
        ("pay-order", r#"{"amount": 44.98}"#.into(), "payment_id"),
        ("pay-order", r#"{"payment_id": "p1"}"#.into(), "amount"),
        ("ship-order", r#"{"tracking_number": ""}"#.into(), "tracking_number"),
        ("ship-order", format!(r#"{{"tracking_number": {}}}"#, long(129)), "tracking_number"),
        ("ship-order", r#"{"tracking_number": "a\nb"}"#.into(), "tracking_number"),
        ("ship-order", "{}".into(), "tracking_number"),
        ("cancel-order", r#"{"reason": "  "}"#.into(), "reason"),
        ("cancel-order", format!(r#"{{"reason": {}}}"#, long(501)), "reason"),
        ("cancel-order", r#"{"reason": "a\u202eb"}"#.into(), "reason"),
        ("cancel-order", r#"{"reason": null}"#.into(), "reason"),
        ("deliver-order", r#"{"delivered_at": "now"}"#.into(), "delivered_at"),
        ("deliver-order", "{}{}".into(), "body"),
    ];
    for quantity in ["0", "-1", "10001", "1099511627776", "1.5", "\"1\"", "1e5", "null", "true"] {
        cases.push(("create-order", item(quantity, "1"), "items[0].quantity"));
    }
    for price in ["-1", "-0", "19.999", "1e300", "\"NaN\"", "\"19.99\"", "1000000.01", "null", "{}", "[1]", "1e-3"] {
        cases.push(("create-order", item("1", price), "items[0].price"));
    }
    for function in functions::with_body() {
        for malformed in ["{", "nonsense", "[]", "null", "7", "\"{}\"", "{\"a\": NaN}", "{'a': 1}", "\u{feff}{}"] {
            let path = if malformed == "{\"a\": NaN}" { "a" } else { "body" };
            cases.push((function, malformed.into(), path));
        }
        cases.push((function, "[".repeat(60_000), "body"));
        cases.push((function, r#"{"surprise": 1}"#.into(), "surprise"));
    }
    for (function, sent, path) in cases {
        let plain = with_body(good(function, &order_id), &sent);
        let mut encoded = with_body(plain.clone(), &BASE64_STANDARD.encode(&sent));
        encoded["isBase64Encoded"] = true.into();
        for event in [plain, encoded] {
            let shown: String = sent.chars().take(200).collect();
            expect(
                &send(&shop, function, event).await,
                400,
                "invalid-request",
                Some(path),
                &format!("{function} {shown}"),
            );
        }
    }
    assert_eq!(shop.commits().await, 1);
}

#[tokio::test]
async fn a_body_that_is_too_large_or_not_json_is_not_parsed() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    for function in functions::with_body() {
        let good = good(function, &order_id);
        let large = with_body(good.clone(), &" ".repeat(65 * 1024));
        expect(&send(&shop, function, large).await, 413, "body-too-large", None, function);
        for content_type in ["text/plain", "application/xml", "multipart/form-data", ""] {
            let wrong = with_header(with_body(good.clone(), "{}"), "content-type", content_type);
            expect(&send(&shop, function, wrong).await, 415, "unsupported-media-type", None, function);
        }
        let mut broken = with_body(good, "not base64");
        broken["isBase64Encoded"] = true.into();
        expect(&send(&shop, function, broken).await, 400, "invalid-request", Some("body"), function);
    }
    assert_eq!(shop.commits().await, 1);
}

#[tokio::test]
async fn invalid_claims_are_401_and_a_missing_scope_is_403() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    for function in functions::all() {
        let mut event = good(function, &order_id);
        for claims in
            [json!(null), json!({}), json!([]), json!({"sub": 7}), json!({"sub": "", "scope": "orders:admin"})]
        {
            event["requestContext"]["authorizer"]["jwt"]["claims"] = claims;
            let answer = send(&shop, function, event.clone()).await;
            expect(&answer, 401, "unauthenticated", None, function);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        for authorizer in [json!(null), json!({}), json!("jwt"), json!({"jwt": []}), json!({"iam": {"sub": OWNER}})] {
            event["requestContext"]["authorizer"] = authorizer;
            expect(&send(&shop, function, event.clone()).await, 401, "unauthenticated", None, function);
        }
        for scope in ["", "openid", "orders:", "admin", "orders:superuser", "ORDERS:ADMIN"] {
            event["requestContext"]["authorizer"] = json!({"jwt": {"claims": {"sub": OWNER, "scope": scope}}});
            expect(&send(&shop, function, event.clone()).await, 403, "forbidden", None, function);
        }
    }
    assert_eq!(shop.commits().await, 1);
}

#[tokio::test]
async fn an_invalid_id_is_400_and_an_unknown_or_another_users_order_is_404() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    for function in functions::on_an_order() {
        let unknown = "00000000-0000-4000-8000-000000000000";
        expect(&send(&shop, function, good(function, unknown)).await, 404, "not-found", None, function);
        for id in ["", "1", "c0000000", "c0000000-0000-5000-8000-00000000000g", "../etc", "é", "%00", "null"] {
            let answer = send(&shop, function, good(function, id)).await;
            expect(&answer, 400, "invalid-request", Some("order_id"), &format!("{function} {id}"));
        }
        let mut event = good(function, &order_id);
        event["pathParameters"] = json!(null);
        expect(&send(&shop, function, event).await, 400, "invalid-request", Some("order_id"), function);
    }
    for function in ["pay-order", "cancel-order", "get-order", "order-history"] {
        let mut event = good(function, &order_id);
        let claims = json!({"sub": "other-user", "scope": "orders:read orders:write"});
        event["requestContext"]["authorizer"]["jwt"]["claims"] = claims;
        expect(&send(&shop, function, event).await, 404, "not-found", None, function);
    }
    assert_eq!(shop.commits().await, 1);
}

#[tokio::test]
async fn the_wrong_state_is_409_with_the_status_that_the_order_has() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    for (function, name) in [("ship-order", "order-not-paid"), ("deliver-order", "order-not-shipped")] {
        let answer = send(&shop, function, good(function, &order_id)).await;
        expect(&answer, 409, name, None, function);
        assert_eq!(body(&answer)["order_status"], "pending");
    }
    shop.cancel(&order_id).await;
    for (function, name) in [("pay-order", "order-not-pending"), ("cancel-order", "order-not-cancellable")] {
        let answer = send(&shop, function, good(function, &order_id)).await;
        expect(&answer, 409, name, None, function);
        assert_eq!(body(&answer)["order_status"], "cancelled");
    }
    assert_eq!(shop.commits().await, 2);
}

/// A command that succeeds without storing anything has tests of its own for its response.
#[tokio::test]
async fn only_a_payment_succeeds_again_without_being_stored() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    for function in functions::commands().filter(|function| *function != "create-order") {
        let then = if function == "pay-order" { 200 } else { 409 };
        let order_id = if function == "cancel-order" { shop.create_order(44.98).await } else { order_id.clone() };
        for (key, status) in [("k1", 200), ("k2", then), ("k2", then)] {
            let event = with_header(good(function, &order_id), "idempotency-key", &format!("{function}-{key}"));
            let before = shop.commits().await;
            let answer = send(&shop, function, event).await;
            assert_eq!(
                (answer.status(), shop.commits().await - before),
                (status, i32::from(key == "k1")),
                "{function}"
            );
            assert_eq!(answer.header("idempotency-replayed"), None, "{function}");
        }
    }
}

#[tokio::test]
async fn a_stale_or_malformed_if_match_and_a_malformed_or_reused_key_store_nothing() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    for function in functions::commands() {
        for stale in ["\"7\"", "W/\"1\"", "\"x\"", "\"18446744073709551616\""] {
            let answer = send(&shop, function, with_header(good(function, &order_id), "if-match", stale)).await;
            expect(&answer, 412, "precondition-failed", None, function);
        }
        for malformed in ["", "1", "\"1", "*, \"1\"", "\"1\" \"2\"", "é"] {
            for (header, path) in [("if-match", "If-Match"), ("if-none-match", "If-None-Match")] {
                let answer = send(&shop, function, with_header(good(function, &order_id), header, malformed)).await;
                expect(&answer, 400, "invalid-request", Some(path), &format!("{function} {malformed}"));
            }
        }
        if function != "create-order" {
            for there in ["*", "W/\"1\""] {
                let event = with_header(good(function, &order_id), "if-none-match", there);
                expect(&send(&shop, function, event).await, 412, "precondition-failed", None, function);
            }
        }
        for malformed in ["", "\"", "a b", "é", "\u{1}", &"x".repeat(256)] {
            let answer =
                send(&shop, function, with_header(good(function, &order_id), "idempotency-key", malformed)).await;
            expect(&answer, 400, "invalid-request", Some("Idempotency-Key"), &format!("{function} {malformed}"));
        }
    }
    assert_eq!(shop.commits().await, 1);

    let keyed = with_header(good("cancel-order", &order_id), "idempotency-key", "k1");
    assert_eq!(send(&shop, "cancel-order", keyed.clone()).await.status(), 200);
    let other_body = with_body(keyed.clone(), r#"{"reason": "another"}"#);
    expect(&send(&shop, "cancel-order", other_body).await, 422, "idempotency-key-reused", None, "cancel-order");
    let other_command = with_header(good("pay-order", &order_id), "idempotency-key", "k1");
    expect(&send(&shop, "pay-order", other_command).await, 422, "idempotency-key-reused", None, "pay-order");
    assert_eq!(shop.commits().await, 2);
}

#[tokio::test]
async fn a_bad_query_is_400_with_the_parameter() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    shop.project().await;
    let foreign = "AYq9Qm8rF2UVAAAAAGkAAAAAAAAAw4AAAAAAAFAAgAAAAAAAAAA";
    for (function, query, path) in [
        ("list-user-orders", "limit=0", "limit"),
        ("list-user-orders", "limit=1e9", "limit"),
        ("list-user-orders", "limit=1000000000", "limit"),
        ("list-user-orders", "status=lost", "status"),
        ("list-user-orders", "limit=1&limit=2", "limit"),
        ("list-user-orders", "page=2", "page"),
        ("list-orders", "", "status"),
        ("list-orders", "status=<paid>", "status"),
        ("list-orders", "status=paid&limit=0", "limit"),
        ("order-history", "limit=0", "limit"),
        ("order-history", "limit=1e9", "limit"),
        ("get-order", "at_version=0", "at_version"),
        ("get-order", "at_version=1&as_of=2026-11-24T09:31:00Z", "as_of"),
        ("get-order", "as_of=2026-13-24T09:31:00Z", "as_of"),
        ("get-order", "as_of=%FF%00", "as_of"),
        ("sales-report", "", "from"),
        ("sales-report", "from=2026-11-01", "to"),
        ("sales-report", "to=2026-11-01", "from"),
        ("sales-report", "from=2026-11-01&to=", "to"),
        ("sales-report", "from=2026-11-31&to=2026-12-01", "from"),
        ("sales-report", "from=%FF%00&to=2026-12-01", "from"),
        ("sales-report", "from=2026-11-02&to=2026-11-01", "to"),
        ("sales-report", "from=2016-11-01&to=2026-11-01", "to"),
        ("sales-report", "from=0001-01-01&to=9999-12-31", "to"),
        ("sales-report", "from=2026-11-01&to=2026-11-02&to=2026-11-03", "to"),
        ("sales-report", "from=2026-11-01&to=2026-11-02&days=2", "days"),
    ] {
        let mut event = good(function, &order_id);
        event["rawQueryString"] = query.into();
        let answer = send(&shop, function, event).await;
        expect(&answer, 400, "invalid-request", Some(path), &format!("{function} {query}"));
    }
    for (function, rest) in [("list-user-orders", ""), ("list-orders", "&status=paid"), ("order-history", "")] {
        for cursor in ["", "x", "%00", "e30", "..%2F..", foreign, &"A".repeat(5_000)] {
            let mut event = good(function, &order_id);
            event["rawQueryString"] = format!("cursor={cursor}{rest}").into();
            let answer = send(&shop, function, event).await;
            expect(&answer, 400, "invalid-request", Some("cursor"), &format!("{function} {cursor}"));
        }
    }
}

#[tokio::test]
async fn events_without_the_parts_of_a_request_are_unauthenticated() {
    let shop = Shop::open().await;
    for function in functions::all() {
        for event in [json!({}), json!({"requestContext": {}}), json!({"headers": null, "body": null})] {
            expect(&send(&shop, function, event).await, 401, "unauthenticated", None, function);
        }
    }
}
