//! The sales report.

use std::collections::BTreeMap;

use dynamodb_testkit::wait::until;
use orders_core::domain::Status;
use serde_json::{Value, json};

use crate::shop::Shop;

/// The report from yesterday to tomorrow, since the test may run past midnight.
pub fn report_of_these_days() -> String {
    let today = chrono::Utc::now().date_naive();
    let (from, to) = (today.pred_opt().unwrap(), today.succ_opt().unwrap());
    format!("/reports/sales?from={from}&to={to}")
}

#[tokio::test(flavor = "multi_thread")]
async fn sales_captures_and_refunds_are_reported_for_their_day() {
    let shop = Shop::open().await;
    let (shipped, cancelled) = (shop.create().await, shop.create().await);
    shop.create().await;
    for order_id in [&shipped, &cancelled] {
        shop.pay(order_id).await.expect(200);
    }
    shop.ship(&shipped).await.expect(200);
    shop.cancel("customer", &cancelled).await.expect(200);

    let path = report_of_these_days();
    let total = async || shop.get("admin", &path).await.expect(200).body["total"].clone();
    let sold = |count: u32| json!({ "count": count, "amount": 44.98 * f64::from(count) });
    let none = json!({ "count": 0, "amount": 0 });
    let mut orders: BTreeMap<_, _> = Status::ALL.map(|status| (status.as_str(), none.clone())).into();
    orders.extend(["pending", "shipped", "cancelled"].map(|status| (status, sold(1))));
    let expected = json!({
        "orders": orders,
        "payments": sold(2), "refunds_due": sold(1), "refunds": none, "revenue": 44.98,
    });
    until("the report", async || total().await == expected).await;

    let table = shop.request("GET", "admin", &path, &[("accept", "text/csv")]).await.expect(200);
    let Value::String(table) = &table.body else { panic!("{table:?}") };
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("44.98,2,89.96,1,44.98,0,0.00,44.98\r\n"), "{table}");
    let head = shop.request("HEAD", "admin", &path, &[("accept", "text/csv")]).await.expect(200);
    assert_eq!(
        (head.header("content-type"), &head.body),
        (Some("text/csv; charset=utf-8; header=present"), &Value::Null)
    );

    shop.get("fulfilment", &path).await.expect(403);
    assert_eq!(
        shop.request("GET", "admin", &path, &[("accept", "text/html")]).await.expect(406).problem(),
        "not-acceptable"
    );
    let half = shop.get("admin", "/reports/sales?from=2026-11-01").await.expect(400);
    assert_eq!(half.body["errors"][0]["path"], "to");
    shop.close().await;
}
