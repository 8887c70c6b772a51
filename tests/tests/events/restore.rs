//! The event table lost or damaged, and restored as `docs/restore.md` says.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use orders_local::dynamodb::tables;
use orders_local::template::Table;
use orders_tests::database::TestTables;
use orders_tests::shop::Shop;
use serde_json::{Value, json};

use crate::consumer::{Fact, consumed, everything_arrives, stored};

/// A place for one stack after the other: they have the tables of the one before, and another epoch.
struct Place {
    tables: TestTables,
    prefix: String,
}

impl Place {
    async fn find() -> Self {
        // The event table's name begins as CloudFormation's does: the function may read tables that were the stack's.
        Self { tables: TestTables::create(&[]).await, prefix: format!("local-OrderEvents-{}-", uuid::Uuid::new_v4()) }
    }

    async fn open(&self, epoch: &str) -> Shop {
        Shop::open_as(|options| {
            options.dynamodb = Some(self.tables.endpoint().to_owned());
            options.reading.prefix.clone_from(&self.prefix);
            options.reading.parameters.insert("EventEpoch".into(), epoch.into());
        })
        .await
    }

    /// What a restore to this moment makes: a table with the items and nothing else. Its name is one that the function may
    /// read from.
    async fn restore_events_of(&self, shop: &Shop) -> String {
        let events = events_table(shop);
        let copy = Table { name: format!("local-restored-{}", uuid::Uuid::new_v4()), stream: None, ..events.clone() };
        tables::create(&shop.stack.client(), &copy).await.unwrap();
        let items = shop.stack.client().scan().table_name(&events.name).send().await.unwrap().items.unwrap();
        for item in items {
            let put = shop.stack.client().put_item().table_name(&copy.name).set_item(Some(item));
            put.send().await.unwrap();
        }
        copy.name
    }
}

fn events_table(shop: &Shop) -> &Table {
    shop.stack.template().table("OrderEvents").unwrap()
}

/// Gives the answer back until it is done.
async fn to_the_end(shop: &Shop, function: &str, mut run: Value) -> Value {
    loop {
        let answer = shop.stack.invoke(function, run.to_string().into()).await.unwrap().unwrap();
        run = serde_json::from_slice(&answer).unwrap();
        if run["progress"]["done"] == true {
            return run["progress"].take();
        }
    }
}

async fn copied_from(shop: &Shop, table: &str) -> Value {
    to_the_end(shop, "restore-events", json!({ "from_table": table })).await
}

/// The read models: rows of orders, and sales.
const MODELS: [&str; 2] = ["orders", "sales"];

/// How many rows of each read model are not what their events make.
async fn different(shop: &Shop) -> Vec<Value> {
    let verify = |model| json!({ "model": model, "segment": 0, "total_segments": 1 });
    let verified = join_all(MODELS.map(|model| to_the_end(shop, "verify-orders", verify(model)))).await;
    verified.into_iter().map(|mut verified| verified["different"].take()).collect()
}

/// Lowers the rows of each read model to their events; answers what became of them.
async fn lower(shop: &Shop) -> Vec<Value> {
    let rebuild = |model| json!({ "model": model, "segment": 0, "total_segments": 1, "after_restore": true });
    join_all(MODELS.map(|model| to_the_end(shop, "rebuild-orders", rebuild(model)))).await
}

