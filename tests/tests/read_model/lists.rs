//! Lists of orders: every order once, in order, in full pages.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::Duration;
use dynamodb_testkit::call_log::Call;
use dynamodb_testkit::faults::Fault;
use orders_core::domain::{OrderId, Status, UserId};
use orders_core::read_model::{InvalidCursor, OpenStatus, OrderPage, OrderSummary, RowsError};

use crate::world::World;
use orders_tests::lives::{created, new_id, seeded, start, usual_course};

fn alice() -> UserId {
    "alice".parse().unwrap()
}

/// Stores orders of a user: three are created at each instant, and each has reached a random status.
async fn orders_of(world: &World, rng: &mut fastrand::Rng, user: &str, count: i32) -> Vec<OrderId> {
    let ids: Vec<OrderId> = (0..count).map(|_| new_id(rng)).collect();
    let histories: Vec<_> = (0..)
        .zip(&ids)
        .map(|(n, id)| {
            let course = usual_course(*id).into_iter().take(rng.usize(..4)).map(|event| vec![event]);
            let creation = vec![created(*id, user, start() + Duration::milliseconds(i64::from(n / 3)))];
            (*id, creation.into_iter().chain(course).collect())
        })
        .collect();
    world.store_histories(histories).await;
    ids
}

/// The orders of all pages. Every page but the last is full.
async fn walk(limit: usize, page: impl AsyncFn(Option<&str>) -> OrderPage) -> Vec<OrderSummary> {
    let (mut orders, mut cursor) = (Vec::new(), None);
    loop {
        let OrderPage { orders: found, next_cursor } = page(cursor.as_deref()).await;
        assert!(found.len() == limit || (found.len() < limit && next_cursor.is_none()), "a page of {}", found.len());
        assert!(!found.is_empty() || orders.is_empty(), "an empty last page");
        assert!(orders.len() < 1_000, "the list does not end");
        orders.extend(found);
        let Some(next) = next_cursor else { return orders };
        cursor = Some(next);
    }
}

#[tokio::test]
async fn a_users_orders_are_listed_newest_first_once_each_in_full_pages() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids = orders_of(&world, &mut rng, "alice", 24).await;
    orders_of(&world, &mut rng, "bob", 9).await;
    world.project_all().await;
    for limit in [1, 2, 5, 23, 24, 25, 100] {
        let user = alice();
        let orders = walk(limit, async |cursor| world.orders.by_user(&user, None, limit, cursor).await.unwrap()).await;
        assert!(orders.is_sorted_by(|a, b| a.created_at >= b.created_at), "{limit}");
        let found: Vec<OrderId> = orders.iter().map(|order| order.order_id).collect();
        assert_eq!(BTreeSet::from_iter(&found), BTreeSet::from_iter(&ids), "{limit}");
        assert_eq!(found.len(), ids.len(), "{limit}");
    }
}

#[tokio::test]
async fn a_list_shows_the_values_of_the_rows() {
    let (world, mut rng) = (World::start().await, seeded());
    orders_of(&world, &mut rng, "alice", 6).await;
    world.project_all().await;
    for order in world.orders.by_user(&alice(), None, 100, None).await.unwrap().orders {
        let row = world.orders.get(order.order_id).await.unwrap().unwrap();
        let expected = OrderSummary {
            order_id: row.order_id,
            user_id: row.user_id,
            status: row.status,
            total: row.total,
            version: row.version,
            item_count: 2,
            created_at: row.created_at,
            updated_at: row.updated_at,
            parked: false,
        };
        assert_eq!(order, expected);
    }
}

#[tokio::test]
async fn pages_filtered_by_status_are_full() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids = orders_of(&world, &mut rng, "alice", 40).await;
    world.project_all().await;
    let mut shown = [0; 3];
    for status in Status::ALL {
        for (limit, shown) in [1, 3, 100].into_iter().zip(&mut shown) {
            let user = alice();
            let page =
                async |cursor: Option<&str>| world.orders.by_user(&user, Some(status), limit, cursor).await.unwrap();
            let orders = walk(limit, page).await;
            assert!(orders.iter().all(|order| order.status == status));
            assert!(orders.is_sorted_by(|a, b| a.created_at >= b.created_at));
            *shown += orders.len();
        }
    }
    assert_eq!(shown, [ids.len(); 3]);
}

