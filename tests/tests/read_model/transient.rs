//! Transient failures are retried, and nothing is lost or applied twice.

use std::time::Duration;

use dynamodb_event_store::projection::{LaggingStream, Projected};
use dynamodb_event_store::{Change, StreamRecord};
use dynamodb_testkit::call_log::Call;
use dynamodb_testkit::faults::Fault;
use orders_core::domain::OrderId;

use crate::world::World;
use orders_tests::commits::{key, poisoned};

/// Stores five orders with two events each; returns their records, first all creations, then all payments.
async fn ten_records(world: &World) -> (Vec<OrderId>, Vec<StreamRecord>) {
    let ids = world.orders_at(5, 2).await;
    let mut records = world.records().await;
    records.sort_by_key(|record| {
        let (stream, version) = key(&record.keys);
        (version, ids.iter().position(|id| id.to_string() == stream))
    });
    for (n, record) in (100..).zip(&mut records) {
        record.sequence_number = n.to_string();
    }
    (ids, records)
}

/// Asserts that the batch is to be retried from this record, for these orders of two events.
fn assert_behind(projected: &Projected, from: &str, ids: &[OrderId]) {
    let mut behind: Vec<_> = ids.iter().map(|id| LaggingStream { stream: (*id).into(), version: 2 }).collect();
    behind.sort_by(|one, other| one.stream.cmp(&other.stream));
    let mut found = projected.clone();
    found.behind.sort_by(|one, other| one.stream.cmp(&other.stream));
    assert_eq!(found, Projected { retry_from: Some(from.into()), behind, ..Projected::default() });
}

fn is_write_of(id: OrderId) -> impl Fn(&Call) -> bool {
    move |call| call.operation == "UpdateItem" && call.body["Key"]["order_id"]["S"] == id.to_string()
}

#[tokio::test]
async fn the_first_failed_record_is_reported_and_the_other_orders_are_projected() {
    for fault in [Fault::Throttle, Fault::Fail, Fault::Hang] {
        let world = World::with_attempt_timeout(Duration::from_secs(1)).await;
        let (ids, records) = ten_records(&world).await;
        let (second, fourth) = (is_write_of(ids[1]), is_write_of(ids[3]));
        world.proxy.faults.plan(move |call| Some(fault).filter(|_| second(call) || fourth(call)));
        let projected = world.projector.project(records.clone()).await;
        assert_behind(&projected, "101", &[ids[1], ids[3]]);
        for id in [ids[0], ids[2], ids[4]] {
            world.assert_up_to_date(id).await;
        }
        assert_eq!(world.row(ids[1]).await, None);
        world.proxy.faults.clear();
        assert_eq!(world.projector.project(records[1..].to_vec()).await, Projected::default());
        for id in ids {
            world.assert_up_to_date(id).await;
        }
    }
}

#[tokio::test]
async fn a_write_whose_response_was_lost_is_retried_once() {
    let world = World::start().await;
    let (ids, records) = ten_records(&world).await;
    world.proxy.faults.plan(|call| Some(Fault::LoseResponse).filter(|_| call.attempt == 1));
    assert_eq!(world.projector.project(records).await, Projected::default());
    assert_eq!(world.proxy.faults.take_calls().count(), 10);
    for id in ids {
        world.assert_up_to_date(id).await;
    }
}

#[tokio::test]
async fn a_throttled_event_store_is_retried() {
    let world = World::start().await;
    let (ids, records) = ten_records(&world).await;
    world.proxy.faults.plan(|call| Some(Fault::Throttle).filter(|_| call.operation == "Query"));
    let payments = records[5..].to_vec();
    let projected = world.projector.project(payments.clone()).await;
    assert_behind(&projected, "105", &ids);
    world.proxy.faults.clear();
    assert_eq!(world.projector.project(payments).await, Projected::default());
    for id in ids {
        world.assert_up_to_date(id).await;
    }
}

#[tokio::test]
async fn a_row_that_could_not_be_parked_is_parked_when_the_record_is_repeated() {
    let world = World::start().await;
    let (ids, mut records) = ten_records(&world).await;
    records[6] = poisoned(&records[6]);
    let marked = |call: &Call| call.body["UpdateExpression"].as_str().is_some_and(|text| text.contains(":mark"));
    world.proxy.faults.plan(move |call| Some(Fault::Fail).filter(|_| marked(call)));
    let projected = world.projector.project(records.clone()).await;
    assert_behind(&projected, "101", &[ids[1]]);
    world.proxy.faults.clear();
    let projected = world.projector.project(records[1..].to_vec()).await;
    assert_eq!(
        projected,
        Projected { retry_from: None, parked: 1, rejected: 0, violations: 0, ..Projected::default() }
    );
    assert!(world.orders.get(ids[1]).await.unwrap().unwrap().parked);
}

#[tokio::test]
async fn an_altered_or_deleted_event_is_an_integrity_violation_and_the_batch_continues() {
    let world = World::start().await;
    let (ids, mut records) = ten_records(&world).await;
    for (place, change) in [(1, Change::Modified), (4, Change::Removed)] {
        let record = StreamRecord { change, ..records[place].clone() };
        records.insert(place, record);
    }
    let mut foreign = records[0].clone();
    foreign.keys.insert("stream_id".into(), serde_dynamo::AttributeValue::S("NOT-AN-ORDER".into()));
    records.push(foreign);
    let mut uppercase = records[0].clone();
    let id = ids[0].to_string().to_uppercase();
    uppercase.keys.insert("stream_id".into(), serde_dynamo::AttributeValue::S(id));
    records.push(uppercase);
    let projected = world.projector.project(records).await;
    assert_eq!(projected, Projected { violations: 4, ..Projected::default() });
    for id in ids {
        world.assert_up_to_date(id).await;
    }
}