async fn create_as(shop: &Shop, key: &str) -> String {
    let created = shop.post_with("storefront", "/orders", shop.basket(), &[("idempotency-key", key)]).await.expect(201);
    assert_eq!(created.header("idempotency-replayed"), None);
    created.body["order_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_table_that_was_deleted_is_restored_and_what_happens_anew_is_news_to_every_consumer() {
    let place = Place::find().await;
    let shop = place.open("").await;
    let (first, second) = (shop.create().await, shop.create().await);
    shop.pay(&first).await.expect(200);
    let restored = place.restore_events_of(&shop).await;
    // What comes now is lost: the tails of two orders, and a third order whole.
    shop.ship(&first).await.expect(200);
    shop.pay(&second).await.expect(200);
    let third = create_as(&shop, "cart-3").await;
    everything_arrives(&shop).await;
    for (order_id, version) in [(&first, 3), (&second, 2), (&third, 1)] {
        shop.projected(order_id, version).await;
    }
    assert_eq!(different(&shop).await, [0, 0]);
    let known = consumed(&shop);
    assert_eq!(known.len(), 6);
    shop.stack.client().delete_table().table_name(&events_table(&shop).name).send().await.unwrap();
    shop.close().await;

    // The stack with another epoch: a new, empty event table, and the rows as they were.
    let shop = place.open("2").await;
    let copied = copied_from(&shop, &restored).await;
    assert_eq!((&copied["copied"], &copied["damaged"]), (&json!(3), &json!(0)), "{copied}");
    everything_arrives(&shop).await;
    assert!(consumed(&shop).iter().all(|(id, fact)| known.get(id) == Some(fact)), "old events keep their ids");
    assert_eq!(different(&shop).await, [3, 3]);
    for rebuilt in lower(&shop).await {
        assert_eq!((&rebuilt["lowered"], &rebuilt["removed"]), (&json!(2), &json!(1)), "{rebuilt}");
    }
    assert_eq!(different(&shop).await, [0, 0]);
    let status = shop.get("customer", &format!("/orders/{second}")).await.expect(200);
    assert_eq!(status.body["status"], "pending");

    // The same versions again: another fact, the same one later, and a lost request repeated with its key.
    let cancel = json!({ "reason": "changed my mind" });
    shop.post("customer", &format!("/orders/{second}/cancel"), cancel).await.expect(200);
    shop.ship(&first).await.expect(200);
    assert_eq!(create_as(&shop, "cart-3").await, third);
    for (order_id, version) in [(&first, 3), (&second, 2), (&third, 1)] {
        shop.projected(order_id, version).await;
    }
    assert_eq!(different(&shop).await, [0, 0], "the rows follow again");
    everything_arrives(&shop).await;
    let heard = || -> BTreeSet<Fact> {
        consumed(&shop).into_iter().filter(|(id, _)| !known.contains_key(id)).map(|(_, fact)| fact).collect()
    };
    let fact = |order_id: &str, version, name: &str| (order_id.to_owned(), version, name.to_owned());
    let news = [fact(&first, 3, "OrderShipped"), fact(&second, 2, "OrderCancelled"), fact(&third, 1, "OrderCreated")];
    assert_eq!(heard(), news.into(), "a consumer that drops what it knows hears of these and no others");

    // Published again, everything has the id that it had.
    let all = consumed(&shop);
    for order_id in [&first, &second, &third] {
        to_publish_again(&shop, json!({ "order_id": order_id })).await;
    }
    let now = chrono::Utc::now();
    let hour = chrono::TimeDelta::hours(1);
    to_publish_again(&shop, json!({ "from": now - hour, "until": now + hour })).await;
    assert_eq!(consumed(&shop), all);
    shop.close().await;
}

async fn to_publish_again(shop: &Shop, asked: Value) {
    let answer = shop.stack.invoke("republish", asked.to_string().into()).await.unwrap().unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["done"], true, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_deleted_are_put_back_while_orders_go_on() {
    let place = Place::find().await;
    let shop = place.open("").await;
    let (first, second) = (shop.create().await, shop.create().await);
    shop.pay(&first).await.expect(200);
    shop.ship(&first).await.expect(200);
    everything_arrives(&shop).await;
    let (known, before) = (consumed(&shop), stored(&shop).await);
    let restored = place.restore_events_of(&shop).await;
    delete(&shop, &first, 2).await;
    delete(&shop, &second, 1).await;
    assert_eq!(shop.deliver(&first).await.status, 500, "its events contradict each other");

    let looked = to_the_end(&shop, "restore-events", json!({ "from_table": restored, "dry_run": true })).await;
    assert_eq!((&looked["copied"], stored(&shop).await.len()), (&json!(2), 2), "{looked}");
    assert_eq!(copied_from(&shop, &restored).await["copied"], json!(2));
    assert_eq!(stored(&shop).await, before);
    shop.deliver(&first).await.expect(200);
    shop.pay(&second).await.expect(200);
    everything_arrives(&shop).await;
    assert_eq!(consumed(&shop).iter().filter(|(id, _)| known.contains_key(*id)).count(), known.len());
    shop.projected(&second, 2).await;
    shop.projected(&first, 4).await;
    assert_eq!(different(&shop).await, [0, 0]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_replaced_by_a_restored_one_and_what_came_after_it() {
    let place = Place::find().await;
    let shop = place.open("").await;
    let (first, second) = (shop.create().await, shop.create().await);
    shop.pay(&first).await.expect(200);
    let restored = place.restore_events_of(&shop).await;
    shop.ship(&first).await.expect(200);
    shop.pay(&second).await.expect(200);
    let third = shop.create().await;
    everything_arrives(&shop).await;
    let (known, all) = (consumed(&shop), stored(&shop).await);
    // A commit that was copied is gone, and one is altered.
    delete(&shop, &first, 1).await;
    alter(&shop, &second, 1).await;
    let damaged = events_table(&shop).name.clone();
    shop.close().await;

    let shop = place.open("2").await;
    assert_eq!(copied_from(&shop, &restored).await["copied"], json!(3));
    let rest = copied_from(&shop, &damaged).await;
    assert_eq!((&rest["copied"], &rest["left_out"], &rest["damaged"]), (&json!(2), &json!(2), &json!(1)), "{rest}");
    let parted = json!([{ "finding": "different", "stream_id": second, "version": 1 }]);
    assert_eq!(rest["findings"], parted, "what was decided on an altered event is for a person to look at");
    let lost = (second.clone(), 2, "OrderPaid".to_owned());
    assert_eq!(stored(&shop).await, all.into_iter().filter(|fact| *fact != lost).collect::<Vec<_>>());

    assert!(lower(&shop).await.iter().all(|rebuilt| rebuilt["removed"] == 0));
    assert_eq!(different(&shop).await, [0, 0]);
    shop.deliver(&first).await.expect(200);
    shop.pay(&third).await.expect(200);
    everything_arrives(&shop).await;
    assert_eq!(consumed(&shop).keys().filter(|id| !known.contains_key(*id)).count(), 2);
    shop.close().await;
}

async fn delete(shop: &Shop, order_id: &str, version: u64) {
    let delete = shop.stack.client().delete_item().table_name(&events_table(shop).name);
    let delete = delete.key("stream_id", AttributeValue::S(order_id.into()));
    delete.key("version", AttributeValue::N(version.to_string())).send().await.unwrap();
}

async fn alter(shop: &Shop, order_id: &str, version: u64) {
    let update = shop.stack.client().update_item().table_name(&events_table(shop).name);
    let update = update.key("stream_id", AttributeValue::S(order_id.into()));
    let update = update.key("version", AttributeValue::N(version.to_string()));
    let update =
        update.update_expression("SET events[0].#data.user_id = :other").expression_attribute_names("#data", "data");
    update.expression_attribute_values(":other", AttributeValue::S("mallory".into())).send().await.unwrap();
}
