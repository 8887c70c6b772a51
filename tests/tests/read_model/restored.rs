//! Rows of an event table that was restored to an earlier point: some are ahead of their events, some have none.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::projection::{RebuildMode, RebuildProgress, Verification};
use dynamodb_event_store::{Segment, Version};
use dynamodb_testkit::faults::Fault;
use futures::future::join_all;
use orders_core::domain::{OrderEvent, OrderId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::world::World;
use orders_tests::commits::{self, image, poisoned};
use orders_tests::lives::{created, new_id, seeded, start, usual_course};

/// Stores orders with four commits each, and their rows.
async fn delivered_orders(world: &World, count: usize) -> Vec<OrderId> {
    let ids = world.orders_at(count, 4).await;
    world.project_all().await;
    ids
}

async fn lose(world: &World, order_id: OrderId, versions: impl IntoIterator<Item = Version>) {
    for version in versions {
        commits::delete(&world.tables.client(), world.tables.name("OrderEvents"), order_id, version).await;
    }
}

/// Rebuilds three segments, each run ending with its first page.
async fn rebuild(world: &World, mode: RebuildMode) -> RebuildProgress {
    rebuild_in(world, 3, mode).await
}

async fn rebuild_in(world: &World, total_segments: u32, mode: RebuildMode) -> RebuildProgress {
    let segment = async |segment| {
        let mut progress = RebuildProgress::default();
        while !progress.done {
            let segment = Segment { segment, total_segments };
            progress = world.projector.rebuild(segment, progress, mode, Instant::now()).await.unwrap();
        }
        progress
    };
    join_all((0..total_segments).map(segment)).await.into_iter().fold(RebuildProgress::default(), |sum, each| {
        RebuildProgress {
            streams: sum.streams + each.streams,
            written: sum.written + each.written,
            newer: sum.newer + each.newer,
            lowered: sum.lowered + each.lowered,
            removed: sum.removed + each.removed,
            unprojectable: sum.unprojectable + each.unprojectable,
            ..RebuildProgress::default()
        }
    })
}

async fn different(world: &World) -> u64 {
    let later = Instant::now() + Duration::from_secs(600);
    world.projector.verify(Segment::WHOLE, Verification::default(), later).await.unwrap().different
}

#[tokio::test]
async fn rows_are_lowered_to_their_remaining_events_or_removed_without_any() {
    let world = World::start().await;
    let ids = delivered_orders(&world, 8).await;
    lose(&world, ids[0], 2..=4).await;
    lose(&world, ids[1], 4..=4).await;
    lose(&world, ids[2], 1..=4).await;
    lose(&world, ids[3], 1..=4).await;
    let untouched = join_all(ids[4..].iter().map(|id| world.row(*id))).await;

    let left = RebuildProgress { streams: 6, written: 4, newer: 2, ..RebuildProgress::default() };
    assert_eq!(rebuild(&world, RebuildMode::Live).await, left);
    assert_eq!(different(&world).await, 4, "rows are lowered only on request");

    // A segment of the rows may be done before that of the events: the lowered row is then written again.
    let lowered = rebuild(&world, RebuildMode::AfterRestore).await;
    let expected =
        RebuildProgress { streams: 6, lowered: 2, removed: 2, written: lowered.written, ..RebuildProgress::default() };
    assert_eq!(lowered, expected);
    assert!((4..=6).contains(&lowered.written), "{lowered:?}");
    for id in &ids {
        world.assert_up_to_date(*id).await;
    }
    assert_eq!(join_all(ids[4..].iter().map(|id| world.row(*id))).await, untouched);
    assert_eq!(different(&world).await, 0);
    let again = RebuildProgress { streams: 6, written: 6, ..RebuildProgress::default() };
    assert_eq!(rebuild(&world, RebuildMode::AfterRestore).await, again, "no row is left to lower");
}

#[tokio::test]
async fn a_row_parked_at_a_lost_event_is_unparked_and_one_with_an_unreadable_first_event_is_kept() {
    let world = World::start().await;
    let ids = delivered_orders(&world, 2).await;
    let last = world.records_of(ids[0]).await.pop().unwrap();
    lose(&world, ids[0], 4..=4).await;
    world.damage(ids[0], "version", AttributeValue::N("3".into())).await;
    world.projector.project(vec![poisoned(&last)]).await;
    assert!(world.row(ids[0]).await.unwrap().contains_key("parked"));
    let first = poisoned(&world.records_of(ids[1]).await[0]);
    world.put_event(image(&first)).await;

    let progress = rebuild(&world, RebuildMode::AfterRestore).await;
    assert_eq!((progress.lowered, progress.removed, progress.unprojectable), (1, 0, 1), "{progress:?}");
    world.assert_up_to_date(ids[0]).await;
    assert!(world.row(ids[1]).await.is_some(), "an order with unreadable events keeps its row");
    lose(&world, ids[1], 1..=1).await;
    assert_eq!(
        rebuild(&world, RebuildMode::AfterRestore).await.removed,
        0,
        "an order without its first event keeps its row"
    );
}

/// Rebuilds the whole table in one segment. While the nth call of this kind to the order table is in flight, the commits
/// are stored and projected.
async fn rebuild_beside(
    world: &World,
    (operation, nth): (&'static str, usize),
    order_id: OrderId,
    commits: Vec<Vec<OrderEvent>>,
) -> RebuildProgress {
    let (arrived, rows) = (Arc::new(Notify::new()), world.tables.name("Orders").to_owned());
    let (signal, mut seen) = (arrived.clone(), 0);
    world.proxy.faults.plan(move |call| {
        let is_one = call.operation == operation && call.table == rows;
        seen += usize::from(is_one);
        (is_one && seen == nth).then(|| {
            signal.notify_one();
            Fault::Delay(Duration::from_millis(1_500))
        })
    });
    let commands = async {
        arrived.notified().await;
        for events in commits {
            world.store(order_id, events, start()).await;
            let last = world.records_of(order_id).await.pop();
            world.projector.project(last.into_iter().collect()).await;
        }
    };
    tokio::join!(rebuild_in(world, 1, RebuildMode::AfterRestore), commands).0
}

#[tokio::test]
async fn an_event_stored_while_its_row_is_lowered_is_in_the_row() {
    let world = World::start().await;
    let id = delivered_orders(&world, 1).await[0];
    lose(&world, id, 2..=4).await;
    // The condition of the first put fails, since the row is newer; the second one lowers it.
    let progress = rebuild_beside(&world, ("PutItem", 2), id, vec![vec![usual_course(id)[0].clone()]]).await;
    assert_eq!(progress.lowered, 1, "{progress:?}");
    assert_eq!(world.orders.get(id).await.unwrap().unwrap().version, 2);
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn an_order_created_again_while_its_orphaned_row_is_removed_has_a_row() {
    let world = World::start().await;
    let id = delivered_orders(&world, 1).await[0];
    lose(&world, id, 1..=4).await;
    let progress = rebuild_beside(&world, ("DeleteItem", 1), id, vec![created(id, "alice", start())]).await;
    assert_eq!(progress.removed, 1, "{progress:?}");
    assert_eq!(world.orders.get(id).await.unwrap().unwrap().version, 1);
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn an_order_created_again_before_its_orphaned_row_is_read_has_the_row_of_its_new_events() {
    // The new events are fewer than those of the old row, as many, or more.
    for (lost_after, commits) in [(4, 1), (4, 4), (2, 4)] {
        let world = World::start().await;
        let id = new_id(&mut seeded());
        let history = |user: &str| -> Vec<Vec<OrderEvent>> {
            let course = usual_course(id).map(|event| vec![event]);
            [created(id, user, start())].into_iter().chain(course).collect()
        };
        world.store_histories([(id, history("alice")[..lost_after].to_vec())]).await;
        world.project_all().await;
        lose(&world, id, 1..=4).await;

        // The rows are scanned after the rows of all orders have been written.
        let progress = rebuild_beside(&world, ("Scan", 1), id, history("bob")[..commits].to_vec()).await;
        assert_eq!((progress.lowered, progress.removed), (1, 0), "{lost_after} {commits}: {progress:?}");
        assert_eq!(world.orders.get(id).await.unwrap().unwrap().user_id.as_str(), "bob", "{lost_after} {commits}");
        world.assert_up_to_date(id).await;
        assert_eq!(different(&world).await, 0);
    }
}
