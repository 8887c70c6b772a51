//! An unreadable event among others.

use dynamodb_testkit::wait::until;
use orders_tests::commits::poison;
use orders_tests::logs::LogLines;
use serde_json::Value;

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_event_parks_its_order_and_no_other() {
    let log = LogLines::default();
    let shop = Shop::open_as(|options| {
        // As the template has it on Lambda.
        options.environment.insert("AWS_LAMBDA_LOG_FORMAT".into(), "JSON".into());
        // Metrics are written at every level.
        options.reading.parameters.insert("LogLevel".into(), "ERROR".into());
        options.logs = log.sink();
    })
    .await;
    let (poisoned, beside) = (shop.create().await, shop.create().await);
    shop.projected(&poisoned, 1).await;
    shop.projected(&beside, 1).await;
    poison(&shop.stack.client(), shop.table("OrderEvents"), &poisoned, 2).await;
    shop.pay(&beside).await.expect(200);
    shop.projected(&beside, 2).await;
    until("the mark of the parked row", async || shop.row(&poisoned).await.is_some_and(|row| row.parked)).await;
    let row = shop.row(&poisoned).await.unwrap();
    assert_eq!((row.version, row.status.as_str()), (1, "pending"), "the row is at the last readable event");

    let line = |is: &dyn Fn(&Value) -> bool| log.json_of("project-orders").into_iter().find(|line| is(line));
    let parked = |line: &Value| line["message"] == "stream parked";
    let counted = |line: &Value| line["OrdersParked"] == 1;
    until("the log line and the metric", async || line(&parked).is_some() && line(&counted).is_some()).await;
    let line_of_log = line(&parked).unwrap();
    assert_eq!((&line_of_log["stream_id"], &line_of_log["version"]), (&poisoned.as_str().into(), &2.into()));
    let span = &line_of_log["span"];
    assert!(span["correlation_id"].is_string() && span["cold_start"].is_boolean(), "{line_of_log}");
    let metric = &line(&counted).unwrap()["_aws"]["CloudWatchMetrics"][0];
    assert_eq!((&metric["Namespace"], &metric["Dimensions"][0][0]), (&"Orders".into(), &"FunctionName".into()));

    let response = shop.pay(&poisoned).await;
    assert_eq!(
        (response.status, response.problem()),
        (500, "internal"),
        "no command is decided on a part of the stream"
    );
    assert!(!response.body.to_string().contains("Teleported"), "{response:?}");
    shop.pay(&beside).await.expect(200);
    shop.close().await;
}
