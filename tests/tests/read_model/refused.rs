//! What DynamoDB refuses the projector: a permission that is missing, or a table. Somebody has to mend the deployment.

use dynamodb_event_store::projection::Projected;
use dynamodb_testkit::call_log::Call;
use dynamodb_testkit::faults::Fault;
use orders_core::domain::OrderId;

use crate::world::{World, image, poisoned};
use orders_tests::lives::{created, new_id, seeded, start, usual_course};

/// Two orders that are created and paid.
async fn two_orders(world: &World) -> (OrderId, OrderId) {
    let mut rng = seeded();
    let ids = (new_id(&mut rng), new_id(&mut rng));
    let life = |id| vec![created(id, "alice", start()), vec![usual_course(id)[0].clone()]];
    world.store_lives([ids.0, ids.1].map(|id| (id, life(id)))).await;
    ids
}

fn deny(world: &World, operation: &'static str, table: &str) {
    let table = table.to_owned();
    let denied = move |call: &Call| call.operation == operation && call.table == table;
    world.proxy.faults.plan(move |call| Some(Fault::Deny).filter(|_| denied(call)));
}

#[tokio::test]
async fn a_row_that_must_not_be_healed_is_parked_where_it_stands_and_holds_nothing_up() {
    // The row cannot be read, or the events that it lacks.
    for (operation, table) in [("GetItem", "Orders"), ("Query", "OrderEvents")] {
        let world = World::start().await;
        let (ill, well) = two_orders(&world).await;
        let mut records = world.records_of(ill).await;
        let good = image(&records[1]);
        records[1] = poisoned(&records[1]);
        world.put_event(image(&records[1])).await;
        deny(&world, operation, world.tables.name(table));
        let mut batch = vec![records[1].clone()];
        batch.extend(world.records_of(well).await);
        let projected = world.projector.project(batch).await;
        assert_eq!(
            projected,
            Projected { retry_from: None, parked: 1, refused: 1, violations: 0, ..Projected::default() },
            "{operation}"
        );
        assert!(world.row(ill).await.unwrap().contains_key("parked"));
        world.proxy.faults.clear();
        world.assert_up_to_date(well).await;

        // Now that it is allowed, and once the event can be read, a repair makes up for all of it.
        world.put_event(good).await;
        assert_eq!(world.projector.repair(&ill.into()).await.unwrap(), Some(2));
        world.assert_up_to_date(ill).await;
    }
}

#[tokio::test]
async fn a_write_that_is_not_allowed_comes_again_and_is_counted() {
    let world = World::start().await;
    let (one, other) = two_orders(&world).await;
    let records = [world.records_of(one).await, world.records_of(other).await].concat();
    deny(&world, "UpdateItem", world.tables.name("Orders"));
    let projected = world.projector.project(records.clone()).await;
    let first = Some(records[0].sequence_number.clone());
    let behind = projected.behind.len();
    assert_eq!((projected.retry_from, behind, projected.parked, projected.refused), (first, 2, 0, 2));
    world.proxy.faults.clear();
    assert_eq!(world.projector.project(records).await, Projected::default());
    world.assert_up_to_date(one).await;
    world.assert_up_to_date(other).await;
}

#[tokio::test]
async fn a_table_that_is_not_there_is_counted_too() {
    let world = World::start().await;
    let (one, _) = two_orders(&world).await;
    let records = world.records_of(one).await;
    let table = world.tables.name("Orders");
    world.tables.client().delete_table().table_name(table).send().await.unwrap();
    let projected = world.projector.project(records).await;
    assert_eq!((projected.refused, projected.retry_from.is_some()), (1, true));
}
