//! Rows of an event table that was taken back to an earlier point: some know more than the events, some should not be.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::projection::{RebuildProgress, RowsAhead, Verification};
use dynamodb_event_store::{Segment, Version};
use dynamodb_testkit::faults::Fault;
use futures::future::join_all;
use orders_core::domain::{OrderEvent, OrderId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::world::{World, image, poisoned};
use orders_tests::lives::{created, new_id, seeded, start, usual_course};

/// Orders of four events and four commits each, in their rows.
async fn delivered_orders(world: &World, count: usize) -> Vec<OrderId> {
    let mut rng = seeded();
    let ids: Vec<OrderId> = (0..count).map(|_| new_id(&mut rng)).collect();
    let life = |id: OrderId| {
        let course = usual_course(id).map(|event| vec![event]);
        [created(id, "alice", start())].into_iter().chain(course).collect()
    };
    world.store_lives(ids.iter().map(|id| (*id, life(*id)))).await;
    world.project_all().await;
    ids
}

async fn lose(world: &World, order_id: OrderId, versions: impl IntoIterator<Item = Version>) {
    for version in versions {
        let delete = world.tables.client().delete_item().table_name(world.tables.name("OrderEvents"));
        let delete = delete.key("stream_id", AttributeValue::S(order_id.to_string()));
        delete.key("version", AttributeValue::N(version.to_string())).send().await.unwrap();
    }
}

/// Three segments, each run ending with its first page.
async fn rebuild(world: &World, ahead: RowsAhead) -> RebuildProgress {
    rebuild_in(world, 3, ahead).await
}

async fn rebuild_in(world: &World, total_segments: u32, ahead: RowsAhead) -> RebuildProgress {
    let segment = async |segment| {
        let mut progress = RebuildProgress::default();
        while !progress.done {
            let segment = Segment { segment, total_segments };
            progress = world.projector.rebuild(segment, progress, ahead, Instant::now()).await.unwrap();
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
async fn rows_are_lowered_to_what_is_left_of_their_events_or_removed_with_the_last_of_them() {
    let world = World::start().await;
    let ids = delivered_orders(&world, 8).await;
    lose(&world, ids[0], 2..=4).await;
    lose(&world, ids[1], 4..=4).await;
    lose(&world, ids[2], 1..=4).await;
    lose(&world, ids[3], 1..=4).await;
    let untouched = join_all(ids[4..].iter().map(|id| world.row(*id))).await;

    let left = RebuildProgress { streams: 6, written: 4, newer: 2, ..RebuildProgress::default() };
    assert_eq!(rebuild(&world, RowsAhead::Keep).await, left);
    assert_eq!(different(&world).await, 4, "a rebuild that is not told so takes no row back");

    // Another segment of the rows may be done before the one of the events: the lowered row is then written again.
    let lowered = rebuild(&world, RowsAhead::Rebuild).await;
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
    assert_eq!(rebuild(&world, RowsAhead::Rebuild).await, again, "there is nothing left to lower");
}

#[tokio::test]
async fn a_row_that_was_parked_at_an_event_which_is_lost_goes_on_and_one_whose_first_event_is_broken_stays() {
    let world = World::start().await;
    let ids = delivered_orders(&world, 2).await;
    let last = world.records_of(ids[0]).await.pop().unwrap();
    lose(&world, ids[0], 4..=4).await;
    world.damage(ids[0], "version", AttributeValue::N("3".into())).await;
    world.projector.project(vec![poisoned(&last)]).await;
    assert!(world.row(ids[0]).await.unwrap().contains_key("parked"));
    let first = poisoned(&world.records_of(ids[1]).await[0]);
    world.put_event(image(&first)).await;

    let progress = rebuild(&world, RowsAhead::Rebuild).await;
    assert_eq!((progress.lowered, progress.removed, progress.unprojectable), (1, 0, 1), "{progress:?}");
    world.assert_up_to_date(ids[0]).await;
    assert!(world.row(ids[1]).await.is_some(), "an order that has events, whatever they say, keeps its row");
    lose(&world, ids[1], 1..=1).await;
    assert_eq!(rebuild(&world, RowsAhead::Rebuild).await.removed, 0, "also one that lost its first event only");
}

/// Rebuilds the whole table at once. When the call of this kind to the order table is on its way, the life goes on, one
/// commit after the other, and the projector follows each.
async fn rebuild_beside(
    world: &World,
    (operation, nth): (&'static str, usize),
    order_id: OrderId,
    life: Vec<Vec<OrderEvent>>,
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
        for events in life {
            world.store(order_id, events, start()).await;
            let last = world.records_of(order_id).await.pop();
            world.projector.project(last.into_iter().collect()).await;
        }
    };
    tokio::join!(rebuild_in(world, 1, RowsAhead::Rebuild), commands).0
}

#[tokio::test]
async fn what_is_stored_while_a_row_is_lowered_is_in_it_in_the_end() {
    let world = World::start().await;
    let id = delivered_orders(&world, 1).await[0];
    lose(&world, id, 2..=4).await;
    // The first put is refused, since the row is newer; the second one lowers it.
    let progress = rebuild_beside(&world, ("PutItem", 2), id, vec![vec![usual_course(id)[0].clone()]]).await;
    assert_eq!(progress.lowered, 1, "{progress:?}");
    assert_eq!(world.orders.get(id).await.unwrap().unwrap().version, 2);
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn an_order_that_is_created_while_its_orphaned_row_is_removed_has_a_row_in_the_end() {
    let world = World::start().await;
    let id = delivered_orders(&world, 1).await[0];
    lose(&world, id, 1..=4).await;
    let progress = rebuild_beside(&world, ("DeleteItem", 1), id, vec![created(id, "alice", start())]).await;
    assert_eq!(progress.removed, 1, "{progress:?}");
    assert_eq!(world.orders.get(id).await.unwrap().unwrap().version, 1);
    world.assert_up_to_date(id).await;
}

#[tokio::test]
async fn an_order_that_is_created_again_before_its_orphaned_row_is_come_to_has_the_row_of_its_new_life() {
    // Its new life is behind the old row, is as long, or has gone past it.
    for (lost_after, commits) in [(4, 1), (4, 4), (2, 4)] {
        let world = World::start().await;
        let id = new_id(&mut seeded());
        let life = |user: &str| -> Vec<Vec<OrderEvent>> {
            let course = usual_course(id).map(|event| vec![event]);
            [created(id, user, start())].into_iter().chain(course).collect()
        };
        world.store_lives([(id, life("alice")[..lost_after].to_vec())]).await;
        world.project_all().await;
        lose(&world, id, 1..=4).await;

        // The first scan of the rows comes after all orders that there are have been made.
        let progress = rebuild_beside(&world, ("Scan", 1), id, life("bob")[..commits].to_vec()).await;
        assert_eq!((progress.lowered, progress.removed), (1, 0), "{lost_after} {commits}: {progress:?}");
        assert_eq!(world.orders.get(id).await.unwrap().unwrap().user_id.as_str(), "bob", "{lost_after} {commits}");
        world.assert_up_to_date(id).await;
        assert_eq!(different(&world).await, 0);
    }
}
