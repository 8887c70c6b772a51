//! What is visible from outside after a run.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::TimeDelta;
use serde_json::{Value, json};
use service_clock::Timestamp;

use super::Run;
use super::client::{Exchange, Read};
use super::clients::OWNERS;
use super::operator::progress;
use super::producers::Sent;
use super::provider::Books;
use super::server::EXPIRY_HOURS;
use crate::ledger::Item;

/// The statuses of the work queue.
pub const QUEUES: [&str; 3] = ["pending", "paid", "shipped"];

/// The evidence.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// All commands to the API.
    pub exchanges: Vec<Exchange>,
    /// What was read after them.
    pub reads: Vec<Read>,
    /// All events that the payment provider and the carrier sent.
    pub sent: Vec<Sent>,
    /// The payment provider's books.
    pub books: Books,
    /// The items of the event table, in the order of their keys.
    pub commits: Vec<Item>,
    /// The journal of the bus.
    pub log: Vec<Value>,
    /// The items of the rows' table.
    pub rows: Vec<Item>,
    /// The lists of the owners, by their subjects.
    pub lists: BTreeMap<String, Vec<Value>>,
    /// The work queues, by status.
    pub queues: BTreeMap<String, Vec<Value>>,
    /// The sum of the sales report.
    pub sales: Value,
    /// What `verify-orders` found, by read model.
    pub verified: BTreeMap<String, Value>,
    /// The operational status.
    pub status: Value,
    /// The messages in the dead-letter queues.
    pub dead_letters: BTreeMap<String, Value>,
    /// Orders that were created before have expired.
    pub expired_before: String,
    /// The files with failed batches, and temporary files.
    pub files: Vec<String>,
}

/// Collects it.
pub async fn collect(run: &Run) -> Evidence {
    let read = async |caller, path: &str| run.client.read(caller, path).await;
    let mut evidence = Evidence {
        exchanges: run.client.exchanges(),
        reads: run.client.reads(),
        sent: run.producers.sent(),
        books: run.producers.provider.books(),
        commits: commits(run).await,
        log: bus_log(&run.stack.data),
        rows: items(run, "Orders").await,
        status: read("admin", "/ops/status").await,
        expired_before: expired_before(),
        ..Evidence::default()
    };
    for owner in OWNERS {
        let sub = run.client.sub(owner);
        let list = pages(run, owner, &format!("/users/{sub}/orders?limit=100")).await;
        evidence.lists.insert(sub, list);
    }
    for status in QUEUES {
        let queue = pages(run, "fulfilment", &format!("/orders?status={status}&limit=100")).await;
        evidence.queues.insert(status.to_owned(), queue);
    }
    for model in ["orders", "sales"] {
        let found = progress(run, "verify-orders", model).await;
        evidence.verified.insert(model.to_owned(), found.unwrap_or_default());
    }
    let today = chrono::Utc::now().date_naive();
    let (from, to) = (today - chrono::Days::new(3), today + chrono::Days::new(1));
    evidence.sales = read("admin", &format!("/reports/sales?from={from}&to={to}")).await["total"].take();
    let queues = read("admin", "/dev/queues").await;
    evidence.dead_letters = serde_json::from_value(queues).expect("queues");
    evidence.files = ["failures", "tmp"].iter().flat_map(|directory| files(&run.stack.data.join(directory))).collect();
    evidence
}

/// The items of the event table, in the order of their keys.
pub async fn commits(run: &Run) -> Vec<Item> {
    let mut commits = items(run, "OrderEvents").await;
    commits.sort_by_cached_key(|commit| {
        let version: u64 = commit["version"]["N"].as_str().and_then(|version| version.parse().ok()).unwrap_or_default();
        (commit["stream_id"]["S"].as_str().unwrap_or_default().to_owned(), version)
    });
    commits
}

/// Unpaid orders that were created before have to expire.
pub fn expired_before() -> String {
    (Timestamp::now() - TimeDelta::hours(i64::from(EXPIRY_HOURS))).to_string()
}

/// All items of a table.
async fn items(run: &Run, table: &str) -> Vec<Item> {
    let client = orders_local::dynamodb::client(run.stack.description()["dynamodb"].as_str().expect("an address"));
    let scan = client.scan().table_name(run.stack.table(table)).consistent_read(true).into_paginator().items().send();
    let items = scan.try_collect().await.expect("the items");
    let item = |item| match json!(serde_dynamo::Item::from(item)) {
        Value::Object(item) => item,
        other => panic!("not an item: {other}"),
    };
    items.into_iter().map(item).collect()
}

async fn pages(run: &Run, caller: &str, path: &str) -> Vec<Value> {
    let (mut orders, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = run.client.read(caller, &format!("{path}{cursor}")).await;
        orders.append(page["orders"].as_array_mut().expect("orders"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return orders,
        }
    }
}

/// The journal of the bus so far.
pub fn bus_log(data: &Path) -> Vec<Value> {
    let log = std::fs::read_to_string(data.join("bus.jsonl")).unwrap_or_default();
    // A killed process may leave half a line.
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The events in a journal that come from the orders.
pub fn events_on_the_bus(log: &[Value]) -> impl Iterator<Item = &Value> {
    log.iter()
        .filter(|entry| entry["kind"] == "event")
        .map(|entry| &entry["event"])
        .filter(|event| event["source"] == "orders")
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let below = |entry: std::fs::DirEntry| match entry.path() {
        directory if directory.is_dir() => files(&directory),
        file => vec![file.display().to_string()],
    };
    entries.flat_map(below).collect()
}
