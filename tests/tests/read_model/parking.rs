//! An event that cannot be projected parks its row, and no other.

use std::collections::HashMap;

use dynamodb_event_store::projection::{Projected, ProjectionError};
use dynamodb_event_store::{StreamRecord, Until, Version};
use orders_core::domain::{OrderId, Status};
use orders_core::read_model::OrderView;
use serde_dynamo::AttributeValue;

use crate::world::{World, refund_due};
use orders_tests::commits::{image, inserted, poisoned};
use orders_tests::lives::{created, new_id, seeded, start, usual_course};

const PARKED: Projected = Projected { retry_from: None, behind: Vec::new(), parked: 1, rejected: 0, violations: 0 };

/// The version and the reason in a parked row.
async fn mark(world: &World, id: OrderId) -> Option<(Version, String)> {
    let row = world.row(id).await.unwrap();
    let AttributeValue::M(mark) = row.get("parked")? else { panic!("no mark: {row:?}") };
    match (&mark["version"], &mark["reason"]) {
        (AttributeValue::N(version), AttributeValue::S(reason)) => Some((version.parse().unwrap(), reason.clone())),
        other => panic!("no mark: {other:?}"),
    }
}

/// Makes the event of `records[place]` unreadable, in the table too.
async fn poison(world: &World, records: &mut [StreamRecord], place: usize) {
    records[place] = poisoned(&records[place]);
    world.put_event(image(&records[place])).await;
}

const UNREADABLE: &str = "an event cannot be read by this version of the service";
const CONTRADICTION: &str = "the events contradict each other";

#[tokio::test]
async fn an_unreadable_event_parks_its_row_and_no_other() {
    let world = World::start().await;
    let (unreadable, readable) = world.two_orders(4).await;
    let mut records = world.records_of(unreadable).await;
    let good = image(&records[2]);
    poison(&world, &mut records, 2).await;
    let mut batch = records.clone();
    batch.extend(world.records_of(readable).await);
    assert_eq!(world.projector.project(batch).await, PARKED);
    // One write for each order, and one to park the row.
    assert_eq!(world.proxy.faults.take_calls().operations(), ["UpdateItem"; 3]);
    world.assert_up_to_date(readable).await;
    assert_eq!(mark(&world, unreadable).await, Some((3, UNREADABLE.into())));
    let row = world.orders.get(unreadable).await.unwrap().unwrap();
    assert_eq!((row.version, row.parked), (2, true));
    let listed = world.orders.by_status(Status::Paid.try_into().unwrap(), 10, None).await.unwrap().orders;
    assert_eq!(listed.iter().map(|order| (order.order_id, order.parked)).collect::<Vec<_>>(), [(unreadable, true)]);
    let listed = world.orders.by_user(&"alice".parse().unwrap(), None, 10, None).await.unwrap().orders;
    assert_eq!(listed.iter().filter(|order| order.parked).count(), 1);

    // Later events are acknowledged and change nothing.
    let before = world.row(unreadable).await;
    assert_eq!(world.projector.project(records[3..].to_vec()).await, Projected::default());
    assert_eq!(world.row(unreadable).await, before);
    // A repair fails while the event is unreadable, and changes nothing.
    let error = world.projector.repair(&unreadable.into()).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Unprojectable { version: 3, .. }), "{error:?}");
    assert_eq!(world.row(unreadable).await, before);
    // The event is readable again.
    world.put_event(good).await;
    assert_eq!(world.projector.repair(&unreadable.into()).await.unwrap(), Some(4));
    world.assert_up_to_date(unreadable).await;
}

