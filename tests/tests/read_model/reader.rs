//! One order, as it is or was, as fresh as it has to be.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::Duration;
use dynamodb_event_store::{StoreError, Until};
use dynamodb_testkit::faults::Fault;
use orders_core::domain::{OrderId, Status};
use orders_core::read_model::{OrderView, ReadError};

use crate::world::{World, image, poisoned};
use orders_tests::lives::{created, life, new_id, seeded, start, usual_course};

/// An order that was created, paid, shipped and delivered, a second between each. There is no row yet.
async fn an_order(world: &World) -> OrderId {
    an_order_at(world, 4).await
}

/// The same, as far as this version.
async fn an_order_at(world: &World, version: usize) -> OrderId {
    let id = new_id(&mut seeded());
    let course = usual_course(id).into_iter().take(version - 1).map(|event| vec![event]);
    let life = std::iter::once(created(id, "alice", start())).chain(course).collect();
    world.store_lives([(id, life)]).await;
    id
}

#[tokio::test]
async fn a_row_that_is_there_is_all_that_is_read() {
    let world = World::start().await;
    let id = an_order(&world).await;
    world.project_all().await;
    world.proxy.faults.take_calls();
    for min_version in [None, Some(0), Some(3), Some(4)] {
        let view = world.reader.newest(id, min_version).await.unwrap().unwrap();
        assert_eq!((view.version, view.status), (4, Status::Delivered));
        let calls = world.proxy.faults.take_calls();
        assert_eq!((calls.operations(), calls.units()), (vec!["GetItem"], 0.5));
    }
}

#[tokio::test]
async fn an_order_without_a_row_is_read_from_its_events() {
    let world = World::start().await;
    let id = an_order(&world).await;
    assert_eq!(world.reader.newest(id, None).await.unwrap(), world.fold(id, Until::Head).await);
    assert_eq!(world.reader.newest(new_id(&mut seeded()), None).await.unwrap(), None);
    assert_eq!(world.reader.newest(new_id(&mut seeded()), Some(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_is_behind_is_passed_over_and_a_version_that_is_not_there_is_an_error() {
    let world = World::start().await;
    let id = an_order(&world).await;
    world.projector.project(world.records_of(id).await[..2].to_vec()).await;
    assert_eq!(world.reader.newest(id, None).await.unwrap().unwrap().version, 2);
    // Even when reads of the event store are old: this one must not be.
    world.proxy.faults.plan(|_| Some(Fault::Stale(3)));
    assert_eq!(world.reader.newest(id, Some(4)).await.unwrap(), world.fold(id, Until::Head).await);
    let error = world.reader.newest(id, Some(5)).await.unwrap_err();
    assert!(matches!(error, ReadError::VersionNotReached { head: 4 }), "{error:?}");
}

#[tokio::test]
async fn an_order_can_be_read_as_it_was_at_each_version_however_old_the_reads_are() {
    let (world, mut rng) = (World::start().await, seeded());
    let id = new_id(&mut rng);
    world.store_lives([(id, life(&mut rng, id, "alice", 20))]).await;
    let head = world.fold(id, Until::Head).await.unwrap().version;
    for behind in [0, 1, 4, 40] {
        world.proxy.faults.plan(move |_| Some(Fault::Stale(behind)));
        for version in 1..=head {
            let view = world.reader.at_version(id, version).await.unwrap();
            assert_eq!(view.as_ref().map(|view| view.version), Some(version));
            assert_eq!(view, world.fold(id, Until::Version(version)).await);
        }
        let error = world.reader.at_version(id, head + 1).await.unwrap_err();
        assert!(matches!(error, ReadError::VersionNotReached { head: at } if at == head), "{error:?}");
        assert_eq!(world.reader.at_version(new_id(&mut rng), 1).await.unwrap(), None);
        assert_eq!(world.reader.at_version(id, 0).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_order_can_be_read_as_it_was_at_a_time() {
    let world = World::start().await;
    let id = an_order(&world).await;
    world.proxy.faults.plan(|_| Some(Fault::Stale(2)));
    for (milliseconds, version) in
        [(-1, None), (0, Some(1)), (999, Some(1)), (1_000, Some(2)), (3_000, Some(4)), (9_999, Some(4))]
    {
        let view = world.reader.as_of(id, start() + Duration::milliseconds(milliseconds)).await.unwrap();
        assert_eq!(view.map(|view| view.version), version, "{milliseconds} ms");
    }
}

#[tokio::test]
async fn a_parked_order_whose_events_can_be_read_is_shown_as_it_is() {
    let world = World::start().await;
    let id = an_order(&world).await;
    let records = world.records_of(id).await;
    world.projector.project(vec![records[0].clone(), poisoned(&records[1])]).await;
    assert!(world.orders.get(id).await.unwrap().unwrap().parked);
    assert_eq!(world.reader.newest(id, None).await.unwrap(), world.fold(id, Until::Head).await);
}

#[tokio::test]
async fn a_parked_order_whose_events_cannot_be_read_is_shown_as_it_last_could_be_and_says_so() {
    let world = World::start().await;
    // Below the first snapshot, which would do instead of the events before it.
    let id = an_order_at(&world, 3).await;
    let records = world.records_of(id).await;
    let expected = world.fold(id, Until::Version(2)).await.unwrap();
    world.put_event(image(&poisoned(&records[2]))).await;
    // With a row, and without one.
    for _ in 0..2 {
        let view = world.reader.newest(id, Some(2)).await.unwrap();
        assert_eq!(view, Some(OrderView { parked: true, ..expected.clone() }));
        let error = world.reader.newest(id, Some(3)).await.unwrap_err();
        assert!(matches!(error, ReadError::Store(StoreError::Unreadable(_))), "{error:?}");
        world.projector.project(vec![records[0].clone(), records[1].clone(), poisoned(&records[2])]).await;
    }
    // What was before can be seen as well as ever.
    assert_eq!(world.reader.at_version(id, 2).await.unwrap(), Some(expected));
}

#[tokio::test]
async fn an_order_whose_first_event_cannot_be_read_is_an_error() {
    let world = World::start().await;
    let id = an_order_at(&world, 3).await;
    let records = world.records_of(id).await;
    world.put_event(image(&poisoned(&records[0]))).await;
    let error = world.reader.newest(id, None).await.unwrap_err();
    assert!(matches!(error, ReadError::Store(StoreError::Unreadable(_))), "{error:?}");
}

#[tokio::test]
async fn a_damaged_row_is_passed_over() {
    let world = World::start().await;
    let id = an_order(&world).await;
    world.project_all().await;
    world.damage(id, "total", AttributeValue::S("much".into())).await;
    assert_eq!(world.reader.newest(id, None).await.unwrap(), world.fold(id, Until::Head).await);
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_an_error() {
    let world = World::start().await;
    let id = an_order(&world).await;
    world.proxy.faults.plan(|call| Some(Fault::Throttle).filter(|_| call.operation == "GetItem"));
    assert!(matches!(world.reader.newest(id, None).await, Err(ReadError::Rows(_))));
    world.proxy.faults.plan(|call| Some(Fault::Throttle).filter(|_| call.operation == "Query"));
    assert!(matches!(world.reader.newest(id, None).await, Err(ReadError::Store(StoreError::Unavailable(_)))));
}
