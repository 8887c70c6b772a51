//! The projector without a permission or without its table.

use dynamodb_event_store::projection::Projected;
use dynamodb_testkit::call_log::Call;
use dynamodb_testkit::faults::Fault;

use crate::world::World;
use orders_tests::commits::{image, poisoned};

fn deny(world: &World, operation: &'static str, table: &str) {
    let table = table.to_owned();
    let denied = move |call: &Call| call.operation == operation && call.table == table;
    world.proxy.faults.plan(move |call| Some(Fault::Deny).filter(|_| denied(call)));
}

#[tokio::test]
async fn a_row_that_may_not_be_caught_up_is_parked_and_the_batch_continues() {
    // Reads of the row are denied, or of its missing events.
    for (operation, table) in [("GetItem", "Orders"), ("Query", "OrderEvents")] {
        let world = World::start().await;
        let (unreadable, readable) = world.two_orders(2).await;
        let mut records = world.records_of(unreadable).await;
        let good = image(&records[1]);
        records[1] = poisoned(&records[1]);
        world.put_event(image(&records[1])).await;
        deny(&world, operation, world.tables.name(table));
        let mut batch = vec![records[1].clone()];
        batch.extend(world.records_of(readable).await);
        let projected = world.projector.project(batch).await;
        assert_eq!(
            projected,
            Projected { retry_from: None, parked: 1, rejected: 1, violations: 0, ..Projected::default() },
            "{operation}"
        );
        assert!(world.row(unreadable).await.unwrap().contains_key("parked"));
        world.proxy.faults.clear();
        world.assert_up_to_date(readable).await;

        // With the permission and a readable event, a repair succeeds.
        world.put_event(good).await;
        assert_eq!(world.projector.repair(&unreadable.into()).await.unwrap(), Some(2));
        world.assert_up_to_date(unreadable).await;
    }
}

#[tokio::test]
async fn a_denied_write_is_retried_and_counted() {
    let world = World::start().await;
    let (one, other) = world.two_orders(2).await;
    let records = [world.records_of(one).await, world.records_of(other).await].concat();
    deny(&world, "UpdateItem", world.tables.name("Orders"));
    let projected = world.projector.project(records.clone()).await;
    let first = Some(records[0].sequence_number.clone());
    let behind = projected.behind.len();
    assert_eq!((projected.retry_from, behind, projected.parked, projected.rejected), (first, 2, 0, 2));
    world.proxy.faults.clear();
    assert_eq!(world.projector.project(records).await, Projected::default());
    world.assert_up_to_date(one).await;
    world.assert_up_to_date(other).await;
}

#[tokio::test]
async fn a_missing_table_is_retried_and_counted() {
    let world = World::start().await;
    let (one, _) = world.two_orders(2).await;
    let records = world.records_of(one).await;
    let table = world.tables.name("Orders");
    world.tables.client().delete_table().table_name(table).send().await.unwrap();
    let projected = world.projector.project(records).await;
    assert_eq!((projected.rejected, projected.retry_from.is_some()), (1, true));
}