#[tokio::test]
async fn a_repaired_row_is_projected_again() {
    let world = World::start().await;
    let (id, _) = world.two_orders(4).await;
    let records = world.records_of(id).await;
    assert_eq!(world.projector.project(vec![records[0].clone(), poisoned(&records[1])]).await, PARKED);
    world.projector.repair(&id.into()).await.unwrap();
    world.store(id, vec![refund_due(id, "p9", "overpaid")], start()).await;
    let last = world.records_of(id).await.pop().unwrap();
    assert_eq!(world.projector.project(vec![last]).await, Projected::default());
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn an_order_whose_first_event_is_unreadable_has_a_row_with_only_the_mark() {
    let world = World::start().await;
    let (id, _) = world.two_orders(4).await;
    let mut records = world.records_of(id).await;
    poison(&world, &mut records, 0).await;
    assert_eq!(world.projector.project(records.clone()).await, PARKED);
    assert_eq!(mark(&world, id).await, Some((1, UNREADABLE.into())));
    assert_eq!(world.orders.get(id).await.unwrap(), None);
    assert!(world.orders.by_user(&"alice".parse().unwrap(), None, 10, None).await.unwrap().orders.is_empty());
    let before = world.row(id).await;
    assert_eq!(world.projector.project(records[1..].to_vec()).await, Projected::default());
    assert_eq!(world.row(id).await, before);
}

#[tokio::test]
async fn a_row_that_is_behind_is_projected_up_to_the_unreadable_event() {
    // The row is missing or has the first event, and the batch has the unreadable event or the one after it.
    for (known, given) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        let world = World::start().await;
        let (id, _) = world.two_orders(4).await;
        let mut records = world.records_of(id).await;
        world.projector.project(records[..known].to_vec()).await;
        poison(&world, &mut records, 2).await;
        assert_eq!(world.projector.project(vec![records[given].clone()]).await, PARKED);
        assert_eq!(mark(&world, id).await, Some((3, UNREADABLE.into())));
        let expected = world.fold(id, Until::Version(2)).await.map(|order| OrderView { parked: true, ..order });
        assert_eq!(world.orders.get(id).await.unwrap(), expected, "{known} known, {given} given");
        let before = world.row(id).await;
        assert_eq!(world.projector.project(records).await, PARKED);
        assert_eq!(world.row(id).await, before, "late records change nothing");
    }
}

#[tokio::test]
async fn a_malformed_commit_parks_its_row() {
    let world = World::start().await;
    let (id, _) = world.two_orders(4).await;
    let records = world.records_of(id).await;
    let keys_only = records[1].keys.clone();
    let mut torn = image(&records[1]);
    torn.insert("events".into(), AttributeValue::S("none".into()));
    let mut empty = image(&records[1]);
    empty.insert("events".into(), AttributeValue::L(Vec::new()));
    for item in [keys_only, torn, empty] {
        world.delete_row(id).await;
        let batch = vec![records[0].clone(), inserted("7", item)];
        assert_eq!(world.projector.project(batch).await, PARKED);
        assert_eq!(mark(&world, id).await, Some((2, UNREADABLE.into())));
    }
}

