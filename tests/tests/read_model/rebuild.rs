//! Rebuilding all rows, and verifying them.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::Segment;
use dynamodb_event_store::projection::{Difference, RebuildMode, RebuildProgress, Verification};
use dynamodb_testkit::faults::Fault;
use futures::future::join_all;
use orders_core::domain::OrderId;
use tokio::time::Instant;

use crate::world::World;
use orders_tests::commits::{image, poisoned};
use orders_tests::lives::{created, life, new_id, seeded, start, usual_course};

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// Stores orders with random histories.
async fn store_orders(world: &World, count: usize) -> Vec<OrderId> {
    let mut rng = seeded();
    let ids: Vec<OrderId> = (0..count).map(|_| new_id(&mut rng)).collect();
    let histories: Vec<_> = ids.iter().map(|id| (*id, life(&mut rng, *id, "alice", 6))).collect();
    world.store_histories(histories).await;
    ids
}

/// Repeats the rebuild of a segment with its own progress until it is done; returns the number of runs too.
async fn to_the_end(world: &World, segment: Segment, time: impl Fn() -> Instant) -> (RebuildProgress, usize) {
    let (mut progress, mut runs) = (RebuildProgress::default(), 0);
    while !progress.done {
        progress = world.projector.rebuild(segment, progress, RebuildMode::Live, time()).await.unwrap();
        runs += 1;
        assert!(runs < 1_000, "the rebuild makes no progress: {progress:?}");
    }
    (progress, runs)
}

async fn verify(world: &World) -> Verification {
    world.projector.verify(Segment::WHOLE, Verification::default(), later()).await.unwrap()
}

#[tokio::test]
async fn a_rebuild_writes_every_row_from_its_events_whatever_the_row_was() {
    let world = World::start().await;
    let ids = store_orders(&world, 40).await;
    for (n, id) in ids.iter().enumerate().filter(|(n, _)| n % 2 == 0) {
        world.projector.repair(&(*id).into()).await.unwrap();
        match n % 3 {
            0 => world.damage(*id, "total", AttributeValue::N("1".into())).await,
            1 => world.damage(*id, "version", AttributeValue::N("1".into())).await,
            _ => world.damage(*id, "stray", AttributeValue::Bool(true)).await,
        }
    }
    let segments = (0..4).map(|segment| to_the_end(&world, Segment { segment, total_segments: 4 }, later));
    let ends = join_all(segments).await;
    assert_eq!(ends.iter().map(|(progress, _)| progress.written).sum::<u64>(), 40, "{ends:?}");
    for id in ids {
        world.assert_up_to_date(id).await;
    }
    assert_eq!(verify(&world).await, Verification { done: true, streams: 40, ..Verification::default() });
}

#[tokio::test]
async fn a_rebuild_continues_after_its_last_progress_and_repeats_nothing() {
    let world = World::start().await;
    // Enough for several pages of a megabyte.
    let mut rng = seeded();
    let ids: Vec<OrderId> = (0..60).map(|_| new_id(&mut rng)).collect();
    for id in &ids {
        world.store(*id, created(*id, "alice", start()), start()).await;
        world.store_rejections(*id, 100).await;
    }
    let (progress, runs) = to_the_end(&world, Segment::WHOLE, Instant::now).await;
    assert!(runs > 2, "one run was enough: {progress:?}");
    assert_eq!((progress.streams, progress.written, progress.events), (60, 60, 60 * 101), "{progress:?}");
    for id in ids {
        world.assert_up_to_date(id).await;
    }
}

#[tokio::test]
async fn a_rebuild_does_not_lower_the_version_of_a_row() {
    let world = World::start().await;
    let ids = store_orders(&world, 3).await;
    world.project_all().await;
    world.damage(ids[0], "version", AttributeValue::N("99".into())).await;
    let (progress, _) = to_the_end(&world, Segment::WHOLE, later).await;
    assert_eq!((progress.written, progress.newer), (2, 1), "{progress:?}");
}

#[tokio::test]
async fn every_row_is_up_to_date_after_rebuilds_beside_the_projector() {
    let world = World::start().await;
    let mut rng = seeded();
    let ids: Vec<OrderId> = (0..30).map(|_| new_id(&mut rng)).collect();
    for id in &ids {
        world.store(*id, created(*id, "alice", start()), start()).await;
    }
    let commands = async {
        for id in &ids {
            for event in usual_course(*id) {
                world.store(*id, vec![event], start()).await;
                world.projector.project(world.records_of(*id).await).await;
            }
        }
    };
    let rebuilds = async {
        for _ in 0..5 {
            to_the_end(&world, Segment::WHOLE, later).await;
        }
    };
    tokio::join!(commands, rebuilds);
    for id in ids {
        world.assert_up_to_date(id).await;
    }
}

