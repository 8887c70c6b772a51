//! A consumer of the bus, and the facts that it should receive.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use dynamodb_event_store::Segment;
use dynamodb_testkit::wait::until_within;
use orders_local::journal::EntryKind;
pub use orders_tests::bus::{assert_handled, ended, put, put_and_handle, put_event, run_schedule};
use orders_tests::shop::Shop;
use serde_json::{Value, json};

/// An order's id, a version, and the name of its event.
pub type Fact = (String, u64, String);

/// The events that the bus has accepted so far, of any source, as a rule's target receives them.
pub fn published(shop: &Shop) -> Vec<Value> {
    let entries = shop.stack.bus().journal().since(0);
    let event = |what| match what {
        EntryKind::Event { event, .. } => Some(serde_json::from_str(event.get()).unwrap()),
        _ => None,
    };
    entries.into_iter().filter_map(|entry| event(entry.kind)).collect()
}

/// The facts of a consumer that drops repeated events, by the event's id.
pub fn consumed(shop: &Shop) -> BTreeMap<String, Fact> {
    let own = published(shop)
        .into_iter()
        .filter(|event| event["source"] == "orders" && event["detail-type"] != "OrderCommandRejected");
    let mut consumed = BTreeMap::new();
    for event in own {
        let metadata = &event["detail"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let fact = (text(&metadata["order_id"]), metadata["version"].as_u64().unwrap(), text(&event["detail-type"]));
        let known = consumed.insert(text(&metadata["event_id"]), fact.clone());
        assert!(known.is_none_or(|known| known == fact), "two events have one id: {fact:?}");
    }
    consumed
}

/// The stored facts in order.
pub async fn stored(shop: &Shop) -> Vec<Fact> {
    let store = shop.events();
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

/// How long the events may take to arrive. A publisher that is killed again and again restarts each time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a consumer has received every stored event, and asserts that it has no others.
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

/// The rejections on the bus so far: the rejected event's id, the code and the reason.
pub fn rejections(shop: &Shop) -> Vec<(String, String, String)> {
    let rejected = published(shop).into_iter().filter(|event| event["detail-type"] == "OrderCommandRejected");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rejection = |data: &Value| (text(&data["event_id"]), text(&data["code"]), text(&data["reason"]));
    rejected.map(|event| rejection(&event["detail"]["data"])).collect()
}

/// The records of all stored commits, as Lambda passes them.
pub async fn records(shop: &Shop) -> Vec<Value> {
    let scan = shop.stack.client().scan().table_name(shop.table("OrderEvents")).into_paginator().items().send();
    let items = scan.try_collect().await.unwrap();
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

/// The name of a queue in the test's stack.
pub fn queue(shop: &Shop, logical_id: &str) -> String {
    shop.stack.template().queues.iter().find(|name| name.ends_with(logical_id)).unwrap().clone()
}
