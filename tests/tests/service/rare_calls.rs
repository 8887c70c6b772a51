//! Calls that functions make only in trouble: their policies must allow these too.

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use dynamodb_testkit::wait::until;
use orders_local::dynamodb::tables;
use orders_local::template::Table;
use orders_tests::database::TestTables;
use orders_tests::shop::Shop;
use serde_json::json;

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn table<'a>(shop: &'a Shop, logical_id: &str) -> &'a Table {
    shop.stack.template().table(logical_id).unwrap()
}

async fn delete_row(shop: &Shop, logical_id: &str, order_id: &str) {
    let delete = shop.stack.client().delete_item().table_name(&table(shop, logical_id).name);
    delete.key("order_id", text(order_id)).send().await.unwrap();
}

/// The version of an order's row in a read model.
async fn version(shop: &Shop, logical_id: &str, order_id: &str) -> Option<String> {
    let get = shop.stack.client().get_item().table_name(&table(shop, logical_id).name);
    let row = get.key("order_id", text(order_id)).send().await.unwrap().item?;
    row["version"].as_n().ok().cloned()
}

/// Has a row look as it did before its newest event, and the backlog say so.
async fn fall_behind(shop: &Shop, model: &str, rows: &str, order_id: &str) {
    let client = shop.stack.client();
    let set = client.update_item().table_name(&table(shop, rows).name).key("order_id", text(order_id));
    let set = set.update_expression("SET #version = :one").expression_attribute_names("#version", "version");
    set.expression_attribute_values(":one", AttributeValue::N("1".into())).send().await.unwrap();
    let note = client.put_item().table_name(&table(shop, "ReadModelBacklog").name).item("model", text(model));
    let note = note.item("stream_id", text(order_id)).item("version", AttributeValue::N("2".into()));
    note.send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_write_is_never_answered_is_found_in_the_event_table() {
    let tables = TestTables::create(&[]).await;
    let proxy = Proxy::start(tables.endpoint());
    let shop = Shop::open_as(|options| options.dynamodb = Some(proxy.endpoint().to_owned())).await;
    proxy.faults.plan(|call| (call.operation == "PutItem").then_some(Fault::LoseResponse));
    let created = shop.post("storefront", "/orders", shop.basket()).await.expect(201);
    proxy.faults.clear();
    assert_eq!(created.version(), 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_gone_are_made_anew_by_the_next_event() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    for rows in ["Orders", "SalesOrders"] {
        until("the row to be written", async || version(&shop, rows, &order_id).await.is_some()).await;
        delete_row(&shop, rows, &order_id).await;
    }
    shop.pay(&order_id).await.expect(200);
    for rows in ["Orders", "SalesOrders"] {
        until("the row to be recreated", async || version(&shop, rows, &order_id).await.as_deref() == Some("2")).await;
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_read_models_catch_up_whether_the_row_is_behind_or_gone() {
    let shop = Shop::open().await;
    let (behind, gone) = (shop.create().await, shop.create().await);
    let models = [("orders", "Orders"), ("sales", "SalesOrders")];
    for order_id in [&behind, &gone] {
        shop.pay(order_id).await.expect(200);
        for (model, rows) in models {
            until("the row of the payment", async || version(&shop, rows, order_id).await.as_deref() == Some("2"))
                .await;
            fall_behind(&shop, model, rows, order_id).await;
        }
    }
    for (_, rows) in models {
        delete_row(&shop, rows, &gone).await;
    }
    let caught_up = shop.invoke("catch-up-read-models", &json!({})).await;
    for (model, rows) in models {
        assert_eq!(caught_up[model], json!({ "done": 2, "parked": 0, "failed": 0, "left": 0 }), "{caught_up}");
        for order_id in [&behind, &gone] {
            assert_eq!(version(&shop, rows, order_id).await.as_deref(), Some("2"));
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_table_of_rows_loses_the_rows_of_orders_that_a_restore_took_back() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let new = Table { name: format!("local-rows-{}", uuid::Uuid::new_v4()), ..table(&shop, "Orders").clone() };
    tables::create(&shop.stack.client(), &new).await.unwrap();
    let put = shop.stack.client().put_item().table_name(&new.name).item("version", AttributeValue::N("1".into()));
    put.item("order_id", text(&uuid::Uuid::new_v4().to_string())).send().await.unwrap();
    let run = json!({ "segment": 0, "total_segments": 1, "table": new.name, "after_restore": true });
    let rebuilt = shop.invoke_to_the_end("rebuild-orders", run).await;
    assert_eq!((&rebuilt["written"], &rebuilt["removed"]), (&json!(1), &json!(1)), "{order_id}: {rebuilt}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_copied_from_the_event_table_of_a_former_epoch() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let events = table(&shop, "OrderEvents");
    let former = Table { name: format!("local-events-{}", uuid::Uuid::new_v4()), stream: None, ..events.clone() };
    let client = shop.stack.client();
    tables::create(&client, &former).await.unwrap();
    for item in client.scan().table_name(&events.name).send().await.unwrap().items.unwrap() {
        client.put_item().table_name(&former.name).set_item(Some(item)).send().await.unwrap();
    }
    let break_glass = shop.break_glass();
    let delete = break_glass.delete_item().table_name(&events.name).key("stream_id", text(&order_id));
    delete.key("version", AttributeValue::N("1".into())).send().await.unwrap();
    let copied = shop.invoke_to_the_end("restore-events", json!({ "from_table": former.name })).await;
    assert_eq!(copied["copied"], json!(1), "{copied}");
    shop.close().await;
}
