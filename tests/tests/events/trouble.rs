//! Publication while everything goes wrong: nothing is lost, and repeats can be told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use futures::future::join_all;
use orders_local::bus::{Fault, Mode};
use orders_local::lambda::Containers;
use orders_local::lambda::Logs;
use orders_tests::shop::{Shop, until};
use serde_json::{Value, json};

use crate::consumer::{consumed, everything_arrives, records, stored, taken};

/// Orders that are created and paid, many at once.
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
    // At the first calls of either kind: before they are done, and after it, but before the answer.
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
    assert!(kills.load(Ordering::Relaxed) >= 12, "it was killed {kills:?} times");
    assert!(taken(&shop).len() > consumed(&shop).len(), "some events came twice, under the same id");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_fail_inside_an_accepted_request_are_not_missing_in_the_end() {
    let shop = Shop::open().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    shop.stack.bus().faults().plan(move |call| match call.operation.as_str() {
        "PutEvents" => {
            counted.fetch_add(1, Ordering::Relaxed);
            Some([Fault::FailEntries(2), Fault::FailEntries(1), Fault::LoseAnswer, Fault::Fail][call.before % 4])
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
    let before = taken(&shop).len();
    shop.stack.bus().faults().mode(Mode::Down);
    sell(&shop, 5).await;
    shop.projected(&stored(&shop).await[0].0, 1).await;
    assert_eq!(taken(&shop).len(), before);
    shop.stack.bus().faults().mode(Mode::Partial);
    everything_arrives(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_come_twice_and_out_of_order_are_told_by_their_ids() {
    let shop = Shop::open().await;
    sell(&shop, 10).await;
    everything_arrives(&shop).await;
    let once = consumed(&shop);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut records = records(&shop).await;
    let before = taken(&shop).len();
    for _ in 0..3 {
        chance.shuffle(&mut records);
        let from = chance.usize(..records.len() / 2);
        let batch = json!({ "Records": records[from..] });
        let answer = shop.stack.invoke("publish-events", batch.to_string().into()).await.unwrap().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), json!({ "batchItemFailures": [] }));
    }
    assert!(taken(&shop).len() > before);
    assert_eq!(consumed(&shop), once, "the repeats add nothing");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_whose_bus_does_not_exist_does_not_start_and_says_so() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let gather = lines.clone();
    let missing = HashMap::from([("EVENT_BUS_NAME".to_owned(), "nothing".to_owned())]);
    let shop = Shop::open_as(|options| {
        options.function_environment.insert("publish-events".into(), missing.into_iter().collect());
        options.logs = Logs::to(move |function, line| gather.lock().unwrap().push(format!("{function}: {line}")));
    })
    .await;
    shop.create().await;
    let said = || {
        let lines = lines.lock().unwrap();
        lines
            .iter()
            .any(|line| line.starts_with("publish-events") && line.contains("the event bus nothing cannot be used"))
    };
    until(async || said()).await;
    assert!(taken(&shop).is_empty(), "nothing is swallowed by a bus that is not there");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_event_is_one_error_line_for_people() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let gather = lines.clone();
    let shop = Shop::open_as(|options| {
        options.logs = Logs::to(move |function, line| gather.lock().unwrap().push(format!("{function}: {line}")));
    })
    .await;
    let unknown_order = include_str!("../../../events/on-shipment-event-delivered.json");
    // It starts while the bus is well.
    shop.stack.invoke("on-shipment-event", unknown_order.into()).await.unwrap().unwrap();
    shop.stack.bus().faults().mode(Mode::Down);
    for (function, event, reason) in [
        ("on-shipment-event", unknown_order, "an event was not dealt with"),
        ("project-orders", r#"{"Records": 5}"#, "Records: invalid type: integer `5`"),
    ] {
        shop.stack.invoke(function, event.into()).await.unwrap().unwrap_err();
        let told = || -> Vec<String> {
            let lines = lines.lock().unwrap();
            let errors = lines.iter().filter(|line| line.starts_with(function) && !line.contains("INFO"));
            errors.filter(|line| !line.contains("WARN")).cloned().collect()
        };
        until(async || !told().is_empty()).await;
        let told = told();
        assert!(told.len() == 1 && told[0].contains(reason) && !told[0].contains("Diagnostic"), "{told:#?}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_while_the_publisher_was_away_is_published_after_a_restart() {
    let data = std::env::temp_dir().join(format!("orders-events-{}", uuid::Uuid::new_v4()));
    if std::env::var("DYNAMODB_ENDPOINT").is_ok_and(|endpoint| !endpoint.is_empty()) {
        // Only the embedded database keeps its items where the stack keeps the rest.
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
    // Its last file may be closed a moment after the stack.
    until(async || std::fs::remove_dir_all(&data).is_ok() || !data.exists()).await;
}
