//! A DynamoDB for tests: embedded, or the one at `DYNAMODB_ENDPOINT`.

use std::sync::OnceLock;

use aws_sdk_dynamodb::Client;
use dynamodb_testkit::proxy::Proxy;
use orders_local::dynamodb::tables;
use orders_local::dynamodb::{Database, Storage, client};
use orders_local::template::{Table, Template, TemplateOptions, project_path};

/// Tables of the template for one test, under names of its own.
#[derive(Debug)]
pub struct TestTables {
    endpoint: String,
    tables: Vec<Table>,
}

impl TestTables {
    /// Creates the tables with these logical ids, empty.
    pub async fn create(logical_ids: &[&str]) -> Self {
        let prefix = format!("test-{}-", uuid::Uuid::new_v4());
        let options = TemplateOptions { prefix, ..TemplateOptions::default() };
        let template = Template::load(&project_path(), &options).expect("the project's template");
        let find = |id: &&str| template.table(id).unwrap_or_else(|| panic!("the template has no table {id}")).clone();
        let this = Self { endpoint: endpoint(), tables: logical_ids.iter().map(find).collect() };
        tables::create_all(&this.client(), &this.tables).await.expect("the tables are created");
        this
    }

    /// The same, with a proxy for faults before the database. The tables' own client does not go through it.
    pub async fn create_behind_proxy(logical_ids: &[&str]) -> (Self, Proxy) {
        (Self::create(logical_ids).await, Proxy::start(endpoint()))
    }

    /// The name of a table in DynamoDB.
    pub fn name(&self, logical_id: &str) -> &str {
        let table = self.tables.iter().find(|table| table.logical_id == logical_id);
        &table.unwrap_or_else(|| panic!("the test has no table {logical_id}")).name
    }

    /// The address of the database.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client of the database.
    pub fn client(&self) -> Client {
        client(&self.endpoint)
    }
}

impl Drop for TestTables {
    /// Deletes the tables where the database outlives the process.
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

/// The database at `DYNAMODB_ENDPOINT`.
pub fn external() -> Option<String> {
    std::env::var("DYNAMODB_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty())
}

/// The address of the database of all tests in this process: the external one, or an embedded one that they share.
pub fn endpoint() -> String {
    static EMBEDDED: OnceLock<Database> = OnceLock::new();
    let embedded = || Database::start(&Storage::Memory).expect("the embedded database starts");
    external().unwrap_or_else(|| EMBEDDED.get_or_init(embedded).endpoint().to_owned())
}