#[tokio::test]
async fn an_order_that_cannot_be_projected_is_counted_and_stays_parked() {
    let world = World::start().await;
    let ids = store_orders(&world, 3).await;
    let mut records = world.records_of(ids[0]).await;
    let last = records.len() - 1;
    records[last] = poisoned(&records[last]);
    world.put_event(image(&records[last])).await;
    world.projector.project(records).await;
    let (progress, _) = to_the_end(&world, Segment::WHOLE, later).await;
    assert_eq!((progress.written, progress.unprojectable), (2, 1), "{progress:?}");
    assert!(world.row(ids[0]).await.unwrap().contains_key("parked"));
    let verification = verify(&world).await;
    assert!(
        matches!(verification.differences[..], [Difference::Unprojectable { ref stream_id, .. }] if *stream_id == ids[0].into())
    );
}

#[tokio::test]
async fn a_verification_lists_every_difference_and_changes_nothing() {
    let world = World::start().await;
    let ids = store_orders(&world, 8).await;
    world.project_all().await;
    assert_eq!(verify(&world).await.different, 0);

    world.delete_row(ids[0]).await;
    world.damage(ids[1], "version", AttributeValue::N("77".into())).await;
    world.damage(ids[2], "total", AttributeValue::N("1".into())).await;
    let orphan = new_id(&mut seeded());
    world.damage(orphan, "total", AttributeValue::N("1".into())).await;
    let before = join_all(ids.iter().map(|id| world.row(*id))).await;

    let verification = verify(&world).await;
    assert_eq!((verification.streams, verification.different), (8, 4), "{verification:?}");
    let found = |expected: &dyn Fn(&Difference) -> bool| verification.differences.iter().any(expected);
    assert!(
        found(&|d| matches!(d, Difference::Missing { stream_id } if *stream_id == ids[0].into())),
        "{verification:?}"
    );
    assert!(found(
        &|d| matches!(d, Difference::Version { stream_id, row: Some(77), .. } if *stream_id == ids[1].into())
    ));
    assert!(found(&|d| matches!(d, Difference::Attributes { stream_id, attributes }
        if *stream_id == ids[2].into() && attributes.iter().eq(["total"]))));
    assert!(found(&|d| matches!(d, Difference::Orphan { stream_id } if *stream_id == orphan.into())));
    assert_eq!(join_all(ids.iter().map(|id| world.row(*id))).await, before);

    for id in &ids[..3] {
        world.projector.repair(&(*id).into()).await.unwrap();
        world.assert_up_to_date(*id).await;
    }
}

#[tokio::test]
async fn a_rebuild_costs_one_scan_per_page_and_one_write_per_row() {
    let world = World::start().await;
    store_orders(&world, 30).await;
    to_the_end(&world, Segment::WHOLE, later).await;
    let calls = world.proxy.faults.take_calls();
    let rows = calls.of("PutItem").on(world.tables.name("Orders")).count();
    let pages = calls.of("Scan").on(world.tables.name("OrderEvents")).count();
    assert_eq!((rows, pages, calls.count()), (30, 1, 31), "{:?}", calls.operations());
}

#[tokio::test]
async fn a_rebuild_whose_calls_often_fail_makes_progress() {
    let world = World::start().await;
    let ids = store_orders(&world, 40).await;
    let mut chance = seeded();
    // In some calls all three attempts fail.
    world.proxy.faults.plan(move |_| match chance.u8(..100) {
        0..40 => Some(Fault::Throttle),
        40..60 => Some(Fault::Fail),
        _ => None,
    });
    let (mut progress, mut runs) = (RebuildProgress::default(), 0);
    while !progress.done {
        match world.projector.rebuild(Segment::WHOLE, progress.clone(), RebuildMode::Live, later()).await {
            Ok(next) => {
                let moved = next.token != progress.token && next.streams > progress.streams;
                assert!(next.done || moved, "no progress: {next:?}");
                progress = next;
            }
            Err(error) => println!("{error}"),
        }
        runs += 1;
        assert!(runs < 500, "{progress:?}");
    }
    assert_eq!((progress.streams, progress.written), (40, 40), "each order is counted once: {progress:?}");
    world.proxy.faults.clear();
    for id in ids {
        world.assert_up_to_date(id).await;
    }
}

#[tokio::test]
async fn a_verification_whose_calls_often_fail_ends_and_lists_a_difference_once() {
    let world = World::start().await;
    let ids = store_orders(&world, 10).await;
    world.project_all().await;
    world.delete_row(ids[0]).await;
    let mut chance = seeded();
    world.proxy.faults.plan(move |_| Some(Fault::Throttle).filter(|_| chance.u8(..100) < 50));
    let mut verification = Verification::default();
    for _ in 0..2_000 {
        if let Ok(next) = world.projector.verify(Segment::WHOLE, verification.clone(), Instant::now()).await {
            verification = next;
        }
        if verification.done {
            break;
        }
    }
    assert_eq!((verification.done, verification.streams, verification.different), (true, 10, 1), "{verification:?}");
}

#[tokio::test]
async fn an_order_whose_row_would_be_too_large_does_not_block_the_others() {
    let world = World::start().await;
    let ids = store_orders(&world, 3).await;
    let large = new_id(&mut seeded());
    world.store(large, created(large, "alice", start()), start()).await;
    world.store_large_refunds(large).await;
    let (progress, _) = to_the_end(&world, Segment::WHOLE, later).await;
    assert_eq!((progress.written, progress.unprojectable), (3, 1), "{progress:?}");
    for id in ids {
        world.assert_up_to_date(id).await;
    }
}
