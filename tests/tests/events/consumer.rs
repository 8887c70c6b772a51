//! A consumer on the bus, and what it should have in the end.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use dynamodb_event_store::{EventStore, Segment};
use dynamodb_testkit::wait::until_within;
use orders_core::domain::Order;
use orders_local::journal::What;
pub use orders_tests::bus::{ended, put};
use orders_tests::shop::Shop;
use serde_json::{Value, json};

/// Which order, which version of it, and what happened.
pub type Fact = (String, u64, String);

/// The events that the bus took so far, of any source, as a rule's target gets them.
pub fn taken(shop: &Shop) -> Vec<Value> {
    let entries = shop.stack.bus().journal().since(0);
    let event = |what| match what {
        What::Event { event, .. } => Some(serde_json::from_str(event.get()).unwrap()),
        _ => None,
    };
    entries.into_iter().filter_map(|entry| event(entry.what)).collect()
}

/// The events of orders, by their id: what a consumer has that drops repeats.
pub fn consumed(shop: &Shop) -> BTreeMap<String, Fact> {
    let own = taken(shop)
        .into_iter()
        .filter(|event| event["source"] == "orders" && event["detail-type"] != "OrderCommandRejected");
    let mut consumed = BTreeMap::new();
    for event in own {
        let metadata = &event["detail"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let fact = (text(&metadata["order_id"]), metadata["version"].as_u64().unwrap(), text(&event["detail-type"]));
        let known = consumed.insert(text(&metadata["event_id"]), fact.clone());
        assert!(known.is_none_or(|known| known == fact), "one id for two events: {fact:?}");
    }
    consumed
}

/// What is stored, in order.
pub async fn stored(shop: &Shop) -> Vec<Fact> {
    let table = &shop.stack.template().table("OrderEvents").unwrap().name;
    let store: EventStore<Order> = EventStore::new(shop.stack.client(), table, NonZeroU32::new(14).unwrap());
    let (mut facts, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(Segment::WHOLE, after.as_ref()).await.unwrap();
        for commit in page.commits.into_iter().map(|(_, commit)| commit.unwrap()) {
            let stream = commit.stream.to_string();
            facts.extend(commit.versioned().map(|(version, event)| (stream.clone(), version, event.name().to_owned())));
        }
        after = page.next;
        if after.is_none() {
            facts.sort();
            return facts;
        }
    }
}

/// How long it may take until everything has arrived: a publisher that is killed over and over starts over and over.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a consumer has every stored event, each exactly once.
pub async fn everything_arrives(shop: &Shop) {
    let stored = stored(shop).await;
    let arrived = || {
        let mut facts: Vec<Fact> = consumed(shop).into_values().collect();
        facts.sort();
        facts
    };
    until_within(PATIENCE, "every stored event", async || arrived().len() >= stored.len()).await;
    assert_eq!(arrived(), stored);
}

/// The refusals on the bus so far: the refused event's id, the code and the reason.
pub fn refusals(shop: &Shop) -> Vec<(String, String, String)> {
    let refused = taken(shop).into_iter().filter(|event| event["detail-type"] == "OrderCommandRejected");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let refusal = |data: &Value| (text(&data["event_id"]), text(&data["code"]), text(&data["reason"]));
    refused.map(|event| refusal(&event["detail"]["data"])).collect()
}

/// The records of all stored commits, as Lambda gives them.
pub async fn records(shop: &Shop) -> Vec<Value> {
    let table = &shop.stack.template().table("OrderEvents").unwrap().name;
    let scan = shop.stack.client().scan().table_name(table).into_paginator().items().send();
    let items = tokio::time::timeout(Duration::from_secs(20), scan.try_collect()).await.unwrap().unwrap();
    let record = |(number, item): (usize, _)| {
        let image: serde_dynamo::Item = HashMap::into(item);
        let keys = json!({ "stream_id": image["stream_id"], "version": image["version"] });
        json!({
            "eventID": format!("{number:032}"), "eventName": "INSERT", "eventSource": "aws:dynamodb", "eventVersion": "1.1", "awsRegion": "us-east-1",
            "dynamodb": {
                "Keys": keys, "NewImage": image, "SequenceNumber": format!("{number:021}"), "SizeBytes": 1,
                "StreamViewType": "NEW_AND_OLD_IMAGES", "ApproximateCreationDateTime": 1_767_225_600,
            },
            "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/OrderEvents/stream/local",
        })
    };
    items.into_iter().enumerate().map(record).collect()
}

/// The queue's name, in the stack of this test.
pub fn queue(shop: &Shop, logical_id: &str) -> String {
    shop.stack.template().queues.iter().find(|name| name.ends_with(logical_id)).unwrap().clone()
}
