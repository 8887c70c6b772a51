//! Rows are the fold of the stream in any order of delivery.

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::projection::Projected;
use dynamodb_event_store::{StreamRecord, Until};
use orders_core::domain::OrderId;

use crate::world::{World, refund_due};
use orders_tests::commits::key;
use orders_tests::lives::{created, life, new_id, seeded, start, usual_course};

/// Cuts records into batches of random size.
fn cut(rng: &mut fastrand::Rng, mut records: Vec<StreamRecord>) -> Vec<Vec<StreamRecord>> {
    let mut batches = Vec::new();
    while !records.is_empty() {
        let rest = records.split_off(rng.usize(1..=records.len().min(12)));
        batches.push(std::mem::replace(&mut records, rest));
    }
    batches
}

#[tokio::test]
async fn rows_are_the_fold_of_the_stream_with_repeated_reordered_and_missing_batches() {
    let world = World::start().await;
    let mut rng = seeded();
    for _ in 0..4 {
        let ids: Vec<OrderId> = (0..20).map(|_| new_id(&mut rng)).collect();
        let histories: Vec<_> = ids.iter().map(|id| (*id, life(&mut rng, *id, "alice", 14))).collect();
        world.store_histories(histories).await;
        let mut records = world.records().await;
        records.retain(|record| ids.iter().any(|id| id.to_string() == key(&record.keys).0));
        rng.shuffle(&mut records);
        let batches = cut(&mut rng, records);
        let (missing, mut delivered): (Vec<_>, Vec<_>) = batches.into_iter().partition(|_| rng.u8(..5) == 0);
        delivered.extend(delivered.clone());
        rng.shuffle(&mut delivered);
        for batch in delivered.clone() {
            assert_eq!(world.projector.project(batch).await, Projected::default());
        }
        for id in &ids {
            let last = delivered.iter().flatten().map(|record| key(&record.keys)).filter(|key| key.0 == id.to_string());
            let last = last.map(|key| key.1).max();
            let row = world.orders.get(*id).await.unwrap();
            assert!(row.as_ref().map(|row| row.version) >= last, "{id}: {row:?}, and version {last:?} was delivered");
            if let Some(row) = row {
                assert_eq!(world.fold(*id, Until::Version(row.version)).await, Some(row));
            }
        }
        for batch in missing {
            assert_eq!(world.projector.project(batch).await, Projected::default());
        }
        for id in &ids {
            world.assert_up_to_date(*id).await;
        }
    }
}

#[tokio::test]
async fn concurrent_projectors_and_repairs_result_in_the_same_rows() {
    let world = World::start().await;
    let mut rng = seeded();
    let ids: Vec<OrderId> = (0..6).map(|_| new_id(&mut rng)).collect();
    let histories: Vec<_> = ids.iter().map(|id| (*id, life(&mut rng, *id, "alice", 20))).collect();
    world.store_histories(histories).await;
    let mut deliveries = Vec::new();
    for _ in 0..4 {
        let mut records = world.records().await;
        rng.shuffle(&mut records);
        deliveries.push(cut(&mut rng, records));
    }
    let projectors = deliveries.into_iter().map(|batches| async {
        for batch in batches {
            let mut batch = batch;
            // A failed batch is repeated from the failed record, as Lambda does.
            while let Some(from) = world.projector.project(batch.clone()).await.retry_from {
                batch.drain(..batch.iter().position(|record| record.sequence_number == from).unwrap());
            }
        }
    });
    let repairs = async {
        for id in ids.iter().cycle().take(30) {
            drop(world.projector.repair(&(*id).into()).await);
        }
    };
    futures::join!(futures::future::join_all(projectors), repairs);
    for id in &ids {
        world.assert_up_to_date(*id).await;
    }
}

#[tokio::test]
async fn a_hundred_events_of_25_orders_cost_25_writes_and_no_read() {
    let world = World::start().await;
    let ids = world.orders_at(25, 4).await;
    assert_eq!(world.records().await.len(), 100);
    assert_eq!(world.project_all().await, Projected::default());
    let calls = world.proxy.faults.take_calls();
    assert_eq!((calls.count(), calls.of("UpdateItem").count()), (25, 25));
    // Including the indexes.
    println!("{} write units for 100 events of 25 orders in one batch", calls.units());
    for id in &ids {
        world.assert_up_to_date(*id).await;
    }
}