#[tokio::test]
async fn a_page_costs_one_query_per_shard_and_a_read_of_its_rows() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids: Vec<OrderId> = (0..24).map(|_| new_id(&mut rng)).collect();
    world.store_histories(ids.iter().map(|id| (*id, vec![created(*id, "alice", start())]))).await;
    world.project_all().await;
    world.proxy.faults.take_calls();
    world.orders.by_user(&alice(), None, 5, None).await.unwrap();
    let calls = world.proxy.faults.take_calls();
    assert_eq!(calls.operations(), ["Query", "BatchGetItem"]);
    // One more than the page, to detect the last page.
    assert_eq!(calls.0[0].body["Limit"], 6);
    assert_eq!((calls.0[0].units, calls.0[1].units), (0.5, 3.0));
    world.orders.by_status(OpenStatus::PENDING, 5, None).await.unwrap();
    let calls = world.proxy.faults.take_calls();
    assert_eq!(calls.operations(), ["Query", "Query", "Query", "Query", "BatchGetItem"]);
    assert_eq!(calls.of("BatchGetItem").units(), 3.0);
}

#[tokio::test]
async fn a_row_that_a_stale_read_does_not_find_is_read_again() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids = orders_of(&world, &mut rng, "alice", 3).await;
    world.project_all().await;
    world.proxy.faults.plan(|_| Some(Fault::Absent));
    let page = world.orders.by_user(&alice(), None, 10, None).await.unwrap();
    assert_eq!(page.orders.len(), ids.len());
}

#[tokio::test]
async fn rows_that_are_left_unprocessed_are_requested_again_eight_times() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids = orders_of(&world, &mut rng, "alice", 3).await;
    world.project_all().await;
    let throttled = |mut times: usize| {
        move |call: &Call| {
            times = times.checked_sub(usize::from(call.operation == "BatchGetItem"))?;
            Some(Fault::Unprocessed)
        }
    };
    world.proxy.faults.plan(throttled(7));
    let page = world.orders.by_user(&alice(), None, 10, None).await.unwrap();
    assert_eq!(page.orders.len(), ids.len());
    world.proxy.faults.plan(throttled(8));
    let error = world.orders.by_user(&alice(), None, 10, None).await.unwrap_err();
    assert!(matches!(error, RowsError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn an_order_whose_status_is_newer_than_its_place_in_the_index_is_not_listed() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids: Vec<OrderId> = (0..4).map(|_| new_id(&mut rng)).collect();
    world.store_histories(ids.iter().map(|id| (*id, vec![created(*id, "alice", start())]))).await;
    world.project_all().await;
    world.damage(ids[0], "status", AttributeValue::S("cancelled".into())).await;
    let pending = world.orders.by_status(OpenStatus::PENDING, 10, None).await.unwrap().orders;
    let listed: BTreeSet<OrderId> = pending.iter().map(|order| order.order_id).collect();
    assert_eq!(listed, BTreeSet::from_iter(ids[1..].to_vec()));
}

/// DynamoDB rejects a filter by what an index does not hold; the embedded engine does not.
#[tokio::test]
async fn a_list_filters_by_status_only_in_the_index_that_holds_it() {
    let world = World::start().await;
    world.proxy.faults.take_calls();
    world.orders.by_user(&alice(), Some(Status::Paid), 5, None).await.unwrap();
    world.orders.by_status(OpenStatus::PENDING, 5, None).await.unwrap();
    let filters = world.proxy.faults.take_calls().filter(|call| !call.body["FilterExpression"].is_null());
    assert!(filters.count() == 4 && filters.0.iter().all(|call| call.body["IndexName"] == "by-status"));
}

/// One write of the row for each event, one of the user's index, and one of the work queue for each status.
#[tokio::test]
async fn the_rows_of_an_orders_life_cost_nine_write_units() {
    let (world, mut rng) = (World::start().await, seeded());
    let id = new_id(&mut rng);
    let course = usual_course(id).into_iter().map(|event| vec![event]);
    let life = [created(id, "alice", start())].into_iter().chain(course);
    let mut units = Vec::new();
    for events in life {
        world.store_histories([(id, vec![events])]).await;
        let newest = world.records_of(id).await.pop().unwrap();
        world.proxy.faults.take_calls();
        world.projector.project(vec![newest]).await;
        units.push(world.proxy.faults.take_calls().on(world.tables.name("Orders")).units());
    }
    assert_eq!(units, [3.0, 2.0, 2.0, 2.0]);
}

#[tokio::test]
async fn the_work_queue_lists_the_orders_of_all_shards_oldest_first_once_each() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids = orders_of(&world, &mut rng, "alice", 45).await;
    world.project_all().await;
    let mut open = [0; 3];
    for status in Status::ALL.into_iter().filter_map(|status| OpenStatus::try_from(status).ok()) {
        for (limit, open) in [1, 4, 100].into_iter().zip(&mut open) {
            let page = async |cursor: Option<&str>| world.orders.by_status(status, limit, cursor).await.unwrap();
            let orders = walk(limit, page).await;
            assert!(orders.iter().all(|order| order.status == Status::from(status)));
            assert!(orders.is_sorted_by(|a, b| a.created_at <= b.created_at), "{limit}");
            let distinct: BTreeSet<OrderId> = orders.iter().map(|order| order.order_id).collect();
            assert_eq!(distinct.len(), orders.len());
            *open += orders.len();
        }
    }
    let mut expected = 0;
    for id in ids {
        let status = world.orders.get(id).await.unwrap().unwrap().status;
        expected += usize::from(OpenStatus::try_from(status).is_ok());
    }
    assert_eq!(open, [expected; 3]);
}

