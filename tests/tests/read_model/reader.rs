//! Reads of one order: the newest state, a minimum version, and the past.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::Duration;
use dynamodb_event_store::{StoreError, Until};
use dynamodb_testkit::faults::Fault;
use orders_core::domain::Status;
use orders_core::read_model::{OrderView, ReadError};

use crate::world::World;
use orders_tests::commits::{image, poisoned};
use orders_tests::lives::{life, new_id, seeded, start};

#[tokio::test]
async fn an_order_with_a_current_row_costs_one_read_of_the_row() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
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
    let id = world.orders_at(1, 4).await[0];
    assert_eq!(world.reader.newest(id, None).await.unwrap(), world.fold(id, Until::Head).await);
    assert_eq!(world.reader.newest(new_id(&mut seeded()), None).await.unwrap(), None);
    assert_eq!(world.reader.newest(new_id(&mut seeded()), Some(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_minimum_version_beyond_the_row_is_read_from_the_events_and_one_beyond_the_head_is_an_error() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
    world.projector.project(world.records_of(id).await[..2].to_vec()).await;
    assert_eq!(world.reader.newest(id, None).await.unwrap().unwrap().version, 2);
    // Stale reads of the event store do not matter: this read is consistent.
    world.proxy.faults.plan(|_| Some(Fault::Stale(3)));
    assert_eq!(world.reader.newest(id, Some(4)).await.unwrap(), world.fold(id, Until::Head).await);
    let error = world.reader.newest(id, Some(5)).await.unwrap_err();
    assert!(matches!(error, ReadError::VersionNotReached { head: 4 }), "{error:?}");
}

#[tokio::test]
async fn an_order_can_be_read_at_each_version_with_stale_reads() {
    let (world, mut rng) = (World::start().await, seeded());
    let id = new_id(&mut rng);
    world.store_histories([(id, life(&mut rng, id, "alice", 20))]).await;
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
async fn an_order_can_be_read_as_of_a_time() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
    world.proxy.faults.plan(|_| Some(Fault::Stale(2)));
    for (milliseconds, version) in
        [(-1, None), (0, Some(1)), (999, Some(1)), (1_000, Some(2)), (3_000, Some(4)), (9_999, Some(4))]
    {
        let view = world.reader.as_of(id, start() + Duration::milliseconds(milliseconds)).await.unwrap();
        assert_eq!(view.map(|view| view.version), version, "{milliseconds} ms");
    }
}

#[tokio::test]
async fn a_parked_order_with_readable_events_is_read_from_them() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
    let records = world.records_of(id).await;
    world.projector.project(vec![records[0].clone(), poisoned(&records[1])]).await;
    assert!(world.orders.get(id).await.unwrap().unwrap().parked);
    assert_eq!(world.reader.newest(id, None).await.unwrap(), world.fold(id, Until::Head).await);
}

#[tokio::test]
async fn a_parked_order_with_an_unreadable_event_is_read_up_to_it_and_marked_as_parked() {
    let world = World::start().await;
    // Below the first snapshot, which would replace the events before it.
    let id = world.orders_at(1, 3).await[0];
    let records = world.records_of(id).await;
    let expected = world.fold(id, Until::Version(2)).await.unwrap();
    world.put_event(image(&poisoned(&records[2]))).await;
    // Without a row, and with one.
    for _ in 0..2 {
        let view = world.reader.newest(id, Some(2)).await.unwrap();
        assert_eq!(view, Some(OrderView { parked: true, ..expected.clone() }));
        let error = world.reader.newest(id, Some(3)).await.unwrap_err();
        assert!(matches!(error, ReadError::Store(StoreError::Unreadable(_))), "{error:?}");
        world.projector.project(vec![records[0].clone(), records[1].clone(), poisoned(&records[2])]).await;
    }
    // Earlier versions are readable.
    assert_eq!(world.reader.at_version(id, 2).await.unwrap(), Some(expected));
}

#[tokio::test]
async fn an_order_whose_first_event_cannot_be_read_is_an_error() {
    let world = World::start().await;
    let id = world.orders_at(1, 3).await[0];
    let records = world.records_of(id).await;
    world.put_event(image(&poisoned(&records[0]))).await;
    let error = world.reader.newest(id, None).await.unwrap_err();
    assert!(matches!(error, ReadError::Store(StoreError::Unreadable(_))), "{error:?}");
}

#[tokio::test]
async fn a_damaged_row_is_ignored_and_the_events_are_read() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
    world.project_all().await;
    world.damage(id, "total", AttributeValue::S("much".into())).await;
    assert_eq!(world.reader.newest(id, None).await.unwrap(), world.fold(id, Until::Head).await);
}

#[tokio::test]
async fn a_throttled_table_is_an_error() {
    let world = World::start().await;
    let id = world.orders_at(1, 4).await[0];
    world.proxy.faults.plan(|call| Some(Fault::Throttle).filter(|_| call.operation == "GetItem"));
    assert!(matches!(world.reader.newest(id, None).await, Err(ReadError::Rows(_))));
    world.proxy.faults.plan(|call| Some(Fault::Throttle).filter(|_| call.operation == "Query"));
    assert!(matches!(world.reader.newest(id, None).await, Err(ReadError::Store(StoreError::Unavailable(_)))));
}
