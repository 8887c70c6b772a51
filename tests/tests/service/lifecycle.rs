//! An order from its creation to its delivery, in every view.

use std::time::{Duration, Instant};

use dynamodb_testkit::wait::until;
use serde_json::{Value, json};

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn every_view_of_an_order_agrees_from_creation_to_delivery() {
    let shop = Shop::open().await;
    let created = shop.post("storefront", "/orders", shop.basket()).await.expect(201);
    let order_id = created.body["order_id"].as_str().unwrap().to_owned();
    let path = format!("/orders/{order_id}");
    assert_eq!(created.header("location"), Some(path.as_str()));
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(created.body, json!({ "order_id": order_id, "version": 1, "status": "pending", "total": 44.98 }));
    assert_eq!(shop.get("customer", &path).await.expect(200).version(), 1, "a 201 is never followed by a 404");

    let mut steps = Vec::new();
    for step in 0..3 {
        // Times are in milliseconds, and each step needs its own.
        next_millisecond().await;
        steps.push(match step {
            0 => shop.pay(&order_id).await,
            1 => shop.ship(&order_id).await,
            _ => shop.deliver(&order_id).await,
        });
    }
    for (step, (version, status)) in steps.into_iter().zip([(2, "paid"), (3, "shipped"), (4, "delivered")]) {
        let step = step.expect(200);
        assert_eq!(step.body, json!({ "order_id": order_id, "version": version, "status": status }));
        assert_eq!(step.header("etag"), Some(format!("\"{version}\"").as_str()));
    }
    let at_once = shop.get("customer", &format!("{path}?min_version=4")).await.expect(200);
    assert_eq!((at_once.version(), at_once.header("etag")), (4, Some("\"4\"")));

    shop.projected(&order_id, 4).await;
    let newest = shop.get("customer", &path).await.expect(200).body;
    assert_eq!(newest, at_once.body, "the row is the fold of the events");
    assert_eq!((&newest["status"], &newest["total"]), (&json!("delivered"), &json!(44.98)));

    let trail = shop.get("customer", &format!("{path}/events")).await.expect(200).body;
    let events = trail["events"].as_array().unwrap();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["OrderCreated", "OrderPaid", "OrderShipped", "OrderDelivered"]);
    assert_eq!(events[1]["data"]["amount"], json!(44.98));

    for (version, status) in [(1, "pending"), (2, "paid"), (3, "shipped"), (4, "delivered")] {
        let then = shop.get("customer", &format!("{path}?at_version={version}")).await.expect(200);
        assert_eq!((then.version(), &then.body["status"]), (version, &json!(status)));
        let time = then.body["updated_at"].as_str().unwrap();
        let as_of = shop.get("customer", &format!("{path}?as_of={time}")).await.expect(200);
        assert_eq!(as_of.version(), version, "{time}: {as_of:?}");
    }
    assert_eq!(shop.get("customer", &format!("{path}?at_version=4")).await.body, newest);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_model_follows_within_a_second() {
    let shop = Shop::open().await;
    let mut took = Vec::new();
    for _ in 0..6 {
        let order_id = shop.create().await;
        let stored = Instant::now();
        shop.projected(&order_id, 1).await;
        took.push(stored.elapsed());
    }
    // The first order starts the projector's first container, and on a busy machine another may be late.
    took.sort();
    assert!(took[3] < Duration::from_secs(1), "{took:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_lists_all_own_orders_newest_first_in_pages() {
    let shop = Shop::open().await;
    let mut created = Vec::new();
    for _ in 0..7 {
        created.push(shop.create().await);
    }
    for order_id in &created {
        shop.projected(order_id, 1).await;
    }
    created.reverse();
    let list = format!("/users/{}/orders", shop.sub("customer"));
    assert_eq!(all_pages(&shop, "customer", &list, "limit=3").await, created);

    shop.pay(&created[1]).await.expect(200);
    shop.pay(&created[4]).await.expect(200);
    shop.projected(&created[1], 2).await;
    shop.projected(&created[4], 2).await;
    let paid = [created[1].clone(), created[4].clone()];
    assert_eq!(all_pages(&shop, "customer", &list, "limit=1&status=paid").await, paid);
    assert!(all_pages(&shop, "fulfilment", &list, "limit=100").await == created, "staff see any user's orders");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_queue_lists_open_orders_oldest_first() {
    let shop = Shop::open().await;
    let (first, second, third) = (shop.create().await, shop.create().await, shop.create().await);
    for order_id in [&first, &second, &third] {
        shop.pay(order_id).await.expect(200);
    }
    shop.ship(&second).await.expect(200);
    let list = async |query| all_pages(&shop, "fulfilment", "/orders", query).await;
    let waiting = [first.clone(), third.clone()];
    until("the paid orders", async || list("status=paid&limit=1").await == waiting).await;
    until("the shipped order", async || list("status=shipped").await == [second.clone()]).await;
    shop.deliver(&second).await.expect(200);
    until("an empty queue", async || list("status=shipped").await.is_empty()).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_paid_order_makes_its_refund_due_in_the_same_commit() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    shop.pay(&order_id).await.expect(200);
    let cancelled = shop.cancel("customer", &order_id).await.expect(200);
    assert_eq!(cancelled.body, json!({ "order_id": order_id, "version": 4, "status": "cancelled" }));
    let order = shop.get("customer", &format!("/orders/{order_id}?min_version=4")).await.expect(200).body;
    assert_eq!(order["refunds"][0]["amount"], json!(44.98));
    shop.projected(&order_id, 4).await;
    assert_eq!(shop.get("customer", &format!("/orders/{order_id}")).await.body, order);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn returning_a_delivered_order_makes_its_refund_due_in_every_view_and_the_refund_settles_it() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let path = format!("/orders/{order_id}");
    let give_back = async || shop.post("fulfilment", &format!("{path}/return"), json!({ "reason": "too small" })).await;
    shop.pay(&order_id).await.expect(200);
    shop.ship(&order_id).await.expect(200);
    assert_eq!(give_back().await.expect(409).problem(), "order-not-delivered");
    shop.deliver(&order_id).await.expect(200);
    let returned = give_back().await.expect(200);
    assert_eq!(returned.body, json!({ "order_id": order_id, "version": 6, "status": "returned" }));
    assert_eq!(shop.cancel("customer", &order_id).await.expect(409).problem(), "order-not-cancellable");

    let order = shop.get("customer", &format!("{path}?at_version=6")).await.expect(200).body;
    assert_eq!((&order["status"], &order["returned"]["reason"]), (&json!("returned"), &json!("too small")));
    assert_eq!(order["refunds"][0]["amount"], json!(44.98));
    shop.projected(&order_id, 6).await;
    assert_eq!(shop.get("customer", &path).await.body, order, "the row is the fold of the events");
    let trail = shop.get("customer", &format!("{path}/events")).await.expect(200).body;
    let types: Vec<_> = trail["events"].as_array().unwrap()[4..].iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["OrderReturned", "OrderRefundDue"]);

    let payment_id = &order["payment"]["payment_id"];
    let refund = json!({ "order_id": order_id, "payment_id": payment_id, "refund_id": "re_1", "amount": 44.98 });
    let detail = json!({ "metadata": {}, "data": refund });
    let event = json!({ "source": "payments", "detail-type": "RefundCompleted", "detail": detail });
    shop.post("admin", "/dev/events", event).await;
    shop.projected(&order_id, 7).await;
    let refunded = shop.get("customer", &path).await.expect(200).body;
    assert_eq!(
        (&refunded["status"], &refunded["refunds"][0]["done"]["refund_id"]),
        (&json!("returned"), &json!("re_1"))
    );
    shop.close().await;
}

async fn next_millisecond() {
    let now = || chrono::Utc::now().timestamp_millis();
    let then = now();
    until("the next millisecond", async || now() > then).await;
}

/// The ids of all orders of a list.
async fn all_pages(shop: &Shop, caller: &str, list: &str, query: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = shop.get(caller, &format!("{list}?{query}{cursor}")).await.expect(200).body;
        let orders = page["orders"].as_array().unwrap();
        ids.extend(orders.iter().map(|order| order["order_id"].as_str().unwrap().to_owned()));
        match &page["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => return ids,
        }
        assert!(ids.len() < 1_000, "the pages do not end");
    }
}