#[tokio::test]
async fn a_cursor_continues_the_list_when_the_listed_orders_are_deleted() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids: Vec<OrderId> = (0..12).map(|_| new_id(&mut rng)).collect();
    world.store_histories(ids.iter().map(|id| (*id, vec![created(*id, "alice", start())]))).await;
    world.project_all().await;
    let mine = world.orders.by_user(&alice(), None, 5, None).await.unwrap();
    let work = world.orders.by_status(OpenStatus::PENDING, 5, None).await.unwrap();
    for order in mine.orders.iter().chain(&work.orders) {
        world.delete_row(order.order_id).await;
    }
    let left = |page: &OrderPage| -> BTreeSet<OrderId> {
        let shown: BTreeSet<OrderId> = page.orders.iter().map(|order| order.order_id).collect();
        ids.iter().copied().filter(|id| !shown.contains(id)).collect()
    };
    let gone: BTreeSet<OrderId> = mine.orders.iter().chain(&work.orders).map(|order| order.order_id).collect();
    let rest = |page: &OrderPage| page.orders.iter().map(|order| order.order_id).collect::<BTreeSet<_>>();
    let next = world.orders.by_user(&alice(), None, 100, mine.next_cursor.as_deref()).await.unwrap();
    assert_eq!(rest(&next), &left(&mine) - &gone);
    let next = world.orders.by_status(OpenStatus::PENDING, 100, work.next_cursor.as_deref()).await.unwrap();
    assert_eq!(rest(&next), &left(&work) - &gone);
}

#[tokio::test]
async fn a_cursor_of_another_list_is_rejected_and_a_forged_one_reveals_no_other_users_orders() {
    let (world, mut rng) = (World::start().await, seeded());
    orders_of(&world, &mut rng, "alice", 9).await;
    orders_of(&world, &mut rng, "bob", 9).await;
    world.project_all().await;
    let (alice, bob) = (alice(), "bob".parse::<UserId>().unwrap());
    let cursor = async |user: &UserId| world.orders.by_user(user, None, 4, None).await.unwrap().next_cursor.unwrap();
    let (alices, bobs) = (cursor(&alice).await, cursor(&bob).await);
    world.proxy.faults.take_calls();
    for rejected in [
        world.orders.by_user(&alice, None, 4, Some(&bobs)).await,
        world.orders.by_user(&alice, Some(Status::Paid), 4, Some(&alices)).await,
        world.orders.by_status(Status::Paid.try_into().unwrap(), 4, Some(&alices)).await,
        world.orders.by_user(&alice, None, 4, Some("")).await,
    ] {
        assert!(matches!(rejected, Err(RowsError::InvalidCursor(InvalidCursor))), "{rejected:?}");
    }
    assert_eq!(world.proxy.faults.take_calls().count(), 0);
    // The first nine bytes are the format and the list, and the rest is the position: Bob's position in Alice's list.
    let forged = format!("{}{}", &alices[..12], &bobs[12..]);
    let page = world.orders.by_user(&alice, None, 100, Some(&forged)).await.unwrap();
    assert!(page.orders.iter().all(|order| order.user_id == alice), "{page:?}");
}

#[tokio::test]
async fn an_unreadable_row_is_left_out_of_the_list() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids = orders_of(&world, &mut rng, "alice", 6).await;
    world.project_all().await;
    world.damage(ids[3], "total", aws_sdk_dynamodb::types::AttributeValue::S("much".into())).await;
    let user = alice();
    let orders = walk(2, async |cursor| world.orders.by_user(&user, None, 2, cursor).await.unwrap()).await;
    assert_eq!(orders.len(), 5);
}

#[tokio::test]
async fn a_user_without_orders_has_an_empty_list() {
    let world = World::start().await;
    let none = OrderPage { orders: Vec::new(), next_cursor: None };
    assert_eq!(world.orders.by_user(&alice(), None, 10, None).await.unwrap(), none);
    assert_eq!(world.orders.by_status(Status::Paid.try_into().unwrap(), 10, None).await.unwrap(), none);
}
