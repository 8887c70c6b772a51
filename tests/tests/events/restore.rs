//! A lost or damaged event table is restored as `docs/restore.md` says.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use orders_local::dynamodb::tables;
use orders_local::template::Table;
use orders_tests::commits;
use orders_tests::database::endpoint;
use orders_tests::shop::Shop;
use serde_json::{Value, json};

use crate::consumer::{Fact, consumed, everything_arrives, stored};

/// A deployment: successive stacks have the same tables, but for the event table of their epoch.
struct Deployment {
    prefix: String,
}

impl Deployment {
    fn new() -> Self {
        // Names of event tables begin as CloudFormation's do: the function may read former tables of the stack.
        Self { prefix: format!("local-OrderEvents-{}-", uuid::Uuid::new_v4()) }
    }

    async fn open(&self, epoch: &str) -> Shop {
        Shop::open_as(|options| {
            options.dynamodb = Some(endpoint());
            options.reading.prefix.clone_from(&self.prefix);
            options.reading.parameters.insert("EventEpoch".into(), epoch.into());
        })
        .await
    }

    /// A stack with two orders, of which one is paid; and a copy of its events.
    async fn two_orders(&self) -> (Shop, String, String, String) {
        let shop = self.open("").await;
        let (paid, pending) = (shop.create().await, shop.create().await);
        shop.pay(&paid).await.expect(200);
        let restored = self.restore_events_of(&shop).await;
        (shop, restored, paid, pending)
    }

