//! A shop with many orders, of which the functions themselves stored the first few.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, StreamSpecification, WriteRequest};
use futures::{StreamExt, TryStreamExt, stream};
use orders_local::dynamodb::tables;
use orders_local::template::Table;
use serde_json::json;
use uuid::Uuid;

use crate::shop::Shop;

/// An item of a table.
pub type Item = HashMap<String, AttributeValue>;

/// How many requests fill a table at once.
const IN_FLIGHT: usize = 4;
/// The most items that a `BatchWriteItem` takes (DynamoDB API reference).
const BATCH: usize = 25;

/// The stored commits of a few orders, which others are copied from.
pub struct Lives {
    /// Of four events each: one that is delivered, and one that is cancelled after it was paid.
    pub whole: [Vec<Item>; 2],
    /// Of one event: created, and the customer's.
    pub begun: Vec<Item>,
}

impl Lives {
    /// Lives them, through the API of a shop.
    pub async fn live() -> Self {
        let shop = Shop::open().await;
        let (delivered, cancelled, begun) = (shop.create().await, shop.create().await, shop.create().await);
        for order_id in [&delivered, &cancelled] {
            shop.pay(order_id).await.expect(200);
        }
        shop.ship(&delivered).await.expect(200);
        shop.deliver(&delivered).await.expect(200);
        shop.post("customer", &format!("/orders/{cancelled}/cancel"), json!({ "reason": "late" })).await.expect(200);
        let table = &shop.stack.template().table("OrderEvents").unwrap().name;
        let client = shop.stack.client();
        let commits = |order_id| commits(&client, table, order_id);
        let lives = Self { whole: [commits(delivered).await, commits(cancelled).await], begun: commits(begun).await };
        shop.close().await;
        lives
    }
}

async fn commits(client: &Client, table: &str, order_id: String) -> Vec<Item> {
    let query = client.query().table_name(table).key_condition_expression("stream_id = :stream").consistent_read(true);
    let query = query.expression_attribute_values(":stream", AttributeValue::S(order_id));
    query.send().await.unwrap().items.unwrap_or_default()
}

/// Makes the event table with `whole` orders of four events and `begun` ones of one; answers the latter. Its stream
/// begins afterwards, so nothing of this has been projected or published.
pub async fn fill(client: &Client, events: &Table, lives: &Lives, (whole, begun): (usize, usize)) -> Vec<String> {
    let streamless = Table { stream: None, ..events.clone() };
    tables::create(client, &streamless).await.unwrap();
    let begun: Vec<String> = (0..begun).map(|_| Uuid::new_v4().to_string()).collect();
    let of_begun = begun.iter().flat_map(|order_id| copy(&lives.begun, order_id));
    let of_whole = (0..whole).flat_map(|n| copy(&lives.whole[n % 2], &Uuid::new_v4().to_string()));
    let mut items = of_begun.chain(of_whole).peekable();
    let batches = std::iter::from_fn(|| {
        items.peek()?;
        Some(items.by_ref().take(BATCH).map(put).collect::<Vec<_>>())
    });
    let writes = stream::iter(batches).map(|batch| {
        let write = client.batch_write_item().request_items(&events.name, batch);
        async move {
            let left = write.send().await?.unprocessed_items.unwrap_or_default();
            assert!(left.is_empty(), "the database leaves items unwritten");
            Ok::<_, aws_sdk_dynamodb::Error>(())
        }
    });
    writes.buffer_unordered(IN_FLIGHT).try_collect::<()>().await.unwrap();
    if let Some(view) = &events.stream {
        let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view.as_str().into());
        let update = client.update_table().table_name(&events.name);
        update.stream_specification(stream.build().unwrap()).send().await.unwrap();
    }
    begun
}

fn put(item: Item) -> WriteRequest {
    WriteRequest::builder().put_request(PutRequest::builder().set_item(Some(item)).build().unwrap()).build()
}

/// The commits of an order, as those of another one that lived the same life.
fn copy(commits: &[Item], order_id: &str) -> Vec<Item> {
    let original = commits[0]["stream_id"].as_s().unwrap();
    let renamed = |commit: &Item| {
        let AttributeValue::M(mut renamed) = rename(&AttributeValue::M(commit.clone()), original, order_id) else {
            unreachable!("a map stays one")
        };
        renamed.insert("commit_id".into(), AttributeValue::S(Uuid::new_v4().to_string()));
        renamed
    };
    commits.iter().map(renamed).collect()
}

fn rename(value: &AttributeValue, from: &str, to: &str) -> AttributeValue {
    match value {
        AttributeValue::S(text) if text == from => AttributeValue::S(to.to_owned()),
        AttributeValue::L(list) => AttributeValue::L(list.iter().map(|value| rename(value, from, to)).collect()),
        AttributeValue::M(map) => {
            AttributeValue::M(map.iter().map(|(name, value)| (name.clone(), rename(value, from, to))).collect())
        }
        other => other.clone(),
    }
}
