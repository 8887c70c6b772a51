//! Orders that nobody pays are given up.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::TimeDelta;
use dynamodb_event_store::{CommitKey, EventStore, Loaded, Metadata, Request, StreamId};
use dynamodb_testkit::wait::until;
use orders_core::domain::{Item, Money, Order, OrderEvent};
use orders_tests::shop::{PRODUCT, Shop};
use serde_json::json;
use service_clock::Timestamp;

use crate::consumer::{consumed, ended, everything_arrives};

async fn open(hours: &str) -> Shop {
    let environment = BTreeMap::from([("EXPIRE_UNPAID_AFTER_HOURS".to_owned(), hours.to_owned())]);
    Shop::open_as(|options| drop(options.function_environment.insert("expire-orders".into(), environment))).await
}

/// An order of the customer's that was created so many hours ago.
async fn old_order(shop: &Shop, hours: i64) -> String {
    let table = &shop.stack.template().table("OrderEvents").unwrap().name;
    let store: EventStore<Order> = EventStore::new(shop.stack.client(), table, NonZeroU32::new(14).unwrap());
    let (order_id, then) = (uuid::Uuid::new_v4().to_string(), Timestamp::now() - TimeDelta::hours(hours));
    let created = OrderEvent::OrderCreated {
        order_id: order_id.parse().unwrap(),
        user_id: shop.sub("customer").to_owned().try_into().unwrap(),
        items: vec![Item { product_id: PRODUCT.parse().unwrap(), quantity: 1, price: Money(4498) }],
        total: Money(4498),
        created_at: then,
    };
    let request = Request {
        key: CommitKey::unkeyed(),
        metadata: Metadata::default(),
        if_match: None,
        deadline: tokio::time::Instant::now() + Duration::from_secs(10),
    };
    let decide = |_: &Order, _| Ok::<_, Infallible>(vec![created.clone()]);
    store.execute(Loaded::new_stream(StreamId::new(order_id.as_str())), &request, decide).await.unwrap();
    order_id
}

async fn run(shop: &Shop) {
    let run = shop.post("admin", "/dev/schedules/expire-orders", json!({})).await.expect(200);
    assert_eq!(ended(shop, run.body["id"].as_str().unwrap()).await, (1, json!("done")));
}

async fn status(shop: &Shop, order_id: &str) -> String {
    let order = shop.get("customer", &format!("/orders/{order_id}")).await.expect(200);
    order.body["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nobody_paid_in_time_is_cancelled_and_no_other() {
    let shop = open("24").await;
    let (old, paid, young) = (old_order(&shop, 25).await, old_order(&shop, 25).await, old_order(&shop, 23).await);
    shop.pay(&paid).await.expect(200);
    for (order_id, version) in [(&old, 1), (&paid, 2), (&young, 1)] {
        shop.projected(order_id, version).await;
    }
    run(&shop).await;
    run(&shop).await;
    until("the cancellation", async || status(&shop, &old).await == "cancelled").await;
    assert_eq!((status(&shop, &paid).await, status(&shop, &young).await), ("paid".into(), "pending".into()));
    everything_arrives(&shop).await;
    let cancelled: Vec<_> = consumed(&shop).into_values().filter(|(.., name)| name == "OrderCancelled").collect();
    assert_eq!(cancelled, [(old, 2, "OrderCancelled".to_owned())], "and everybody learns of it, once");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_hours_given_orders_wait_for_ever() {
    let shop = open("0").await;
    let old = old_order(&shop, 10_000).await;
    shop.projected(&old, 1).await;
    run(&shop).await;
    assert_eq!(status(&shop, &old).await, "pending");
    shop.close().await;
}