    /// Creates what a point-in-time restore to this moment does: a table with the items and without a stream. The function
    /// may read a table of this name.
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

async fn copy_from(shop: &Shop, table: &str) -> Value {
    shop.invoke_to_the_end("restore-events", json!({ "from_table": table })).await
}

/// The read models: rows of orders, and sales.
const MODELS: [&str; 2] = ["orders", "sales"];

/// The number of rows of each read model that differ from their events.
async fn different(shop: &Shop) -> Vec<Value> {
    let verify = |model| json!({ "model": model, "segment": 0, "total_segments": 1 });
    let verified = join_all(MODELS.map(|model| shop.invoke_to_the_end("verify-orders", verify(model)))).await;
    verified.into_iter().map(|mut verified| verified["different"].take()).collect()
}

/// Lowers the rows of each read model to their events; returns the progress of each rebuild.
async fn lower(shop: &Shop) -> Vec<Value> {
    let rebuild = |model| json!({ "model": model, "segment": 0, "total_segments": 1, "after_restore": true });
    join_all(MODELS.map(|model| shop.invoke_to_the_end("rebuild-orders", rebuild(model)))).await
}

async fn create_as(shop: &Shop, key: &str) -> String {
    let created = shop.post_with("storefront", "/orders", shop.basket(), &[("idempotency-key", key)]).await.expect(201);
    assert_eq!(created.header("idempotency-replayed"), None);
    created.body["order_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_event_table_is_restored_and_later_events_are_new_to_every_consumer() {
    let deployment = Deployment::new();
    let (shop, restored, first, second) = deployment.two_orders().await;
    // The next events will be lost: the newest of two orders, and all of a third order.
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
    shop.break_glass().delete_table().table_name(&events_table(&shop).name).send().await.unwrap();
    shop.close().await;

    // A stack with another epoch has a new, empty event table, and the same rows.
    let shop = deployment.open("2").await;
    let copied = copy_from(&shop, &restored).await;
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

    // The same versions again: another event, the same event later, and a lost request repeated with its key.
    shop.cancel("customer", &second).await.expect(200);
    shop.ship(&first).await.expect(200);
    assert_eq!(create_as(&shop, "cart-3").await, third);
    for (order_id, version) in [(&first, 3), (&second, 2), (&third, 1)] {
        shop.projected(order_id, version).await;
    }
    assert_eq!(different(&shop).await, [0, 0], "the rows are up to date");
    everything_arrives(&shop).await;
    let new = || -> BTreeSet<Fact> {
        consumed(&shop).into_iter().filter(|(id, _)| !known.contains_key(id)).map(|(_, fact)| fact).collect()
    };
    let fact = |order_id: &str, version, name: &str| (order_id.to_owned(), version, name.to_owned());
    let news = [fact(&first, 3, "OrderShipped"), fact(&second, 2, "OrderCancelled"), fact(&third, 1, "OrderCreated")];
    assert_eq!(new(), news.into(), "a consumer that drops repeats receives these");

    // Republished events have the same ids.
    let all = consumed(&shop);
    for order_id in [&first, &second, &third] {
        republish(&shop, json!({ "order_id": order_id })).await;
    }
    let now = chrono::Utc::now();
    let hour = chrono::TimeDelta::hours(1);
    republish(&shop, json!({ "from": now - hour, "until": now + hour })).await;
    assert_eq!(consumed(&shop), all);
    shop.close().await;
}

async fn republish(shop: &Shop, request: Value) {
    let republished = shop.invoke("republish", &request).await;
    assert_eq!(republished["done"], true, "{republished}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_events_are_restored_while_commands_continue() {
    let deployment = Deployment::new();
    let shop = deployment.open("").await;
    let (first, second) = (shop.create().await, shop.create().await);
    shop.pay(&first).await.expect(200);
    shop.ship(&first).await.expect(200);
    everything_arrives(&shop).await;
    let (known, before) = (consumed(&shop), stored(&shop).await);
    let restored = deployment.restore_events_of(&shop).await;
    delete(&shop, &first, 2).await;
    delete(&shop, &second, 1).await;
    assert_eq!(shop.deliver(&first).await.status, 500, "an event is missing");

    let dry_run = json!({ "from_table": restored, "dry_run": true });
    let dry_run = shop.invoke_to_the_end("restore-events", dry_run).await;
    assert_eq!((&dry_run["copied"], stored(&shop).await.len()), (&json!(2), 2), "{dry_run}");
    assert_eq!(copy_from(&shop, &restored).await["copied"], json!(2));
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
async fn a_damaged_event_table_is_replaced_by_a_restored_one_and_the_later_events() {
    let deployment = Deployment::new();
    let (shop, restored, first, second) = deployment.two_orders().await;
    shop.ship(&first).await.expect(200);
    shop.pay(&second).await.expect(200);
    let third = shop.create().await;
    everything_arrives(&shop).await;
    let (known, all) = (consumed(&shop), stored(&shop).await);
    // One of the restored commits is deleted, and one is altered.
    delete(&shop, &first, 1).await;
    alter(&shop, &second, 1).await;
    let damaged = events_table(&shop).name.clone();
    shop.close().await;

    let shop = deployment.open("2").await;
    assert_eq!(copy_from(&shop, &restored).await["copied"], json!(3));
    let rest = copy_from(&shop, &damaged).await;
    assert_eq!((&rest["copied"], &rest["left_out"], &rest["damaged"]), (&json!(2), &json!(2), &json!(1)), "{rest}");
    let findings = json!([{ "finding": "different", "stream_id": second, "version": 1 }]);
    assert_eq!(rest["findings"], findings, "events after an altered one are left to an operator");
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
    commits::delete(&shop.break_glass(), shop.table("OrderEvents"), order_id, version).await;
}

async fn alter(shop: &Shop, order_id: &str, version: u64) {
    let update = shop.break_glass().update_item().table_name(&events_table(shop).name);
    let update = update.key("stream_id", AttributeValue::S(order_id.into()));
    let update = update.key("version", AttributeValue::N(version.to_string()));
    let update =
        update.update_expression("SET events[0].#data.user_id = :other").expression_attribute_names("#data", "data");
    update.expression_attribute_values(":other", AttributeValue::S("mallory".into())).send().await.unwrap();
}
