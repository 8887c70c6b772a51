//! The list of deferred payments.

use std::collections::BTreeMap;

use dynamodb_event_store::Until;
use orders_core::domain::{OrderEvent, OrderId};
use orders_core::read_model::{DeferredCount, DeferredPlace};
use service_clock::Timestamp;

use crate::world::World;
use orders_tests::lives::{TOTAL, created, life, new_id, payment, seeded, start};

/// The orders of all pages of all lists.
async fn deferred(world: &World, limit: i32) -> BTreeMap<OrderId, Timestamp> {
    let mut found = BTreeMap::new();
    for beginning in DeferredPlace::beginnings() {
        let (mut place, mut before) = (Some(beginning), Timestamp::UNIX_EPOCH);
        while let Some(from) = place {
            let page = world.orders.deferred(from, limit).await.unwrap();
            for entry in page.entries {
                assert!(before <= entry.deferred_at, "not oldest first");
                before = entry.deferred_at;
                assert_eq!(found.insert(entry.order_id, entry.deferred_at), None, "listed twice");
            }
            place = page.next;
        }
    }
    found
}

#[tokio::test]
async fn the_list_has_the_orders_with_a_deferred_payment_in_any_order_of_delivery() {
    let (world, mut rng) = (World::start().await, seeded());
    let ids: Vec<OrderId> = (0..150).map(|_| new_id(&mut rng)).collect();
    let histories: Vec<_> = ids.iter().map(|id| (*id, life(&mut rng, *id, "alice", 6))).collect();
    world.store_histories(histories).await;
    // Batches of any size in any order; together they have every record.
    let mut records = world.records().await;
    rng.shuffle(&mut records);
    while !records.is_empty() {
        let batch = records.split_off(records.len() - rng.usize(1..=records.len().min(20)));
        world.projector.project(batch).await;
    }
    let mut expected = BTreeMap::new();
    for id in ids {
        let view = world.fold(id, Until::Head).await.unwrap();
        expected.extend(view.deferred_payment.map(|deferred| (id, deferred.deferred_at)));
    }
    assert!(expected.len() > 5, "too few deferred payments: {}", expected.len());
    for limit in [1, 7, 1_000] {
        assert_eq!(deferred(&world, limit).await, expected, "{limit}");
    }
    let oldest = expected.values().min().copied();
    let count = DeferredCount { waiting: expected.len() as u64, and_more: false, oldest };
    assert_eq!(world.orders.deferred_count().await.unwrap(), count);
}

#[tokio::test]
async fn a_payment_stays_deferred_when_another_one_is_rejected_or_refunded() {
    let (world, mut rng) = (World::start().await, seeded());
    let order_id = new_id(&mut rng);
    let reason = || "card expired".parse().unwrap();
    let rejected = |name| OrderEvent::OrderPaymentRejected {
        order_id,
        payment_id: payment(name),
        reason: reason(),
        rejected_at: start(),
    };
    let refund_due = |name| OrderEvent::OrderRefundDue {
        order_id,
        payment_id: payment(name),
        amount: TOTAL,
        reason: reason(),
        due_at: start(),
    };
    let payment_deferred =
        OrderEvent::OrderPaymentDeferred { order_id, payment_id: payment("p1"), amount: TOTAL, deferred_at: start() };
    let mut steps = vec![(created(order_id, "alice", start()), false), (vec![payment_deferred], true)];
    steps.extend([(vec![rejected("p2")], true), (vec![refund_due("p3")], true), (vec![refund_due("p1")], false)]);
    for (events, listed) in steps {
        world.store(order_id, events, start()).await;
        // Each commit is a batch of its own.
        let newest = world.records_of(order_id).await.pop().unwrap();
        world.projector.project(vec![newest]).await;
        assert_eq!(deferred(&world, 10).await.contains_key(&order_id), listed);
    }
}
