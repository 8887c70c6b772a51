//! An event table with many orders, copied from a few that the functions stored.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, StreamSpecification, WriteRequest};
use dynamodb_event_store::StreamId;
use futures::{StreamExt, TryStreamExt, stream};
use orders_local::dynamodb::tables;
use orders_local::template::Table;
use uuid::Uuid;

use crate::commits::stream_items;
use crate::shop::Shop;

/// An item of a table.
pub type Item = HashMap<String, AttributeValue>;

/// The number of concurrent requests that fill a table.
const IN_FLIGHT: usize = 4;
/// The most items that a `BatchWriteItem` takes (DynamoDB API reference).
const BATCH: usize = 25;

/// The stored commits of the few orders that the others are copies of.
pub struct SampleOrders {
    /// Four events each: a delivered order, and one that was cancelled after it was paid.
    pub complete: [Vec<Item>; 2],
    /// One event: an order that was created.
    pub created: Vec<Item>,
}

impl SampleOrders {
    /// Stores them through the API.
    pub async fn store() -> Self {
        let shop = Shop::open().await;
        let (delivered, cancelled, created) = (shop.create().await, shop.create().await, shop.create().await);
        for order_id in [&delivered, &cancelled] {
            shop.pay(order_id).await.expect(200);
        }
        shop.ship(&delivered).await.expect(200);
        shop.deliver(&delivered).await.expect(200);
        shop.cancel("customer", &cancelled).await.expect(200);
        let (client, table) = (shop.stack.client(), shop.table("OrderEvents"));
        let commits = async |order_id: String| stream_items(&client, table, &StreamId::new(order_id)).await;
        let samples =
            Self { complete: [commits(delivered).await, commits(cancelled).await], created: commits(created).await };
        shop.close().await;
        samples
    }
}

/// Creates the event table with `complete` orders of four events and `created` orders of one event; returns the ids of the
/// latter. The stream is enabled afterwards, so none of these events has been projected or published.
pub async fn fill(
    client: &Client,
    events: &Table,
    samples: &SampleOrders,
    (complete, created): (usize, usize),
) -> Vec<String> {
    let streamless = Table { stream: None, ..events.clone() };
    tables::create(client, &streamless).await.unwrap();
    let created: Vec<String> = (0..created).map(|_| Uuid::new_v4().to_string()).collect();
    let of_created = created.iter().flat_map(|order_id| copy(&samples.created, order_id));
    let of_complete = (0..complete).flat_map(|n| copy(&samples.complete[n % 2], &Uuid::new_v4().to_string()));
    let mut items = of_created.chain(of_complete).peekable();
    let batches = std::iter::from_fn(|| {
        items.peek()?;
        Some(items.by_ref().take(BATCH).map(put).collect::<Vec<_>>())
    });
    let writes = stream::iter(batches).map(|batch| {
        let write = client.batch_write_item().request_items(&events.name, batch);
        async move {
            let left = write.send().await?.unprocessed_items.unwrap_or_default();
            assert!(left.is_empty(), "unprocessed items: {left:?}");
            Ok::<_, aws_sdk_dynamodb::Error>(())
        }
    });
    writes.buffer_unordered(IN_FLIGHT).try_collect::<()>().await.unwrap();
    if let Some(view) = &events.stream {
        let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view.as_str().into());
        let update = client.update_table().table_name(&events.name);
        update.stream_specification(stream.build().unwrap()).send().await.unwrap();
    }
    created
}

fn put(item: Item) -> WriteRequest {
    WriteRequest::builder().put_request(PutRequest::builder().set_item(Some(item)).build().unwrap()).build()
}

/// The commits of an order, as those of another order.
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
