//! Two read models on one stream: a missing table stops one of them, and not the other.

use std::time::{Duration, Instant};

use dynamodb_event_store::projection::create_totals_table;
use dynamodb_testkit::wait::until_within;
use serde_json::json;

use crate::sales::report_of_these_days;
use crate::shop::Shop;

/// The time of a projection on a busy machine.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_projected_while_sales_cannot_be_and_sales_catch_up() {
    let shop = Shop::open().await;
    let (client, table) = (shop.stack.client(), shop.table("SalesTotals"));
    client.delete_table().table_name(table).send().await.unwrap();
    let catch_up = async || shop.invoke("catch-up-read-models", &json!({})).await;

    // The first failures are retried; then the sales' orders are recorded in the backlog.
    let first = shop.create().await;
    shop.projected(&first, 1).await;
    until_within(Duration::from_secs(60), "the first order in the backlog", async || {
        catch_up().await["sales"]["left"] == 1
    })
    .await;
    for _ in 0..2 {
        let began = Instant::now();
        let order_id = shop.create().await;
        shop.projected(&order_id, 1).await;
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    until_within(SOON, "three orders in the backlog", async || catch_up().await["sales"]["left"] == 3).await;

    create_totals_table(&client, table).unwrap().send().await.unwrap();
    let caught_up = catch_up().await;
    assert_eq!(caught_up["sales"], json!({ "done": 3, "parked": 0, "failed": 0, "left": 0 }), "{caught_up}");
    let report = shop.get("admin", &report_of_these_days()).await.expect(200);
    assert_eq!(report.body["total"]["orders"]["pending"]["count"], 3, "{report:?}");
    shop.close().await;
}