#[tokio::test]
async fn events_of_orders_with_rows_cost_one_write_per_order() {
    let world = World::start().await;
    let ids = world.orders_at(25, 4).await;
    let (first, second): (Vec<_>, Vec<_>) =
        world.records().await.into_iter().partition(|record| key(&record.keys).1 <= 2);
    world.projector.project(first).await;
    world.proxy.faults.take_calls();
    assert_eq!(world.projector.project(second.clone()).await, Projected::default());
    let calls = world.proxy.faults.take_calls();
    assert_eq!((calls.count(), calls.of("UpdateItem").count()), (25, 25));
    println!("{} write units for 50 events of 25 orders that have rows, in one batch", calls.units());
    // A repeat costs one failed write per order.
    assert_eq!(world.projector.project(second).await, Projected::default());
    let calls = world.proxy.faults.take_calls();
    assert_eq!((calls.count(), calls.failed_with("ConditionalCheckFailedException").count()), (25, 25));
    for id in &ids {
        world.assert_up_to_date(*id).await;
    }
}

#[tokio::test]
async fn records_that_overlap_with_the_row_are_applied_from_its_version() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
    let records = world.records_of(id).await;
    world.projector.project(records[..2].to_vec()).await;
    world.proxy.faults.take_calls();
    assert_eq!(world.projector.project(records[1..].to_vec()).await, Projected::default());
    assert_eq!(world.proxy.faults.take_calls().operations(), ["UpdateItem", "UpdateItem"]);
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn missing_commits_are_read_from_the_event_store() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
    let records = world.records_of(id).await;
    for (delivered, lost) in [(vec![0, 3], "two records"), (vec![3], "all earlier records"), (vec![0, 2], "one record")]
    {
        world.delete_row(id).await;
        for place in &delivered[..delivered.len() - 1] {
            world.projector.project(vec![records[*place].clone()]).await;
        }
        world.proxy.faults.take_calls();
        let last = records[delivered[delivered.len() - 1]].clone();
        assert_eq!(world.projector.project(vec![last]).await, Projected::default());
        let write = if delivered.len() > 1 { "UpdateItem" } else { "PutItem" };
        assert_eq!(world.proxy.faults.take_calls().operations(), ["UpdateItem", "Query", write], "{lost}");
        world.assert_up_to_date(id).await;
    }
}

#[tokio::test]
async fn a_gap_within_a_batch_is_filled_from_the_event_store() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
    let records = world.records_of(id).await;
    let gappy = vec![records[3].clone(), records[0].clone(), records[3].clone()];
    assert_eq!(world.projector.project(gappy).await, Projected::default());
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn a_row_with_an_impossible_version_is_recreated_by_the_next_event() {
    let world = World::start().await;
    let id = new_id(&mut seeded());
    let [paid, shipped, delivered] = usual_course(id);
    let history = vec![created(id, "alice", start()), vec![paid, shipped], vec![delivered]];
    world.store_histories([(id, history)]).await;
    let records = world.records_of(id).await;
    let number = |version: &str| AttributeValue::N(version.into());
    // Version 2 is in the middle of a commit.
    for version in [number("0"), number("2"), number("-7"), number("1e40"), AttributeValue::S("three".into())] {
        world.projector.project(records[..2].to_vec()).await;
        world.damage(id, "version", version).await;
        world.damage(id, "user_id", AttributeValue::S("mallory".into())).await;
        assert_eq!(world.projector.project(records[2..].to_vec()).await, Projected::default());
        world.assert_up_to_date(id).await;
        world.delete_row(id).await;
    }
}

#[tokio::test]
async fn a_repair_recreates_a_row_and_does_nothing_for_an_order_without_events() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
    assert_eq!(world.projector.repair(&id.into()).await.unwrap(), Some(4));
    world.assert_up_to_date(id).await;
    world.damage(id, "total", AttributeValue::N("1".into())).await;
    world.damage(id, "refund:ghost", AttributeValue::S("boo".into())).await;
    world.proxy.faults.take_calls();
    assert_eq!(world.projector.repair(&id.into()).await.unwrap(), Some(4));
    assert_eq!(world.proxy.faults.take_calls().operations(), ["GetItem", "Query", "PutItem"]);
    world.assert_up_to_date(id).await;
    assert_eq!(world.projector.repair(&new_id(&mut seeded()).into()).await.unwrap(), None);
}

#[tokio::test]
async fn more_changes_than_an_expression_can_hold_are_one_write() {
    let world = World::start().await;
    let mut rng = seeded();
    let id = new_id(&mut rng);
    world.store(id, created(id, "alice", start()), start()).await;
    for n in 0..10 {
        let refunds = (0..48).map(|m| refund_due(id, &format!("p{n}-{m}"), "overpaid"));
        world.store(id, refunds.collect(), start()).await;
    }
    let records = world.records_of(id).await;
    world.projector.project(records[..1].to_vec()).await;
    assert_eq!(world.projector.project(records[1..].to_vec()).await, Projected::default());
    assert_eq!(world.fold(id, Until::Head).await.unwrap().refunds.len(), 480);
    world.assert_up_to_date(id).await;
}
