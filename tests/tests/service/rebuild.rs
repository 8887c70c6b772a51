//! The functions that rebuild, verify and repair rows.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_testkit::call_log::Calls;
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::wait::until;
use orders_local::dynamodb;
use orders_local::dynamodb::tables;
use orders_local::template::{Table, Template, TemplateOptions, project_path};
use orders_tests::commits;
use orders_tests::database::endpoint;
use orders_tests::mass::{SampleOrders, fill};
use orders_tests::shop::Shop;
use serde_json::{Value, json};

use crate::sales::report_of_these_days;

fn whole() -> Value {
    json!({ "segment": 0, "total_segments": 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_whose_process_is_killed_continues_after_its_last_response() {
    let reading = TemplateOptions { prefix: format!("test-{}-", uuid::Uuid::new_v4()), ..TemplateOptions::default() };
    let template = Template::load(&project_path(), &reading).unwrap();
    let (samples, events) = (SampleOrders::store().await, template.table("OrderEvents").unwrap());
    // Three pages of commits.
    fill(&dynamodb::client(&endpoint()), events, &samples, (700, 0)).await;
    let (shop, proxy) = Shop::open_behind_proxy(&["rebuild-orders"], |options| options.reading = reading).await;
    let written = |calls: Calls| -> Vec<String> {
        let puts = calls.of("PutItem").on(shop.table("Orders")).filter(|call| call.attempt == 1);
        puts.0.iter().map(|call| call.body["Item"]["order_id"]["S"].as_str().unwrap().to_owned()).collect()
    };

    let first = shop.invoke("rebuild-orders", &json!({ "segment": 0, "total_segments": 1, "seconds": 0 })).await;
    let done = first["progress"]["streams"].as_u64().unwrap();
    assert!((100..400).contains(&done) && first["progress"]["done"] == false, "{first}");
    let before: BTreeSet<String> = written(proxy.faults.take_calls()).into_iter().collect();
    assert_eq!(before.len() as u64, done);

    // Killed at the hundredth row of the second run: the progress of that run is lost.
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
    let unreported = written(proxy.faults.take_calls()).len();
    assert!((90..200).contains(&unreported), "{unreported}");

    let progress = shop.invoke_to_the_end("rebuild-orders", first).await;
    assert_eq!((&progress["streams"], &progress["events"]), (&json!(700), &json!(2_800)), "{progress}");
    let after = written(proxy.faults.take_calls());
    assert_eq!(after.len() as u64, 700 - done, "the other orders, once each");
    assert!(after.iter().all(|order_id| !before.contains(order_id)), "an order was rebuilt twice");
    let verified = shop.invoke_to_the_end("verify-orders", whole()).await;
    assert_eq!((&verified["streams"], &verified["different"]), (&json!(700), &json!(0)), "{verified}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_found_by_verification_and_repaired() {
    let shop = Shop::open().await;
    let (damaged, other) = (shop.create().await, shop.create().await);
    shop.pay(&damaged).await.expect(200);
    shop.projected(&damaged, 2).await;
    shop.projected(&other, 1).await;
    let before = shop.row(&damaged).await;
    shop.stack
        .client()
        .update_item()
        .table_name(shop.table("Orders"))
        .key("order_id", AttributeValue::S(damaged.clone()))
        .update_expression("SET #total = :wrong")
        .expression_attribute_names("#total", "total")
        .expression_attribute_values(":wrong", AttributeValue::N("1".into()))
        .send()
        .await
        .unwrap();
    let seen = shop.get("customer", &format!("/orders/{damaged}")).await.expect(200);
    assert_eq!(seen.body["total"], json!(0.01), "{seen:?}");

    let found = shop.invoke_to_the_end("verify-orders", whole()).await;
    let difference = json!({ "difference": "attributes", "stream_id": damaged, "attributes": ["total"] });
    assert_eq!((&found["streams"], &found["differences"]), (&json!(2), &json!([difference])), "{found}");
    assert_ne!(shop.row(&damaged).await, before, "verification changes nothing");

    let repaired = shop.invoke("rebuild-orders", &json!({ "order_id": damaged })).await;
    assert_eq!(repaired, json!({ "order_id": damaged, "version": 2 }));
    assert_eq!(shop.row(&damaged).await, before);
    assert_eq!(shop.invoke_to_the_end("verify-orders", whole()).await["different"], json!(0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_rebuilt_in_a_new_table() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    shop.pay(&order_id).await.expect(200);
    let rows = shop.stack.template().table("Orders").unwrap();
    // The policies allow names that begin with the stack's and `-rows-`.
    let new = Table { name: format!("local-rows-{}", uuid::Uuid::new_v4()), ..rows.clone() };
    tables::create(&shop.stack.client(), &new).await.unwrap();
    let into_new = json!({ "segment": 0, "total_segments": 1, "table": new.name });
    let found = shop.invoke_to_the_end("verify-orders", into_new.clone()).await;
    assert_eq!(found["differences"], json!([{ "difference": "missing", "stream_id": order_id }]));
    assert_eq!(shop.invoke_to_the_end("rebuild-orders", into_new.clone()).await["written"], json!(1));
    assert_eq!(shop.invoke_to_the_end("verify-orders", into_new).await["different"], json!(0));
    shop.close().await;
}

/// The totals of the sales report.
async fn sales(shop: &Shop) -> Value {
    shop.get("admin", &report_of_these_days()).await.expect(200).body["total"].take()
}

/// Waits until the report counts these orders.
async fn sold(shop: &Shop, paid: u32, pending: u32) {
    let what = format!("{paid} paid and {pending} pending orders in the sales report");
    until(&what, async || {
        let orders = sales(shop).await["orders"].take();
        (&orders["paid"]["count"], &orders["pending"]["count"]) == (&json!(paid), &json!(pending))
    })
    .await;
}

/// Changes an item of a table directly.
async fn damage(shop: &Shop, table: &str, key: &[&str], change: &str, value: AttributeValue) {
    let (client, table) = (shop.stack.client(), shop.table(table));
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
async fn damaged_sales_are_found_by_verification_and_rebuilt_by_row_and_by_total() {
    let shop = Shop::open().await;
    let (paid, _) = (shop.create().await, shop.create().await);
    shop.pay(&paid).await.expect(200);
    sold(&shop, 1, 1).await;
    let before = sales(&shop).await;
    let verified = shop.invoke_to_the_end("verify-orders", all_sales()).await;
    assert_eq!((&verified["streams"], &verified["different"]), (&json!(2), &json!(0)), "{verified}");

    let another_day = AttributeValue::S("2001-01-01".into());
    damage(&shop, "SalesOrders", &["order_id"], "SET created_on = :value", another_day).await;
    let found = shop.invoke_to_the_end("verify-orders", all_sales()).await;
    let difference = &found["differences"][0];
    assert_eq!((&difference["difference"], &difference["attributes"]), (&json!("attributes"), &json!(["created_on"])));
    assert_eq!(found["different"], json!(1), "{found}");
    let rebuilt = shop.invoke_to_the_end("rebuild-orders", all_sales()).await;
    assert_eq!((&rebuilt["written"], &rebuilt["right"]), (&json!(1), &json!(1)), "{rebuilt}");

    // A row without the record of what it added to the totals adds it again in a rebuild.
    let nothing = AttributeValue::M([].into());
    damage(&shop, "SalesOrders", &["order_id"], "SET counted = :value", nothing).await;
    let found = shop.invoke_to_the_end("verify-orders", all_sales()).await;
    assert_eq!(found["different"], json!(2), "the row and the total: {found}");
    let rebuilt = shop.invoke_to_the_end("rebuild-orders", all_sales()).await;
    assert_eq!((&rebuilt["written"], &rebuilt["corrected"]), (&json!(1), &json!(1)), "{rebuilt}");
    assert_eq!(sales(&shop).await, before);

    let seven = AttributeValue::N("7".into());
    damage(&shop, "SalesTotals", &["shard", "name"], "ADD refunds :value", seven).await;
    assert_eq!(sales(&shop).await["refunds"]["count"], json!(7));
    let found = shop.invoke_to_the_end("verify-orders", all_sales()).await;
    assert_eq!((&found["differences"][0]["difference"], &found["different"]), (&json!("total"), &json!(1)), "{found}");
    let rebuilt = shop.invoke_to_the_end("rebuild-orders", all_sales()).await;
    assert_eq!((&rebuilt["written"], &rebuilt["corrected"]), (&json!(0), &json!(1)), "{rebuilt}");
    assert_eq!(sales(&shop).await, before);
    assert_eq!(shop.invoke_to_the_end("verify-orders", all_sales()).await["different"], json!(0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sales_are_lowered_to_their_events_after_a_restore() {
    let shop = Shop::open().await;
    let shorter = shop.create().await;
    sold(&shop, 0, 1).await;
    let before = sales(&shop).await;
    let gone = shop.create().await;
    shop.pay(&shorter).await.expect(200);
    sold(&shop, 1, 1).await;
    for (order_id, version) in [(&shorter, 2), (&gone, 1)] {
        commits::delete(&shop.break_glass(), shop.table("OrderEvents"), order_id, version).await;
    }
    assert_eq!(shop.invoke_to_the_end("verify-orders", all_sales()).await["different"], json!(2));
    let mut after_restore = all_sales();
    after_restore["after_restore"] = true.into();
    let rebuilt = shop.invoke_to_the_end("rebuild-orders", after_restore).await;
    let ends = ["lowered", "removed", "corrected"].map(|end| &rebuilt[end]);
    assert_eq!(ends, [&json!(1), &json!(1), &json!(0)], "{rebuilt}");
    assert_eq!(sales(&shop).await, before);
    assert_eq!(shop.invoke_to_the_end("verify-orders", all_sales()).await["different"], json!(0));
    shop.close().await;
}
