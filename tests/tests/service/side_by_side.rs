//! Two read models behind one stream: a table that is not there stops one of them, and not the other.

use std::time::{Duration, Instant};

use dynamodb_event_store::projection::create_totals_table;
use dynamodb_testkit::wait::until_within;
use serde_json::json;

use crate::rebuild::ask;
use crate::shop::Shop;

/// A row's usual time, with room for a busy machine.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_on_while_sales_cannot_and_sales_catch_up() {
    let shop = Shop::open().await;
    let table = shop.stack.template().table("SalesTotals").unwrap().name.clone();
    let client = shop.stack.client();
    client.delete_table().table_name(&table).send().await.unwrap();
    let catch_up = async || ask(&shop, "catch-up-read-models", &json!({})).await;

    // The first failures are waited for; then what sales cannot take is noted.
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

    create_totals_table(&client, &table).unwrap().send().await.unwrap();
    let caught_up = catch_up().await;
    assert_eq!(caught_up["sales"], json!({ "done": 3, "parked": 0, "failed": 0, "left": 0 }), "{caught_up}");
    let today = chrono::Utc::now().date_naive();
    let path = format!("/reports/sales?from={}&to={today}", today.pred_opt().unwrap());
    let report = shop.get("admin", &path).await.expect(200);
    assert_eq!(report.body["total"]["orders"]["pending"]["count"], 3, "{report:?}");
    shop.close().await;
}
