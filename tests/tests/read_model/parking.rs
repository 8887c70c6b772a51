//! What can never be projected stops its own row, and no other.

use std::collections::HashMap;

use dynamodb_event_store::projection::{Projected, ProjectionError};
use dynamodb_event_store::{StreamRecord, Until, Version};
use orders_core::domain::{Money, OrderEvent, OrderId};
use orders_core::read_model::{OpenStatus, OrderView};
use serde_dynamo::AttributeValue;

use crate::world::{World, image, inserted, poisoned};
use orders_tests::lives::{created, new_id, seeded, start, usual_course};

const PARKED: Projected = Projected { retry_from: None, behind: Vec::new(), parked: 1, refused: 0, violations: 0 };

/// An order that is created, paid, shipped and delivered, and another one beside it.
async fn two_orders(world: &World) -> (OrderId, OrderId) {
    let mut rng = seeded();
    let ids = (new_id(&mut rng), new_id(&mut rng));
    let life = |id| [vec![created(id, "alice", start())], usual_course(id).map(|event| vec![event]).to_vec()].concat();
    world.store_lives([ids.0, ids.1].map(|id| (id, life(id)))).await;
    ids
}

/// The version and the reason of a row's mark.
async fn mark(world: &World, id: OrderId) -> Option<(Version, String)> {
    let row = world.row(id).await.unwrap();
    let AttributeValue::M(mark) = row.get("parked")? else { panic!("no mark: {row:?}") };
    match (&mark["version"], &mark["reason"]) {
        (AttributeValue::N(version), AttributeValue::S(reason)) => Some((version.parse().unwrap(), reason.clone())),
        other => panic!("no mark: {other:?}"),
    }
}

/// Makes the event in place of `records[place]` one that cannot be read, in the table too.
async fn poison(world: &World, records: &mut [StreamRecord], place: usize) {
    records[place] = poisoned(&records[place]);
    world.put_event(image(&records[place])).await;
}

const UNREADABLE: &str = "an event cannot be read by this version of the service";
const CONTRADICTION: &str = "the events contradict each other";

#[tokio::test]
async fn an_event_that_cannot_be_read_stops_its_own_row_and_no_other() {
    let world = World::start().await;
    let (ill, well) = two_orders(&world).await;
    let mut records = world.records_of(ill).await;
    let good = image(&records[2]);
    poison(&world, &mut records, 2).await;
    let mut batch = records.clone();
    batch.extend(world.records_of(well).await);
    assert_eq!(world.projector.project(batch).await, PARKED);
    // One write for each order, and one for the mark.
    assert_eq!(world.proxy.faults.take_calls().operations(), ["UpdateItem"; 3]);
    world.assert_up_to_date(well).await;
    assert_eq!(mark(&world, ill).await, Some((3, UNREADABLE.into())));
    let row = world.orders.get(ill).await.unwrap().unwrap();
    assert_eq!((row.version, row.parked), (2, true));
    let listed = world.orders.by_status(OpenStatus::Paid, 10, None).await.unwrap().orders;
    assert_eq!(listed.iter().map(|order| (order.order_id, order.parked)).collect::<Vec<_>>(), [(ill, true)]);
    let listed = world.orders.by_user(&"alice".parse().unwrap(), None, 10, None).await.unwrap().orders;
    assert_eq!(listed.iter().filter(|order| order.parked).count(), 1);

    // Later events change nothing, and are done with.
    let before = world.row(ill).await;
    assert_eq!(world.projector.project(records[3..].to_vec()).await, Projected::default());
    assert_eq!(world.row(ill).await, before);
    // As long as the event cannot be read, a repair says so and leaves everything.
    let error = world.projector.repair(&ill.into()).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Unprojectable { version: 3, .. }), "{error:?}");
    assert_eq!(world.row(ill).await, before);
    // Then it can.
    world.put_event(good).await;
    assert_eq!(world.projector.repair(&ill.into()).await.unwrap(), Some(4));
    world.assert_up_to_date(ill).await;
}

