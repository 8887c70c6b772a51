//! Making all rows anew, and telling which are not as they should be.

use std::time::{Duration, Instant as Clock};

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::{join_all, try_join_all};
use orders_core::event_store::Segment;
use orders_core::order::OrderId;
use orders_core::read_model::{Difference, Progress, Projector, Verification};
use tokio::time::Instant;

use crate::lives::{created, life, new_id, seeded, start, usual_course};
use crate::world::{World, image, poisoned};

const WHOLE: Segment = Segment { segment: 0, total_segments: 1 };

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// Orders of random lives, stored.
async fn store_orders(world: &World, count: usize) -> Vec<OrderId> {
    let mut rng = seeded();
    let ids: Vec<OrderId> = (0..count).map(|_| new_id(&mut rng)).collect();
    let lives: Vec<_> = ids.iter().map(|id| (*id, life(&mut rng, *id, "alice", 6))).collect();
    world.store_lives(lives).await;
    ids
}

/// Runs one segment to its end, as a caller does that gives the answer back each time; answers the number of runs too.
async fn to_the_end(world: &World, segment: Segment, time: impl Fn() -> Instant) -> (Progress, usize) {
    let (mut progress, mut runs) = (Progress::default(), 0);
    while !progress.done {
        progress = world.projector.rebuild(segment, progress, time()).await.unwrap();
        runs += 1;
        assert!(runs < 1_000, "the rebuild does not move on: {progress:?}");
    }
    (progress, runs)
}

async fn verify(world: &World) -> Verification {
    world.projector.verify(WHOLE, Verification::default(), later()).await.unwrap()
}

#[tokio::test]
async fn a_rebuild_makes_every_row_of_its_events_whatever_was_there() {
    let world = World::start().await;
    let ids = store_orders(&world, 40).await;
    for (n, id) in ids.iter().enumerate().filter(|(n, _)| n % 2 == 0) {
        world.projector.repair(*id).await.unwrap();
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
    assert_eq!(verify(&world).await, Verification { done: true, orders: 40, ..Verification::default() });
}

#[tokio::test]
async fn a_rebuild_that_is_stopped_goes_on_where_it_was_and_does_nothing_twice() {
    let world = World::start().await;
    // Enough for several pages of a megabyte.
    let mut rng = seeded();
    let ids: Vec<OrderId> = (0..60).map(|_| new_id(&mut rng)).collect();
    for id in &ids {
        world.store(*id, created(*id, "alice", start()), start()).await;
        world.store_rejections(*id, 100).await;
    }
    let (progress, runs) = to_the_end(&world, WHOLE, Instant::now).await;
    assert!(runs > 2, "one run had time for all of it: {progress:?}");
    assert_eq!((progress.orders, progress.written, progress.events), (60, 60, 60 * 101), "{progress:?}");
    for id in ids {
        world.assert_up_to_date(id).await;
    }
}

#[tokio::test]
async fn a_rebuild_never_takes_a_row_back_to_an_older_version() {
    let world = World::start().await;
    let ids = store_orders(&world, 3).await;
    world.project_all().await;
    world.damage(ids[0], "version", AttributeValue::N("99".into())).await;
    let (progress, _) = to_the_end(&world, WHOLE, later).await;
    assert_eq!((progress.written, progress.newer), (2, 1), "{progress:?}");
}

#[tokio::test]
async fn rebuilding_beside_the_projector_ends_with_every_row_up_to_date() {
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
            to_the_end(&world, WHOLE, later).await;
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
    let (progress, _) = to_the_end(&world, WHOLE, later).await;
    assert_eq!((progress.written, progress.unprojectable), (2, 1), "{progress:?}");
    assert!(world.row(ids[0]).await.unwrap().contains_key("parked"));
    let verification = verify(&world).await;
    assert!(matches!(verification.differences[..], [Difference::Unprojectable { order_id, .. }] if order_id == ids[0]));
}

#[tokio::test]
async fn verification_names_every_difference_and_changes_nothing() {
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
    assert_eq!((verification.orders, verification.different), (8, 4), "{verification:?}");
    let said = |expected: &dyn Fn(&Difference) -> bool| verification.differences.iter().any(expected);
    assert!(said(&|d| matches!(d, Difference::Missing { order_id } if *order_id == ids[0])), "{verification:?}");
    assert!(said(&|d| matches!(d, Difference::Version { order_id, row: Some(77), .. } if *order_id == ids[1])));
    assert!(said(&|d| matches!(d, Difference::Attributes { order_id, attributes }
        if *order_id == ids[2] && attributes.iter().eq(["total"]))));
    assert!(said(&|d| matches!(d, Difference::Orphan { order_id } if *order_id == orphan.to_string())));
    assert_eq!(join_all(ids.iter().map(|id| world.row(*id))).await, before);

    for id in &ids[..3] {
        world.projector.repair(*id).await.unwrap();
        world.assert_up_to_date(*id).await;
    }
}

/// Prints throughput; memory is for the caller to look at: `ORDERS=100000 /usr/bin/time -v cargo test --release … --
/// --ignored a_rebuild_of_many_orders --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: a measurement"]
async fn a_rebuild_of_many_orders_while_commands_keep_arriving() {
    let world = World::start().await;
    let count: usize = std::env::var("ORDERS").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let mut rng = seeded();
    let ids: Vec<OrderId> = (0..count).map(|_| new_id(&mut rng)).collect();
    let usual = |id| [vec![created(id, "alice", start())], usual_course(id).map(|event| vec![event]).to_vec()].concat();
    for some in ids.chunks(500) {
        world.store_lives(some.iter().map(|id| (*id, usual(*id)))).await;
    }
    let newcomers: Vec<OrderId> = (0..200).map(|_| new_id(&mut rng)).collect();
    let clock = Clock::now();
    let commands = async {
        for id in &newcomers {
            world.store_lives([(*id, usual(*id))]).await;
            world.projector.project(world.records_of_stream(*id).await).await;
        }
    };
    let rows = Projector::new(world.tables.client(), world.tables.name("Orders"), world.events.clone());
    let segments =
        (0..4).map(|segment| rows.rebuild(Segment { segment, total_segments: 4 }, Progress::default(), later()));
    let (ends, ()) = tokio::join!(try_join_all(segments), commands);
    let took = clock.elapsed();
    let ends = ends.unwrap();
    let orders: u64 = ends.iter().map(|progress| progress.orders).sum();
    let events: u64 = ends.iter().map(|progress| progress.events).sum();
    println!("{orders} orders, {events} events in {took:.1?}: {:.0} rows a second", orders as f64 / took.as_secs_f64());
    for id in ids.iter().step_by(97).chain(&newcomers) {
        world.assert_up_to_date(*id).await;
    }
}
