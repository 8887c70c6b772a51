//! Operators at work, and the schedules, while there is traffic.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::TimeDelta;
use dynamodb_event_store::{EventStore, Loaded, Request, StreamId};
use fastrand::Rng;
use orders_core::domain::{Item, Money, Order, OrderEvent, OrderId};
use serde_json::{Value, json};
use service_clock::Timestamp;
use tokio::time::sleep;

use super::Run;
use super::clients::{OWNERS, TOTAL};
use super::server::EXPIRY_HOURS;
use crate::shop::PRODUCT;

/// Steps of a rebuild.
const STEPS: usize = 20;

/// Works until the time is up.
pub async fn operate(run: Run, mut rng: Rng) {
    while !run.is_over() {
        let work = match rng.u32(..8) {
            0 => schedule(&run, "expire-orders").await,
            1 => schedule(&run, "settle-payments").await,
            2 => schedule(&run, "catch-up-read-models").await,
            3 => steps(&run, "rebuild-orders", "orders").await,
            4 => steps(&run, "rebuild-orders", "sales").await,
            5 => republish(&run).await,
            _ => old_order(&run, &mut rng).await,
        };
        run.stack.count(&format!("operator: {work}"));
        sleep(Duration::from_millis(rng.u64(..1_500))).await;
    }
}

/// Runs a schedule now.
pub async fn schedule(run: &Run, function: &'static str) -> &'static str {
    drop(run.client.control(&format!("/dev/schedules/{function}"), json!({})).await);
    function
}

/// Runs a function on all orders until it is done, or fails too often.
pub async fn steps(run: &Run, function: &'static str, model: &str) -> &'static str {
    drop(progress(run, function, model).await);
    function
}

/// The progress of a function on all orders when it is done.
pub async fn progress(run: &Run, function: &'static str, model: &str) -> Option<Value> {
    let mut event = json!({"model": model, "segment": 0, "total_segments": 1});
    for _ in 0..STEPS {
        // A failed step is repeated.
        match run.stack.invoke(function, event.clone()).await {
            Value::Null => {}
            done if done["progress"]["done"] == true => return Some(done["progress"].clone()),
            next => event = next,
        }
    }
    None
}

async fn republish(run: &Run) -> &'static str {
    let until = Timestamp::now();
    let span = json!({"from": until - TimeDelta::seconds(20), "until": until});
    drop(run.stack.invoke("republish", span).await);
    "republish"
}

/// Stores an order that nobody paid for longer than orders are kept, as an import would.
async fn old_order(run: &Run, rng: &mut Rng) -> &'static str {
    let stack = run.stack.description();
    let client = orders_local::dynamodb::client(stack["dynamodb"].as_str().expect("an address"));
    let store: EventStore<Order> =
        EventStore::with_client(client, run.stack.table("OrderEvents"), const { NonZeroU32::new(14).unwrap() });
    let order_id = OrderId(uuid::Uuid::new_v4());
    let created = OrderEvent::OrderCreated {
        order_id,
        user_id: run.client.sub(OWNERS[rng.usize(..OWNERS.len())]).try_into().expect("a user"),
        items: vec![Item { product_id: PRODUCT.parse().expect("an id"), quantity: 1, price: Money(TOTAL) }],
        total: Money(TOTAL),
        created_at: Timestamp::now() - TimeDelta::hours(i64::from(EXPIRY_HOURS) + 1),
    };
    let decide = |_: &Order, _| Ok::<_, Infallible>(vec![created.clone()]);
    let new = Loaded::new_stream(StreamId::from(order_id));
    match store.execute(new, &Request::unkeyed(), decide).await {
        Ok(_) => "an old order",
        // The stack is killed.
        Err(_) => "an old order is not stored",
    }
}
