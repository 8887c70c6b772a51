//! An event that cannot be read, in the middle of others.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;

use orders_local::lambda::Logs;
use serde_json::Value;

use crate::shop::{PROJECTION, Shop, until};

/// Appends an event of a type that nobody knows, as a newer program might.
async fn poison(shop: &Shop, order_id: &str, version: u64) {
    let text = |text: &str| AttributeValue::S(text.into());
    let map = |pairs: &[(&str, &str)]| {
        AttributeValue::M(pairs.iter().map(|(name, value)| ((*name).into(), text(value))).collect())
    };
    let event = AttributeValue::M(
        [
            ("type".into(), text("OrderTeleported")),
            ("schema".into(), AttributeValue::N("1".into())),
            ("data".into(), map(&[("order_id", order_id)])),
        ]
        .into(),
    );
    let table = &shop.stack.template().table("OrderEvents").unwrap().name;
    let put = shop.stack.client().put_item().table_name(table);
    put.item("stream_id", text(order_id))
        .item("version", AttributeValue::N(version.to_string()))
        .item("events", AttributeValue::L(vec![event]))
        .item("commit_id", text("0190a1b2-0000-4000-8000-000000000001"))
        .item("recorded_at", text("2026-11-24T12:00:00Z"))
        .item("metadata", map(&[("actor", "newer"), ("correlation_id", "c"), ("causation_id", "r")]))
        .send()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_event_parks_its_own_order_and_the_others_go_on() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = lines.clone();
    let shop = Shop::open_as(|options| {
        // As the template has it on Lambda.
        options.environment.insert("AWS_LAMBDA_LOG_FORMAT".into(), "JSON".into());
        // What alarms are made of is written at every level.
        options.reading.parameters.insert("LogLevel".into(), "ERROR".into());
        options.logs = Logs::to(move |function, line| {
            let line = serde_json::from_str::<Value>(line).ok().filter(|_| function == "project-orders");
            written.lock().unwrap().extend(line);
        });
    })
    .await;
    let (poisoned, beside) = (shop.create().await, shop.create().await);
    shop.projected(&poisoned, 1).await;
    shop.projected(&beside, 1).await;
    poison(&shop, &poisoned, 2).await;
    shop.pay(&beside).await.expect(200);
    let took = shop.projected(&beside, 2).await;
    assert!(took < PROJECTION, "{took:?}");
    until(async || shop.row(&poisoned).await.is_some_and(|row| row.parked)).await;
    let row = shop.row(&poisoned).await.unwrap();
    assert_eq!((row.version, row.status.as_str()), (1, "pending"), "the row stands where it could still be read");

    // The log names the order, and the run that parked it; the metric, which an alarm watches, counts it.
    let line = |tells: &dyn Fn(&Value) -> bool| lines.lock().unwrap().iter().find(|line| tells(line)).cloned();
    let parked = |line: &Value| line["message"] == "stream parked";
    let counted = |line: &Value| line["OrdersParked"] == 1;
    until(async || line(&parked).is_some() && line(&counted).is_some()).await;
    let line_of_log = line(&parked).unwrap();
    assert_eq!((&line_of_log["stream_id"], &line_of_log["version"]), (&poisoned.as_str().into(), &2.into()));
    let span = &line_of_log["span"];
    assert!(span["correlation_id"].is_string() && span["cold_start"].is_boolean(), "{line_of_log}");
    let metric = &line(&counted).unwrap()["_aws"]["CloudWatchMetrics"][0];
    assert_eq!((&metric["Namespace"], &metric["Dimensions"][0][0]), (&"Orders".into(), &"FunctionName".into()));

    let answer = shop.pay(&poisoned).await;
    assert_eq!((answer.status, answer.problem()), (500, "internal"), "nothing is decided on half a stream");
    assert!(!answer.body.to_string().contains("Teleported"), "{answer:?}");
    shop.pay(&beside).await.expect(200);
    shop.close().await;
}