#[tokio::test]
async fn a_repaired_row_follows_again() {
    let world = World::start().await;
    let (id, _) = two_orders(&world).await;
    let records = world.records_of(id).await;
    assert_eq!(world.projector.project(vec![records[0].clone(), poisoned(&records[1])]).await, PARKED);
    world.projector.repair(&id.into()).await.unwrap();
    world.store(id, refund(id, "p9", "why not"), start()).await;
    let last = world.records_of(id).await.pop().unwrap();
    assert_eq!(world.projector.project(vec![last]).await, Projected::default());
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn an_order_of_which_nothing_is_known_gets_a_row_that_is_only_a_mark() {
    let world = World::start().await;
    let (id, _) = two_orders(&world).await;
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
async fn a_row_that_is_behind_gets_everything_before_an_event_that_cannot_be_read() {
    // With nothing of the order or its first event, and with the event itself or one after it.
    for (known, given) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        let world = World::start().await;
        let (id, _) = two_orders(&world).await;
        let mut records = world.records_of(id).await;
        world.projector.project(records[..known].to_vec()).await;
        poison(&world, &mut records, 2).await;
        assert_eq!(world.projector.project(vec![records[given].clone()]).await, PARKED);
        assert_eq!(mark(&world, id).await, Some((3, UNREADABLE.into())));
        let expected = world.fold(id, Until::Version(2)).await.map(|order| OrderView { parked: true, ..order });
        assert_eq!(world.orders.get(id).await.unwrap(), expected, "{known} known, {given} given");
        let before = world.row(id).await;
        assert_eq!(world.projector.project(records).await, PARKED);
        assert_eq!(world.row(id).await, before, "what comes late changes nothing");
    }
}

#[tokio::test]
async fn what_is_no_commit_at_all_stops_its_row() {
    let world = World::start().await;
    let (id, _) = two_orders(&world).await;
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
async fn a_second_reading_counts_the_order_again_and_a_row_that_is_past_the_event_goes_on() {
    let world = World::start().await;
    let (id, _) = two_orders(&world).await;
    let records = world.records_of(id).await;
    let batch = vec![records[0].clone(), poisoned(&records[1])];
    assert_eq!(world.projector.project(batch.clone()).await, PARKED);
    assert_eq!(world.projector.project(batch.clone()).await, PARKED);
    world.projector.repair(&id.into()).await.unwrap();
    assert_eq!(world.projector.project(batch).await, Projected::default());
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn what_follows_an_event_that_only_others_can_read_is_not_lost() {
    let world = World::start().await;
    let (id, _) = two_orders(&world).await;
    let records = world.records_of(id).await;
    // Another program could read the third event; the row has it.
    world.projector.project(records[..3].to_vec()).await;
    let batch = vec![records[1].clone(), poisoned(&records[2]), records[3].clone()];
    assert_eq!(world.projector.project(batch).await, Projected::default());
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn a_row_past_an_unreadable_event_catches_up_from_where_it_is() {
    let world = World::start().await;
    let (id, _) = two_orders(&world).await;
    let mut records = world.records_of(id).await;
    let expected = world.fold(id, Until::Head).await;
    world.projector.project(records[..2].to_vec()).await;
    poison(&world, &mut records, 1).await;
    assert_eq!(world.projector.project(records[3..].to_vec()).await, Projected::default());
    assert_eq!(world.orders.get(id).await.unwrap(), expected);
}

#[tokio::test]
async fn a_row_that_can_neither_go_on_nor_be_made_anew_is_stopped() {
    let world = World::start().await;
    let id = new_id(&mut seeded());
    let [paid, shipped, delivered] = usual_course(id);
    world.store_lives([(id, vec![created(id, "alice", start()), vec![paid, shipped], vec![delivered]])]).await;
    let records = world.records_of(id).await;
    // In the middle of a commit, and an event before that cannot be read any more.
    for (place, version) in [(1, 3), (0, 1)] {
        world.delete_row(id).await;
        world.projector.project(records[..2].to_vec()).await;
        world.damage(id, "version", aws_sdk_dynamodb::types::AttributeValue::N("2".into())).await;
        poison(&world, &mut records.clone(), place).await;
        assert_eq!(world.projector.project(records[2..].to_vec()).await, PARKED);
        assert_eq!(mark(&world, id).await, Some((version, UNREADABLE.into())));
        assert_eq!(world.orders.get(id).await.unwrap().unwrap().version, 2, "a row never goes back");
    }
}

#[tokio::test]
async fn what_cannot_be_read_while_healing_stops_the_row_too() {
    let world = World::start().await;
    let (id, other) = two_orders(&world).await;
    let mut records = world.records_of(id).await;
    poison(&world, &mut records, 1).await;
    assert_eq!(world.projector.project(records[3..].to_vec()).await, PARKED);
    assert_eq!(mark(&world, id).await, Some((2, UNREADABLE.into())));

    let records = world.records_of(other).await;
    // Delivered before it was sent: each event is of this order, and in a place where it might be.
    let mut early = image(&records[3]);
    early.extend(records[1].keys.clone().into_inner());
    world.put_event(early).await;
    assert_eq!(world.projector.project(records[3..].to_vec()).await, PARKED);
    assert_eq!(mark(&world, other).await, Some((2, CONTRADICTION.into())));
}

#[tokio::test]
async fn events_of_another_order_in_the_stream_stop_the_row() {
    let world = World::start().await;
    let (id, other) = two_orders(&world).await;
    let mut swapped = image(&world.records_of(other).await[0]);
    swapped.extend(world.records_of(id).await[0].keys.clone().into_inner());
    assert_eq!(world.projector.project(vec![inserted("7", swapped)]).await, PARKED);
    assert_eq!(mark(&world, id).await, Some((1, CONTRADICTION.into())));
    assert_eq!(world.row(other).await, None);
}

#[tokio::test]
async fn an_event_that_the_table_does_not_have_stops_the_row_when_it_is_needed() {
    let world = World::start().await;
    let (id, _) = two_orders(&world).await;
    let ghost = new_id(&mut seeded()).to_string();
    let mut item = image(&world.records_of(id).await[1]);
    item.insert("stream_id".into(), AttributeValue::S(ghost.clone()));
    let mut text = serde_json::to_string(&item).unwrap();
    text = text.replace(&id.to_string(), &ghost);
    let item: HashMap<String, AttributeValue> = serde_json::from_str(&text).unwrap();
    assert_eq!(world.projector.project(vec![inserted("7", item.into())]).await, PARKED);
}

#[tokio::test]
async fn a_row_that_would_be_too_large_is_stopped_with_that_reason() {
    let world = World::start().await;
    let id = new_id(&mut seeded());
    world.store(id, created(id, "alice", start()), start()).await;
    // Each 2.3 KB: 180 of them are more than 400 KB.
    let long = "𝄞".repeat(500);
    for n in 0..10 {
        let events = (0..19).flat_map(|m| refund(id, &format!("{n}-{m}{}", "é".repeat(120)), &long)).collect();
        world.store(id, events, start()).await;
    }
    let records = world.records_of(id).await;
    let mut ends = Vec::new();
    for batch in records.chunks(2) {
        ends.push(world.projector.project(batch.to_vec()).await);
    }
    assert_eq!(ends.iter().filter(|end| **end == PARKED).count(), 1, "{ends:?}");
    let (_, reason) = mark(&world, id).await.unwrap();
    assert_eq!(reason, "the row exceeds the maximum item size");
    // And when it is made in one piece.
    world.delete_row(id).await;
    assert_eq!(world.projector.project(records.clone()).await, PARKED);
    assert_eq!(mark(&world, id).await.unwrap().0, 191);
}

fn refund(order_id: OrderId, payment: &str, reason: &str) -> Vec<OrderEvent> {
    let (payment_id, reason) = (payment.parse().unwrap(), reason.parse().unwrap());
    vec![OrderEvent::OrderRefundDue { order_id, payment_id, amount: Money(1), reason, due_at: start() }]
}
