//! The cost of an order's life, measured on the local stack: `cargo run --release -p orders-tests --bin cost`.

pub mod bill;
pub mod prices;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_testkit::call_log::Call;
use dynamodb_testkit::wait::{until, until_within};
use futures::{StreamExt, stream};
use orders_local::journal::EntryKind;
use orders_local::lambda::Logs;

use self::bill::{Invocations, Units, Usage};
use crate::shop::Shop;

/// The functions that serve an order's life. Those on schedules cost the same without orders.
const FUNCTIONS: [(&str, &str); 7] = [
    ("CreateOrder", "create-order"),
    ("PayOrder", "pay-order"),
    ("ShipOrder", "ship-order"),
    ("DeliverOrder", "deliver-order"),
    ("GetOrder", "get-order"),
    ("ProjectOrders", "project-orders"),
    ("PublishEvents", "publish-events"),
];
/// The events of a life.
const EVENTS: usize = 4;
/// The requests of a life.
const REQUESTS: usize = 5;
/// How long the streams may take for all orders.
const PATIENCE: Duration = Duration::from_secs(300);

/// What functions logged and how long they took.
#[derive(Debug, Default)]
struct Metered {
    functions: BTreeMap<String, Invocations>,
    lines: usize,
    bytes: usize,
}

/// Runs the lives of `orders` orders: created, paid, looked at, shipped and delivered, `at_once` at a time. With one at a
/// time, each event is projected before the next request.
pub async fn lives(orders: usize, at_once: usize) -> Usage {
    let metered = Arc::new(Mutex::new(Metered::default()));
    let names = FUNCTIONS.map(|(function, _)| function);
    let (shop, proxy) = Shop::open_behind_proxy(&names, |options| options.logs = meter(&metered)).await;
    let warm = shop.create().await;
    live(&shop, &warm, true).await;
    settled(&shop, std::slice::from_ref(&warm), 1).await;
    proxy.faults.take_calls();
    *metered.lock().unwrap() = Metered::default();

    let life = async |shop: &Shop| {
        let order_id = shop.create().await;
        live(shop, &order_id, at_once == 1).await;
        order_id
    };
    let each = stream::iter(0..orders).map(|_| life(&shop));
    let ids: Vec<String> = each.buffer_unordered(at_once).collect().await;
    settled(&shop, &ids, orders + 1).await;
    let events = published(&shop) - EVENTS;
    let calls = proxy.faults.take_calls().0;
    let prefix = shop.table("Orders").strip_suffix("Orders").unwrap_or_default().to_owned();
    let mut tables = BTreeMap::<String, Units>::new();
    for call in &calls {
        let name = call.table.strip_prefix(&prefix).unwrap_or("several").to_owned();
        tables.entry(name).or_default().add(call);
    }
    let memory: BTreeMap<_, _> =
        shop.stack.template().functions.iter().map(|f| (f.binary.clone(), f.memory_mb)).collect();
    let Metered { mut functions, lines, bytes } = std::mem::take(&mut *metered.lock().unwrap());
    for (name, invocations) in &mut functions {
        invocations.memory_mb = memory[name];
    }
    shop.close().await;
    let requests = orders * REQUESTS;
    Usage { orders, requests, functions, tables, events, log_lines: lines, log_bytes: bytes }
}

impl Units {
    fn add(&mut self, call: &Call) {
        match call.operation.as_str() {
            "GetItem" | "Query" | "Scan" | "BatchGetItem" => self.read += call.units,
            // A failed condition is billed as the write; the database reports nothing for it.
            _ if call.error.is_some() => self.written += 1.0,
            _ => self.written += call.units,
        }
    }
}

fn meter(metered: &Arc<Mutex<Metered>>) -> Logs {
    let served = |function: &str| FUNCTIONS.iter().any(|(_, binary)| *binary == function);
    let (lines, reports) = (metered.clone(), metered.clone());
    let logs = Logs::to(move |function, line| {
        if served(function) {
            let mut metered = lines.lock().unwrap();
            metered.lines += 1;
            metered.bytes += line.len();
        }
    });
    logs.reporting(move |function, duration| {
        if served(function) {
            let mut metered = reports.lock().unwrap();
            let invocations = metered.functions.entry(function.to_owned()).or_default();
            invocations.count += 1;
            invocations.milliseconds += duration.as_micros().div_ceil(1_000);
        }
    })
}

/// From the payment to the delivery.
async fn live(shop: &Shop, order_id: &str, waiting: bool) {
    let projected = async |version| {
        if waiting {
            shop.projected(order_id, version).await;
        }
    };
    projected(1).await;
    shop.pay(order_id).await.expect(200);
    projected(2).await;
    shop.get("customer", &format!("/orders/{order_id}")).await.expect(200);
    shop.ship(order_id).await.expect(200);
    projected(3).await;
    shop.deliver(order_id).await.expect(200);
    projected(4).await;
}

/// Waits until all events of these orders are projected, counted and published.
async fn settled(shop: &Shop, ids: &[String], all: usize) {
    for order_id in ids {
        shop.projected(order_id, EVENTS as u64).await;
        until("the sales have the order", async || {
            let get = shop.stack.client().get_item().table_name(shop.table("SalesOrders"));
            let row = get.key("order_id", AttributeValue::S(order_id.clone())).send().await.unwrap().item;
            row.and_then(|row| row.get("version")?.as_n().ok()?.parse::<usize>().ok()) == Some(EVENTS)
        })
        .await;
    }
    until_within(PATIENCE, "all events are published", async || published(shop) >= all * EVENTS).await;
}

/// The events on the bus.
fn published(shop: &Shop) -> usize {
    let entries = shop.stack.bus().journal().since(0);
    entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Event { .. })).count()
}
