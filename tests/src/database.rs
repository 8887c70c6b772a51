//! A DynamoDB for tests: embedded, or the one at `DYNAMODB_ENDPOINT`.

use std::collections::HashMap;
use std::sync::OnceLock;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::StreamId;
use orders_local::dynamodb::tables;
use orders_local::dynamodb::{Database, Storage, client};
use orders_local::template::{Table, Template, TemplateOptions, project_path};

/// Tables of the template, made for one test, under names that no other test has.
///
/// Without `DYNAMODB_ENDPOINT`, all tests of a process share one embedded database.
#[derive(Debug)]
pub struct TestTables {
    endpoint: String,
    tables: Vec<Table>,
}

impl TestTables {
    /// Makes the tables with these logical ids, empty.
    pub async fn create(logical_ids: &[&str]) -> Self {
        let prefix = format!("test-{}-", uuid::Uuid::new_v4());
        let options = TemplateOptions { prefix, ..TemplateOptions::default() };
        let template = Template::load(&project_path(), &options).expect("the project's template");
        let find = |id: &&str| template.table(id).unwrap_or_else(|| panic!("the template has no table {id}")).clone();
        let this = Self { endpoint: endpoint(), tables: logical_ids.iter().map(find).collect() };
        tables::create_all(&this.client(), &this.tables).await.expect("a database that makes tables");
        this
    }

    /// The name of a table in DynamoDB.
    pub fn name(&self, logical_id: &str) -> &str {
        let table = self.tables.iter().find(|table| table.logical_id == logical_id);
        &table.unwrap_or_else(|| panic!("table {logical_id} was not made")).name
    }

    /// Where the database is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client of the database itself, with nothing in between.
    pub fn client(&self) -> Client {
        client(&self.endpoint)
    }
}

impl Drop for TestTables {
    /// Leaves a database that was there before as it was.
    fn drop(&mut self) {
        if external().is_none() {
            return;
        }
        let (client, tables) = (self.client(), std::mem::take(&mut self.tables));
        let delete = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            for table in tables {
                drop(runtime.block_on(client.delete_table().table_name(table.name).send()));
            }
            std::io::Result::Ok(())
        };
        drop(std::thread::spawn(delete).join());
    }
}

/// Every item of a stream in an event table, read strongly and past the store.
pub async fn stream_items(client: &Client, table: &str, stream: &StreamId) -> Vec<HashMap<String, AttributeValue>> {
    let items = client
        .query()
        .table_name(table)
        .key_condition_expression("stream_id = :stream")
        .expression_attribute_values(":stream", AttributeValue::S(stream.to_string()))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    items.try_collect().await.expect("a database that answers")
}

fn external() -> Option<String> {
    std::env::var("DYNAMODB_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty())
}

fn endpoint() -> String {
    static EMBEDDED: OnceLock<Database> = OnceLock::new();
    let embedded = || Database::start(&Storage::Memory).expect("an embedded database");
    external().unwrap_or_else(|| EMBEDDED.get_or_init(embedded).endpoint().to_owned())
}
