//! Publication under faults: no event is lost, and repeats have the same id.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use dynamodb_testkit::wait::until;
use futures::future::join_all;
use orders_local::bus::{Fault, Mode};
use orders_local::lambda::Containers;
use orders_tests::database::external;
use orders_tests::logs::LogLines;
use orders_tests::shop::Shop;
use serde_json::json;

use crate::consumer::{consumed, everything_arrives, published, records, stored};

/// Creates and pays orders concurrently.
async fn sell(shop: &Shop, orders: usize) {
    let sale = || async {
        let order_id = shop.create().await;
        shop.pay(&order_id).await.expect(200);
    };
    join_all((0..orders).map(|_| sale())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_killed_between_any_two_calls_loses_nothing() {
    let shop = Shop::open().await;
    let publisher: Arc<Containers> = shop.stack.containers("publish-events").unwrap().clone();
    let kills = Arc::new(AtomicUsize::new(0));
    let (killed, victim) = (kills.clone(), publisher.clone());
    // At the first calls of either kind, before the call is done or before its response.
    shop.stack.bus().faults().plan(move |call| {
        let lethal = if call.operation == "PutEvents" { call.before < 10 } else { call.before < 2 };
        lethal.then(|| {
            victim.crash();
            killed.fetch_add(1, Ordering::Relaxed);
            if call.before % 2 == 0 { Fault::Hang } else { Fault::HangAfter }
        })
    });
    sell(&shop, 15).await;
    everything_arrives(&shop).await;
    assert!(kills.load(Ordering::Relaxed) >= 12, "killed {kills:?} times");
    assert!(published(&shop).len() > consumed(&shop).len(), "some events were published twice, with the same id");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_fail_within_an_accepted_request_are_published_later() {
    let shop = Shop::open().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    shop.stack.bus().faults().plan(move |call| match call.operation.as_str() {
        "PutEvents" => {
            counted.fetch_add(1, Ordering::Relaxed);
            Some([Fault::FailEntries(2), Fault::FailEntries(1), Fault::LoseResponse, Fault::Fail][call.before % 4])
                .filter(|_| call.before < 40)
        }
        _ => None,
    });
    sell(&shop, 12).await;
    everything_arrives(&shop).await;
    assert!(calls.load(Ordering::Relaxed) > 10, "{calls:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_down_delays_events_and_loses_none() {
    let shop = Shop::open().await;
    shop.create().await;
    everything_arrives(&shop).await;
    let before = published(&shop).len();
    shop.stack.bus().faults().mode(Mode::Down);
    sell(&shop, 5).await;
    shop.projected(&stored(&shop).await[0].0, 1).await;
    assert_eq!(published(&shop).len(), before);
    shop.stack.bus().faults().mode(Mode::Partial);
    everything_arrives(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_repeated_and_reordered_batches_have_the_same_ids() {
    let shop = Shop::open().await;
    sell(&shop, 10).await;
    everything_arrives(&shop).await;
    let once = consumed(&shop);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut records = records(&shop).await;
    let before = published(&shop).len();
    for _ in 0..3 {
        chance.shuffle(&mut records);
        let from = chance.usize(..records.len() / 2);
        let batch = json!({ "Records": records[from..] });
        assert_eq!(shop.invoke("publish-events", &batch).await, json!({ "batchItemFailures": [] }));
    }
    assert!(published(&shop).len() > before);
    assert_eq!(consumed(&shop), once, "the repeats add no event");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_whose_bus_does_not_exist_does_not_start_and_logs_why() {
    let log = LogLines::default();
    let missing = BTreeMap::from([("EVENT_BUS_NAME".to_owned(), "nothing".to_owned())]);
    let shop = Shop::open_as(|options| {
        options.function_environment.insert("publish-events".into(), missing);
        options.logs = log.sink();
    })
    .await;
    shop.create().await;
    let message = "the event bus nothing cannot be used";
    until(message, async || log.of("publish-events").iter().any(|line| line.contains(message))).await;
    assert!(published(&shop).is_empty());
    let denied = shop.take_denied();
    let of_that_bus = denied.iter().all(|denied| denied.resource.ends_with("event-bus/nothing"));
    assert!(of_that_bus && !denied.is_empty(), "{denied:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_event_is_logged_as_one_error_line() {
    let log = LogLines::default();
    let shop = Shop::open_as(|options| options.logs = log.sink()).await;
    let unknown_order = include_str!("../../../events/on-shipment-event-delivered.json");
    // It starts while the bus is up.
    shop.stack.invoke("on-shipment-event", unknown_order.into()).await.unwrap().unwrap();
    shop.stack.bus().faults().mode(Mode::Down);
    for (function, event, reason) in [
        ("on-shipment-event", unknown_order, "event not processed"),
        ("project-orders", r#"{"Records": 5}"#, "Records: invalid type: integer `5`"),
    ] {
        shop.stack.invoke(function, event.into()).await.unwrap().unwrap_err();
        let mut errors = Vec::new();
        until("the error line", async || {
            errors = log.of(function);
            // A line with `_aws` is a metric.
            errors.retain(|line| ["INFO", "WARN", "\"_aws\""].iter().all(|other| !line.contains(other)));
            !errors.is_empty()
        })
        .await;
        assert!(errors.len() == 1 && errors[0].contains(reason) && !errors[0].contains("Diagnostic"), "{errors:#?}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_stored_while_the_bus_was_down_are_published_after_a_restart() {
    let data = std::env::temp_dir().join(format!("orders-events-{}", uuid::Uuid::new_v4()));
    if external().is_some() {
        // Only the embedded database keeps its items in the stack's directory.
        return;
    }
    let prefix = OnceLock::new();
    let open = || {
        Shop::open_as(|options| {
            options.data = Some(data.clone());
            options.reading.prefix = prefix.get_or_init(|| options.reading.prefix.clone()).clone();
        })
    };
    let shop = open().await;
    shop.stack.bus().faults().mode(Mode::Down);
    sell(&shop, 3).await;
    shop.close().await;
    let shop = open().await;
    everything_arrives(&shop).await;
    shop.close().await;
    // The last file may be closed a moment after the stack.
    until("the removal of the directory", async || std::fs::remove_dir_all(&data).is_ok() || !data.exists()).await;
}
