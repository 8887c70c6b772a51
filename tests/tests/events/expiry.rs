//! Orders that stay unpaid are cancelled by the schedule.

use std::collections::BTreeMap;

use dynamodb_testkit::wait::until;
use orders_tests::shop::Shop;

use crate::consumer::{consumed, everything_arrives, run_schedule};

async fn open(hours: &str) -> Shop {
    let environment = BTreeMap::from([("EXPIRE_UNPAID_AFTER_HOURS".to_owned(), hours.to_owned())]);
    Shop::open_as(|options| drop(options.function_environment.insert("expire-orders".into(), environment))).await
}

async fn status(shop: &Shop, order_id: &str) -> String {
    let order = shop.get("customer", &format!("/orders/{order_id}")).await.expect(200);
    order.body["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_not_paid_in_time_is_cancelled_and_no_other_is() {
    let shop = open("24").await;
    let (old, paid, young) =
        (shop.create_hours_ago(25).await, shop.create_hours_ago(25).await, shop.create_hours_ago(23).await);
    shop.pay(&paid).await.expect(200);
    for (order_id, version) in [(&old, 1), (&paid, 2), (&young, 1)] {
        shop.projected(order_id, version).await;
    }
    run_schedule(&shop, "expire-orders").await;
    run_schedule(&shop, "expire-orders").await;
    until("the cancellation", async || status(&shop, &old).await == "cancelled").await;
    assert_eq!((status(&shop, &paid).await, status(&shop, &young).await), ("paid".into(), "pending".into()));
    everything_arrives(&shop).await;
    let cancelled: Vec<_> = consumed(&shop).into_values().filter(|(.., name)| name == "OrderCancelled").collect();
    assert_eq!(cancelled, [(old, 2, "OrderCancelled".to_owned())], "published once");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_do_not_expire_when_the_setting_is_0() {
    let shop = open("0").await;
    let old = shop.create_hours_ago(10_000).await;
    shop.projected(&old, 1).await;
    run_schedule(&shop, "expire-orders").await;
    assert_eq!(status(&shop, &old).await, "pending");
    shop.close().await;
}
