//! The commits in an event table: appended, deleted, read, and as records of the table's stream.

use std::collections::HashMap;
use std::convert::Infallible;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::{Change, Consistency, EventStore, Loaded, Request, StreamId, StreamRecord, Version};
use orders_core::domain::{Order, OrderEvent, OrderId};
use serde_dynamo::{AttributeValue as Value, Item};

/// Appends one commit with these events at the head; returns the version of its last event.
pub async fn append(store: &EventStore<Order>, order_id: OrderId, events: Vec<OrderEvent>) -> Version {
    let stream = StreamId::from(order_id);
    let loaded = match events.first() {
        Some(OrderEvent::OrderCreated { .. }) => Loaded::new_stream(stream),
        _ => store.load(&stream, Consistency::Strong).await.unwrap(),
    };
    let decide = |_: &Order, _| Ok::<_, Infallible>(events.clone());
    store.execute(loaded, &Request::unkeyed(), decide).await.unwrap().version
}

/// Appends an event of an unknown type, as a newer deployment might.
pub async fn poison(client: &Client, table: &str, order_id: &str, version: Version) {
    let text = |text: &str| AttributeValue::S(text.into());
    let map = |pairs: &[(&str, &str)]| {
        AttributeValue::M(pairs.iter().map(|(name, value)| ((*name).into(), text(value))).collect())
    };
    let event = AttributeValue::M(
        [
            ("type".into(), text("OrderTeleported")),
            ("schema".into(), AttributeValue::N("1".into())),
            ("data".into(), map(&[("order_id", order_id)])),
        ]
        .into(),
    );
    let put = client.put_item().table_name(table);
    put.item("stream_id", text(order_id))
        .item("version", AttributeValue::N(version.to_string()))
        .item("events", AttributeValue::L(vec![event]))
        .item("commit_id", text("0190a1b2-0000-4000-8000-000000000001"))
        .item("recorded_at", text("2026-11-24T12:00:00Z"))
        .item("metadata", map(&[("actor", "newer"), ("correlation_id", "c"), ("causation_id", "r")]))
        .send()
        .await
        .unwrap();
}

/// Deletes a commit.
pub async fn delete(client: &Client, table: &str, stream: impl ToString, version: Version) {
    let delete = client.delete_item().table_name(table).key("stream_id", AttributeValue::S(stream.to_string()));
    delete.key("version", AttributeValue::N(version.to_string())).send().await.unwrap();
}

/// The items of a stream, from a consistent read.
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
    items.try_collect().await.unwrap()
}

/// The records of all commits, in the order of their keys.
pub async fn records(client: &Client, table: &str) -> Vec<StreamRecord> {
    let scan = client.scan().table_name(table).into_paginator().items().send();
    let mut images: Vec<Item> = scan.try_collect().await.unwrap().into_iter().map(Item::from).collect();
    images.sort_by_cached_key(key);
    (1..).zip(images).map(|(n, image)| inserted(&format!("{n:021}"), image)).collect()
}

/// The stream and the version of an item or a key.
pub fn key(item: &Item) -> (String, Version) {
    match (item.get("stream_id"), item.get("version")) {
        (Some(Value::S(stream)), Some(Value::N(version))) => (stream.clone(), version.parse().unwrap()),
        other => panic!("not the key of a commit: {other:?}"),
    }
}

/// The record of a new commit.
pub fn inserted(sequence_number: &str, image: Item) -> StreamRecord {
    let keys = ["stream_id", "version"].map(|name| (name.to_owned(), image.get(name).unwrap().clone()));
    StreamRecord {
        sequence_number: sequence_number.into(),
        keys: Item::from(HashMap::from(keys)),
        change: Change::Inserted(image),
    }
}

/// The image in a record.
pub fn image(record: &StreamRecord) -> Item {
    match &record.change {
        Change::Inserted(image) => image.clone(),
        other => panic!("no image: {other:?}"),
    }
}

/// The same commit with an unknown type of its last event.
pub fn poisoned(record: &StreamRecord) -> StreamRecord {
    let mut item = image(record);
    let Some(Value::L(events)) = item.get_mut("events") else { panic!("no commit: {item:?}") };
    let Some(Value::M(event)) = events.last_mut() else { panic!("no event: {events:?}") };
    event.insert("type".into(), Value::S("OrderTeleported".into()));
    inserted(&record.sequence_number, item)
}
