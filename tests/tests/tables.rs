//! The tables that the template declares: the libraries create the same ones, and stored events stay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by a panic")]

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, TableDescription};
use dynamodb_event_store::projection;
use orders_tests::database::TestTables;
use orders_tests::shop::Shop;

/// The key, attributes, billing and stream of a table.
fn shape(table: &TableDescription) -> String {
    let mut attributes = table.attribute_definitions().to_vec();
    attributes.sort_by_key(|attribute| attribute.attribute_name.clone());
    let (keys, billing) = (table.key_schema(), table.billing_mode_summary().and_then(|mode| mode.billing_mode()));
    let stream = table.stream_specification().and_then(|stream| stream.stream_view_type());
    format!("{keys:?} {attributes:?} {billing:?} {stream:?}")
}

async fn described(client: &Client, name: &str) -> String {
    let described = client.describe_table().table_name(name).send().await.unwrap();
    shape(described.table().unwrap())
}

#[tokio::test]
async fn the_libraries_create_the_tables_that_the_template_declares() {
    let tables =
        TestTables::create(&["OrderEvents", "SalesTotals", "ReadModelBacklog", "RateLimits", "CircuitBreakers"]).await;
    let client = tables.client();
    let create: [(&str, CreateTableFluentBuilder); 5] = [
        ("OrderEvents", dynamodb_event_store::create_table(&client, "events").unwrap()),
        ("SalesTotals", projection::create_totals_table(&client, "totals").unwrap()),
        ("ReadModelBacklog", projection::create_backlog_table(&client, "backlog").unwrap()),
        ("RateLimits", dynamodb_rate_limit::create_table(&client, "limits").unwrap()),
        ("CircuitBreakers", dynamodb_circuit_breaker::create_table(&client, "breakers").unwrap()),
    ];
    for (logical_id, request) in create {
        let name = format!("test-{}", uuid::Uuid::new_v4());
        request.table_name(&name).send().await.unwrap();
        assert_eq!(described(&client, &name).await, described(&client, tables.name(logical_id)).await, "{logical_id}");
        client.delete_table().table_name(&name).send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_break_glass_role_may_alter_stored_events() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let events = shop.table("OrderEvents");
    let delete = async |client: &Client| {
        let delete = client.delete_item().table_name(events).key("stream_id", AttributeValue::S(order_id.clone()));
        delete.key("version", AttributeValue::N("1".into())).send().await
    };
    let administrator = shop.stack.client();
    let denied = delete(&administrator).await.unwrap_err().into_service_error();
    assert_eq!(denied.code(), Some("AccessDeniedException"));
    assert!(denied.message().unwrap().contains("explicit deny in a resource-based policy"), "{denied:?}");
    let dropped = administrator.delete_table().table_name(events).send().await.unwrap_err().into_service_error();
    assert_eq!(dropped.code(), Some("AccessDeniedException"));
    let statement = format!("DELETE FROM \"{events}\" WHERE stream_id = '{order_id}' AND version = 1");
    let statement = administrator.execute_statement().statement(statement).send().await;
    assert_eq!(statement.unwrap_err().into_service_error().code(), Some("AccessDeniedException"));
    delete(&shop.break_glass()).await.unwrap();
    shop.close().await;
}