#[tokio::test]
async fn a_repeated_unreadable_record_is_counted_again_until_the_row_is_past_it() {
    let world = World::start().await;
    let (id, _) = world.two_orders(4).await;
    let records = world.records_of(id).await;
    let batch = vec![records[0].clone(), poisoned(&records[1])];
    assert_eq!(world.projector.project(batch.clone()).await, PARKED);
    assert_eq!(world.projector.project(batch.clone()).await, PARKED);
    world.projector.repair(&id.into()).await.unwrap();
    assert_eq!(world.projector.project(batch).await, Projected::default());
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn a_row_that_has_an_unreadable_event_is_projected_further() {
    let world = World::start().await;
    let (id, _) = world.two_orders(4).await;
    let records = world.records_of(id).await;
    // Another deployment could read the third event, so that the row has it.
    world.projector.project(records[..3].to_vec()).await;
    let batch = vec![records[1].clone(), poisoned(&records[2]), records[3].clone()];
    assert_eq!(world.projector.project(batch).await, Projected::default());
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn a_row_past_an_unreadable_event_catches_up_from_its_version() {
    let world = World::start().await;
    let (id, _) = world.two_orders(4).await;
    let mut records = world.records_of(id).await;
    let expected = world.fold(id, Until::Head).await;
    world.projector.project(records[..2].to_vec()).await;
    poison(&world, &mut records, 1).await;
    assert_eq!(world.projector.project(records[3..].to_vec()).await, Projected::default());
    assert_eq!(world.orders.get(id).await.unwrap(), expected);
}

#[tokio::test]
async fn a_row_that_can_neither_catch_up_nor_be_rebuilt_is_parked() {
    let world = World::start().await;
    let id = new_id(&mut seeded());
    let [paid, shipped, delivered] = usual_course(id);
    world.store_histories([(id, vec![created(id, "alice", start()), vec![paid, shipped], vec![delivered]])]).await;
    let records = world.records_of(id).await;
    // The row's version is in the middle of a commit, and that commit or the one before it is unreadable.
    for (place, version) in [(1, 3), (0, 1)] {
        world.delete_row(id).await;
        world.projector.project(records[..2].to_vec()).await;
        world.damage(id, "version", aws_sdk_dynamodb::types::AttributeValue::N("2".into())).await;
        poison(&world, &mut records.clone(), place).await;
        assert_eq!(world.projector.project(records[2..].to_vec()).await, PARKED);
        assert_eq!(mark(&world, id).await, Some((version, UNREADABLE.into())));
        assert_eq!(world.orders.get(id).await.unwrap().unwrap().version, 2, "the row is not lowered");
    }
}

#[tokio::test]
async fn an_unreadable_event_found_while_catching_up_parks_the_row() {
    let world = World::start().await;
    let (id, other) = world.two_orders(4).await;
    let mut records = world.records_of(id).await;
    poison(&world, &mut records, 1).await;
    assert_eq!(world.projector.project(records[3..].to_vec()).await, PARKED);
    assert_eq!(mark(&world, id).await, Some((2, UNREADABLE.into())));

    let records = world.records_of(other).await;
    // Delivered before it was paid: an event of this order that is not valid in this state.
    let mut early = image(&records[3]);
    early.extend(records[1].keys.clone().into_inner());
    world.put_event(early).await;
    assert_eq!(world.projector.project(records[3..].to_vec()).await, PARKED);
    assert_eq!(mark(&world, other).await, Some((2, CONTRADICTION.into())));
}

#[tokio::test]
async fn events_of_another_order_in_the_stream_park_the_row() {
    let world = World::start().await;
    let (id, other) = world.two_orders(4).await;
    let mut swapped = image(&world.records_of(other).await[0]);
    swapped.extend(world.records_of(id).await[0].keys.clone().into_inner());
    assert_eq!(world.projector.project(vec![inserted("7", swapped)]).await, PARKED);
    assert_eq!(mark(&world, id).await, Some((1, CONTRADICTION.into())));
    assert_eq!(world.row(other).await, None);
}

#[tokio::test]
async fn a_record_without_its_earlier_events_in_the_table_parks_the_row() {
    let world = World::start().await;
    let (id, _) = world.two_orders(4).await;
    let ghost = new_id(&mut seeded()).to_string();
    let mut item = image(&world.records_of(id).await[1]);
    item.insert("stream_id".into(), AttributeValue::S(ghost.clone()));
    let mut text = serde_json::to_string(&item).unwrap();
    text = text.replace(&id.to_string(), &ghost);
    let item: HashMap<String, AttributeValue> = serde_json::from_str(&text).unwrap();
    assert_eq!(world.projector.project(vec![inserted("7", item.into())]).await, PARKED);
}

#[tokio::test]
async fn a_row_that_would_be_too_large_is_parked_with_that_reason() {
    let world = World::start().await;
    let id = new_id(&mut seeded());
    world.store(id, created(id, "alice", start()), start()).await;
    world.store_large_refunds(id).await;
    let records = world.records_of(id).await;
    let mut projected = Vec::new();
    for batch in records.chunks(2) {
        projected.push(world.projector.project(batch.to_vec()).await);
    }
    assert_eq!(projected.iter().filter(|batch| **batch == PARKED).count(), 1, "{projected:?}");
    let (_, reason) = mark(&world, id).await.unwrap();
    assert_eq!(reason, "the row exceeds the maximum item size");
    // The same when the row is created from all events.
    world.delete_row(id).await;
    assert_eq!(world.projector.project(records.clone()).await, PARKED);
    assert_eq!(mark(&world, id).await.unwrap().0, 191);
}
