//! Rows made anew, compared and mended by the functions that do it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use orders_local::tables;
use orders_local::template::{Table, Template, TemplateOptions, project_path};
use orders_tests::database::TestTables;
use orders_tests::mass::{Lives, fill};
use orders_tests::shop::{Shop, until};
use serde_json::{Value, json};

use crate::sales::report_of_these_days;

/// Invokes a function, and answers what it answers.
pub async fn ask(shop: &Shop, function: &str, event: &Value) -> Value {
    let answer = shop.stack.invoke(function, event.to_string().into()).await.unwrap().unwrap();
    serde_json::from_slice(&answer).unwrap()
}

/// Gives the answer back until it is done.
async fn to_the_end(shop: &Shop, function: &str, mut run: Value) -> Value {
    loop {
        run = ask(shop, function, &run).await;
        if run["progress"]["done"] == true {
            return run["progress"].take();
        }
    }
}

fn whole() -> Value {
    json!({ "segment": 0, "total_segments": 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_whose_process_is_killed_goes_on_after_its_last_answer_and_starts_nothing_over() {
    let tables = TestTables::create(&[]).await;
    let reading = TemplateOptions { prefix: format!("test-{}-", uuid::Uuid::new_v4()), ..TemplateOptions::default() };
    let template = Template::load(&project_path(), &reading).unwrap();
    let (lives, events) = (Lives::live().await, template.table("OrderEvents").unwrap());
    // Three pages of commits.
    fill(&tables.client(), events, &lives, (700, 0)).await;
    let proxy = Proxy::start(tables.endpoint());
    let shop = Shop::open_as(|options| {
        options.reading = reading;
        options.dynamodb = Some(tables.endpoint().to_owned());
        let environment = BTreeMap::from([("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), proxy.endpoint().to_owned())]);
        options.function_environment.insert("rebuild-orders".into(), environment);
    })
    .await;
    let rows = &template.table("Orders").unwrap().name;
    let written = |calls: dynamodb_testkit::call_log::Calls| -> Vec<String> {
        let puts = calls.of("PutItem").on(rows);
        puts.0.iter().map(|call| call.body["Item"]["order_id"]["S"].as_str().unwrap().to_owned()).collect()
    };

    let first = ask(&shop, "rebuild-orders", &json!({ "segment": 0, "total_segments": 1, "seconds": 0 })).await;
    let done = first["progress"]["streams"].as_u64().unwrap();
    assert!((100..400).contains(&done) && first["progress"]["done"] == false, "{first}");
    let before: BTreeSet<String> = written(proxy.faults.take_calls()).into_iter().collect();
    assert_eq!(before.len() as u64, done);

    // Killed at the hundredth row of the second run: some rows are written, and nobody is told of it.
    let (victim, mut puts) = (shop.stack.containers("rebuild-orders").unwrap().clone(), 0);
    proxy.faults.plan(move |call| {
        puts += usize::from(call.operation == "PutItem");
        (puts == 100).then(|| {
            victim.crash();
            Fault::Hang
        })
    });
    let killed = shop.stack.invoke("rebuild-orders", first.to_string().into()).await.unwrap();
    assert!(killed.unwrap_err().to_string().contains("Runtime.ExitError"));
    proxy.faults.clear();
    let lost = written(proxy.faults.take_calls()).len();
    assert!((90..200).contains(&lost), "{lost}");

    let progress = to_the_end(&shop, "rebuild-orders", first).await;
    assert_eq!((&progress["streams"], &progress["events"]), (&json!(700), &json!(2_800)), "{progress}");
    let after = written(proxy.faults.take_calls());
    assert_eq!(after.len() as u64, 700 - done, "each order that was not told as done, once");
    assert!(after.iter().all(|order_id| !before.contains(order_id)), "an order was done that was told as done");
    let verified = to_the_end(&shop, "verify-orders", whole()).await;
    assert_eq!((&verified["streams"], &verified["different"]), (&json!(700), &json!(0)), "{verified}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_damaged_by_hand_is_found_and_mended_and_no_other_is_touched() {
    let shop = Shop::open().await;
    let (damaged, other) = (shop.create().await, shop.create().await);
    shop.pay(&damaged).await.expect(200);
    shop.projected(&damaged, 2).await;
    shop.projected(&other, 1).await;
    let before = shop.row(&damaged).await;
    let table = &shop.stack.template().table("Orders").unwrap().name;
    shop.stack
        .client()
        .update_item()
        .table_name(table)
        .key("order_id", AttributeValue::S(damaged.clone()))
        .update_expression("SET #total = :wrong")
        .expression_attribute_names("#total", "total")
        .expression_attribute_values(":wrong", AttributeValue::N("1".into()))
        .send()
        .await
        .unwrap();
    let seen = shop.get("customer", &format!("/orders/{damaged}")).await.expect(200);
    assert_eq!(seen.body["total"], json!(0.01), "{seen:?}");

    let found = to_the_end(&shop, "verify-orders", whole()).await;
    let difference = json!({ "difference": "attributes", "stream_id": damaged, "attributes": ["total"] });
    assert_eq!((&found["streams"], &found["differences"]), (&json!(2), &json!([difference])), "{found}");
    assert_ne!(shop.row(&damaged).await, before, "it only looks");

    let repaired = ask(&shop, "rebuild-orders", &json!({ "order_id": damaged })).await;
    assert_eq!(repaired, json!({ "order_id": damaged, "version": 2 }));
    assert_eq!(shop.row(&damaged).await, before);
    assert_eq!(to_the_end(&shop, "verify-orders", whole()).await["different"], json!(0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_made_in_a_new_table_beside_the_one_that_is_read() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    shop.pay(&order_id).await.expect(200);
    let rows = shop.stack.template().table("Orders").unwrap();
    // A name that the policies allow: the stack's, then `-rows-`.
    let new = Table { name: format!("local-rows-{}", uuid::Uuid::new_v4()), ..rows.clone() };
    tables::create(&shop.stack.client(), &new).await.unwrap();
    let into_new = json!({ "segment": 0, "total_segments": 1, "table": new.name });
    let found = to_the_end(&shop, "verify-orders", into_new.clone()).await;
    assert_eq!(found["differences"], json!([{ "difference": "missing", "stream_id": order_id }]));
    assert_eq!(to_the_end(&shop, "rebuild-orders", into_new.clone()).await["written"], json!(1));
    assert_eq!(to_the_end(&shop, "verify-orders", into_new).await["different"], json!(0));
    shop.close().await;
}

/// The sales of these days together.
async fn sales(shop: &Shop) -> Value {
    shop.get("admin", &report_of_these_days()).await.expect(200).body["total"].take()
}

/// Has an item of a table that the template names so changed by somebody who is no function.
async fn damage(shop: &Shop, table: &str, key: &[&str], change: &str, value: AttributeValue) {
    let client = shop.stack.client();
    let table = &shop.stack.template().table(table).unwrap().name;
    let items = client.scan().table_name(table).send().await.unwrap().items.unwrap();
    let item = &items[0];
    let key = key.iter().map(|name| ((*name).to_owned(), item[*name].clone())).collect();
    let update = client.update_item().table_name(table).set_key(Some(key)).update_expression(change);
    update.expression_attribute_values(":value", value).send().await.unwrap();
}

fn all_sales() -> Value {
    json!({ "model": "sales", "segment": 0, "total_segments": 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn sales_that_were_damaged_by_hand_are_found_and_mended_by_row_and_by_total() {
    let shop = Shop::open().await;
    let (kept, _) = (shop.create().await, shop.create().await);
    shop.pay(&kept).await.expect(200);
    until(async || {
        let sales = sales(&shop).await;
        (&sales["orders"]["paid"]["count"], &sales["orders"]["pending"]["count"]) == (&json!(1), &json!(1))
    })
    .await;
    let before = sales(&shop).await;
    let verified = to_the_end(&shop, "verify-orders", all_sales()).await;
    assert_eq!((&verified["streams"], &verified["different"]), (&json!(2), &json!(0)), "{verified}");

    let another_day = AttributeValue::S("2001-01-01".into());
    damage(&shop, "SalesOrders", &["order_id"], "SET created_on = :value", another_day).await;
    let found = to_the_end(&shop, "verify-orders", all_sales()).await;
    let difference = &found["differences"][0];
    assert_eq!((&difference["difference"], &difference["attributes"]), (&json!("attributes"), &json!(["created_on"])));
    assert_eq!(found["different"], json!(1), "{found}");
    let rebuilt = to_the_end(&shop, "rebuild-orders", all_sales()).await;
    assert_eq!((&rebuilt["written"], &rebuilt["right"]), (&json!(1), &json!(1)), "{rebuilt}");

    // A row that forgets what it added to the totals adds it once more when it is made anew.
    let nothing = AttributeValue::M([].into());
    damage(&shop, "SalesOrders", &["order_id"], "SET counted = :value", nothing).await;
    let found = to_the_end(&shop, "verify-orders", all_sales()).await;
    assert_eq!(found["different"], json!(2), "the row and the total: {found}");
    let rebuilt = to_the_end(&shop, "rebuild-orders", all_sales()).await;
    assert_eq!((&rebuilt["written"], &rebuilt["corrected"]), (&json!(1), &json!(1)), "{rebuilt}");
    assert_eq!(sales(&shop).await, before);

    let seven = AttributeValue::N("7".into());
    damage(&shop, "SalesTotals", &["shard", "name"], "ADD refunds :value", seven).await;
    assert_eq!(sales(&shop).await["refunds"]["count"], json!(7));
    let found = to_the_end(&shop, "verify-orders", all_sales()).await;
    assert_eq!((&found["differences"][0]["difference"], &found["different"]), (&json!("total"), &json!(1)), "{found}");
    let rebuilt = to_the_end(&shop, "rebuild-orders", all_sales()).await;
    assert_eq!((&rebuilt["written"], &rebuilt["corrected"]), (&json!(0), &json!(1)), "{rebuilt}");
    assert_eq!(sales(&shop).await, before);
    assert_eq!(to_the_end(&shop, "verify-orders", all_sales()).await["different"], json!(0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sales_follow_their_events_back_after_a_restore() {
    let shop = Shop::open().await;
    let shorter = shop.create().await;
    until(async || sales(&shop).await["orders"]["pending"]["count"] == 1).await;
    let before = sales(&shop).await;
    let gone = shop.create().await;
    shop.pay(&shorter).await.expect(200);
    until(async || {
        let sales = sales(&shop).await;
        (&sales["orders"]["paid"]["count"], &sales["orders"]["pending"]["count"]) == (&json!(1), &json!(1))
    })
    .await;
    let events = &shop.stack.template().table("OrderEvents").unwrap().name;
    for (order_id, version) in [(&shorter, 2), (&gone, 1)] {
        let delete = shop.stack.client().delete_item().table_name(events);
        let delete = delete.key("stream_id", AttributeValue::S(order_id.clone()));
        delete.key("version", AttributeValue::N(version.to_string())).send().await.unwrap();
    }
    assert_eq!(to_the_end(&shop, "verify-orders", all_sales()).await["different"], json!(2));
    let mut after_restore = all_sales();
    after_restore["after_restore"] = true.into();
    let rebuilt = to_the_end(&shop, "rebuild-orders", after_restore).await;
    let ends = ["lowered", "removed", "corrected"].map(|end| &rebuilt[end]);
    assert_eq!(ends, [&json!(1), &json!(1), &json!(0)], "{rebuilt}");
    assert_eq!(sales(&shop).await, before);
    assert_eq!(to_the_end(&shop, "verify-orders", all_sales()).await["different"], json!(0));
    shop.close().await;
}
