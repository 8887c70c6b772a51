//! One trace from a request to its row, its event, and what follows from the event.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dynamodb_testkit::wait::until;
use orders_local::payments::Mode;
use orders_local::traces::Span;
use orders_tests::bus::put_event;
use orders_tests::logs::LogLines;
use orders_tests::shop::Shop;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::consumer::{assert_handled, everything_arrives, published, run_schedule};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const EXPORT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Creates an order with these headers, and returns its id and the metadata of its event.
async fn created(shop: &Shop, headers: &[(&str, &str)]) -> (String, Value) {
    let created = shop.post_with("storefront", "/orders", shop.basket(), headers).await.expect(201);
    let order_id = created.body["order_id"].as_str().unwrap().to_owned();
    everything_arrives(shop).await;
    let event = published(shop).into_iter().find(|event| event["detail"]["metadata"]["order_id"] == order_id.as_str());
    (order_id, event.unwrap()["detail"]["metadata"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_its_row_its_event_and_the_shipment_that_follows_are_one_trace() {
    let shop = Shop::open().await;
    let (order_id, event) = created(&shop, &[("traceparent", PARENT), ("tracestate", "congo=1")]).await;
    let traceparent = event["traceparent"].as_str().unwrap();
    assert!(traceparent.starts_with(&PARENT[..36]) && traceparent.ends_with("-01") && traceparent != PARENT, "{event}");
    assert_eq!(event["tracestate"], "congo=1");
    let body = json!({ "payment_id": "p1", "amount": 44.98 });
    let pay = format!("/orders/{order_id}/pay");
    shop.post_with("customer", &pay, body, &[("traceparent", traceparent)]).await.expect(200);
    everything_arrives(&shop).await;
    let paid = published(&shop).into_iter().find(|event| event["detail-type"] == "OrderPaid").unwrap();
    let shipped = put_event(
        &shop,
        json!({"source": "shipping", "detail-type": "ShipmentDispatched", "detail": {
            "metadata": {"event_id": "s1", "traceparent": paid["detail"]["metadata"]["traceparent"]},
            "data": {"order_id": order_id, "tracking_number": "T1"},
        }}),
    );
    assert_handled(&shop, &shipped.await).await;
    shop.projected(&order_id, 3).await;
    everything_arrives(&shop).await;

    let expected = [
        ("CreateOrder", "POST /orders"),
        ("CreateOrder", "rate limit"),
        ("CreateOrder", "DynamoDB.PutItem"),
        ("ProjectOrders", "orders"),
        ("ProjectOrders", "sales"),
        ("ProjectOrders", "DynamoDB.UpdateItem"),
        ("PublishEvents", "publish"),
        ("PayOrder", "POST /orders/{id}/pay"),
        ("PayOrder", "verify payment"),
        ("PayOrder", "GET"),
        ("PayOrder", "DynamoDB.Query"),
        ("OnShipmentEvent", "process ShipmentDispatched"),
        ("OnShipmentEvent", "DynamoDB.PutItem"),
    ];
    let spans = || shop.stack.traces().find(&order_id).spans.into_iter().filter(|span| span.trace_id == TRACE);
    let missing = || {
        let seen: BTreeSet<_> = spans().map(|span| (span.function, span.name)).collect();
        let is_seen = |(function, name): &(&str, &str)| seen.contains(&((*function).to_owned(), (*name).to_owned()));
        expected.into_iter().filter(|span| !is_seen(span)).collect::<Vec<_>>()
    };
    _ = timeout(Duration::from_secs(15), until("all spans of the trace", async || missing().is_empty())).await;
    assert_eq!(missing(), [], "{}", shop.stack.traces().find(TRACE).tree());
    let tree = shop.stack.traces().find(TRACE).tree();
    let lines = |text: &str| tree.lines().filter(|line| line.contains(text)).count();
    assert_eq!((lines("trace "), lines("POST /orders ")), (1, 1), "{tree}");
    assert!(lines("DynamoDB.PutItem") >= 3 && lines(" units") > 0 && tree.contains("captured"), "{tree}");
    println!("{tree}");
    // Neither bodies nor keys other than the order's.
    let all = spans().flat_map(|span| span.attributes.into_values()).collect::<Vec<_>>().join("\n");
    // As whole words, since random ids contain any three digits.
    let words: BTreeSet<_> = all.split(|sign: char| !sign.is_alphanumeric()).collect();
    assert!(["p1", shop.sub("customer"), "TRK"].iter().all(|word| !words.contains(word)), "{all}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_payment_is_settled_in_a_trace_that_links_to_the_orders() {
    let shop = Shop::open().await;
    let (order_id, _) = created(&shop, &[]).await;
    shop.stack.payments().set_mode(Mode::Down);
    let (pay, body) = (format!("/orders/{order_id}/pay"), json!({ "payment_id": "p1", "amount": 44.98 }));
    shop.post_with("customer", &pay, body, &[("traceparent", PARENT)]).await.expect(202);
    shop.projected(&order_id, 2).await;
    shop.stack.payments().set_mode(Mode::Ok);
    run_schedule(&shop, "settle-payments").await;
    let settles = |span: &Span| span.name == "settle payment" && span.links == [TRACE] && span.trace_id != TRACE;
    until("the span", async || shop.stack.traces().find(TRACE).spans.iter().any(settles)).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_trace_is_stored_and_published_unchanged_when_spans_are_not_exported() {
    let shop = Shop::open_as(|options| {
        options.environment.insert(EXPORT.into(), String::new());
    });
    let shop = shop.await;
    let (order_id, event) = created(&shop, &[("traceparent", PARENT), ("tracestate", "congo=1,,bad member")]).await;
    assert_eq!((&event["traceparent"], &event["tracestate"]), (&json!(PARENT), &Value::Null));
    let hostile =
        [String::new(), "00-0-0-0".into(), PARENT.to_uppercase(), format!("{PARENT},{PARENT}"), "x".repeat(4_000)];
    for invalid in hostile {
        let (_, event) = created(&shop, &[("traceparent", &invalid)]).await;
        assert_eq!(event["traceparent"], Value::Null, "{invalid}");
    }
    assert!(shop.stack.traces().find(&order_id).spans.is_empty());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_delays_one_request_by_half_a_second_and_is_logged_once() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (log, endpoint) = (LogLines::default(), format!("http://{}", collector.local_addr().unwrap()));
    let shop = Shop::open_as(|options| {
        options.environment.insert(EXPORT.into(), endpoint);
        options.logs = log.sink();
        options.containers = 1;
    });
    let shop = shop.await;
    let mut took = Vec::new();
    for _ in 0..4 {
        let begun = Instant::now();
        shop.create().await;
        took.push(begun.elapsed());
    }
    let (first, later) = (took[0], took[1..].iter().min().unwrap());
    assert!(first > Duration::from_millis(500) && *later < Duration::from_millis(300), "{took:?}");
    let lost: Vec<_> = log.of("create-order").into_iter().filter(|line| line.contains("spans not exported")).collect();
    assert!(lost.len() == 1 && lost[0].contains("did not respond within 500 ms"), "{lost:?}");
    shop.close().await;
}
