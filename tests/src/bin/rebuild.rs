//! Measures a rebuild of many orders by the real function, while commands keep arriving and the function is killed
//! half-way; and next to it what the database takes at all: `cargo run --release -p orders-tests --bin rebuild [ORDERS …]`.
//! Of 10,000 and then of 100,000 orders, unless they are named. Fails when a row is wrong, or a bound does not hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement fails by a panic that says why"
)]

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use dynamodb_event_store::projection::{RebuildProgress, Verification};
use dynamodb_event_store::{Consistency, EventStore, StreamId, Until};
use futures::{StreamExt, stream};
use orders_core::domain::Order;
use orders_core::read_model::{OrderView, Orders};
use orders_local::database::{Database, Storage};
use orders_local::tables;
use orders_local::template::{Table, Template, TemplateOptions, project_path};
use orders_tests::mass::{Item, Lives, fill};
use orders_tests::shop::{Shop, until_within};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const SIZES: [usize; 2] = [10_000, 100_000];
/// Of how many orders one is only begun, so that commands can go on with it.
const BEGUN: usize = 200;
/// How often a command arrives.
const PACE: Duration = Duration::from_millis(25);
/// How many rows the plain loop writes at once, as the rebuild does.
const IN_FLIGHT: usize = 32;
/// The least part of the plain loop's throughput.
const LEAST: f64 = 0.5;
/// The most that the function's peak memory may grow with a tenfold table, and the most that it may be. An allocator that
/// works longer holds a little more.
const GROWTH: f64 = 1.5;
const MEMORY_MB: f64 = 64.0;

struct Measured {
    peak_mb: f64,
}

#[tokio::main]
async fn main() {
    let named: Vec<usize> = std::env::args().skip(1).map(|size| size.parse().unwrap()).collect();
    let sizes = if named.is_empty() { SIZES.to_vec() } else { named };
    let lives = Lives::live().await;
    let mut peaks = Vec::new();
    for size in sizes {
        peaks.push(measure(size, &lives).await.peak_mb);
    }
    let (least, most) = (peaks.iter().copied().fold(f64::MAX, f64::min), peaks.iter().copied().fold(0.0, f64::max));
    assert!(most <= MEMORY_MB, "the function takes {most:.0} MB");
    assert!(most <= least * GROWTH, "the function's memory grows with the table: {peaks:.0?} MB");
}

async fn measure(orders: usize, lives: &Lives) -> Measured {
    let database = Database::start(&Storage::Memory).unwrap();
    let client = database.client();
    let clock = Instant::now();
    let template = Template::load(&project_path(), &TemplateOptions::default()).unwrap();
    let begun = fill(&client, template.table("OrderEvents").unwrap(), lives, (orders, orders / BEGUN)).await;
    println!("{orders} orders of four events, {} of one; stored in {:.1?}.", begun.len(), clock.elapsed());
    let shop = Shop::open_as(|options| {
        options.dynamodb = Some(database.endpoint().to_owned());
        options.reading.prefix.clear();
    })
    .await;

    let (over, commands) = (AtomicBool::new(false), AtomicU64::new(0));
    let clock = Instant::now();
    let rebuild = async {
        let rebuilt = rebuild(&shop, orders as u64 / 2).await;
        over.store(true, Ordering::Relaxed);
        (rebuilt, clock.elapsed())
    };
    let ((rebuilt, took), newcomers) = tokio::join!(rebuild, command(&shop, &begun, &over, &commands));
    let RebuildProgress { streams: seen, events, written, newer, .. } = rebuilt.progress;
    let rate = seen as f64 / took.as_secs_f64();
    println!("  rebuild:     {seen} orders with {events} events in {took:.1?}: {rate:.0} rows a second");
    println!("               {written} written, {newer} newer; {} commands meanwhile", commands.into_inner());
    println!("               killed after {} orders, and went on after them", rebuilt.done_when_killed);
    println!("               peak memory of the function: {:.1} MB", rebuilt.peak_mb);
    assert_eq!(rebuilt.progress.unprojectable, 0);
    let all = (orders + begun.len()) as u64;
    assert!((all..=all + newcomers.len() as u64).contains(&seen), "{seen} orders were seen of {all}");

    for order_id in &newcomers {
        shop.projected(order_id, 1).await;
    }
    check(&shop, all, begun.iter().chain(&newcomers)).await;
    let floor = floor(&shop, &client).await;
    println!("  plain loop:  {floor:.0} rows a second; the rebuild is at {:.2} of it", rate / floor);
    shop.close().await;
    drop(database);
    assert!(rate >= floor * LEAST, "less than {LEAST} of what the database takes");
    Measured { peak_mb: rebuilt.peak_mb }
}

struct Rebuilt {
    progress: RebuildProgress,
    done_when_killed: u64,
    peak_mb: f64,
}

/// Drives the function to the end, as a caller does who gives the answer back each time, and kills it once when so many
/// orders are done.
async fn rebuild(shop: &Shop, kill_after: u64) -> Rebuilt {
    let containers = shop.stack.containers("rebuild-orders").unwrap();
    let mut run = json!({ "segment": 0, "total_segments": 1, "seconds": 1 });
    let (mut progress, mut done_when_killed, mut peak_mb) = (RebuildProgress::default(), None, 0.0_f64);
    while !progress.done {
        let invoked = shop.stack.invoke("rebuild-orders", run.to_string().into());
        let outcome = if done_when_killed.is_none() && progress.streams >= kill_after {
            // In the midst of a run.
            let killed = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                peak_mb = peak_mb.max(peak_of("rebuild-orders"));
                containers.crash();
            };
            done_when_killed = Some(progress.streams);
            let (outcome, ()) = tokio::join!(invoked, killed);
            assert!(outcome.as_ref().unwrap().is_err(), "it was not killed");
            outcome
        } else {
            invoked.await
        };
        peak_mb = peak_mb.max(peak_of("rebuild-orders"));
        let Ok(answer) = outcome.unwrap() else { continue };
        run = serde_json::from_slice(&answer).unwrap();
        let next: RebuildProgress = serde_json::from_value(run["progress"].clone()).unwrap();
        assert!(next.done || next.streams > progress.streams, "it does not move on");
        progress = next;
    }
    Rebuilt { progress, done_when_killed: done_when_killed.expect("a rebuild that takes some runs"), peak_mb }
}

/// Goes on with the orders that are only begun, and then creates others and goes on with these; answers the latter.
async fn command(shop: &Shop, begun: &[String], over: &AtomicBool, commands: &AtomicU64) -> Vec<String> {
    let mut pace = tokio::time::interval(PACE);
    let (mut begun, mut newcomers) = (begun.iter(), Vec::new());
    while !over.load(Ordering::Relaxed) {
        let order_id = match begun.next() {
            Some(order_id) => order_id.clone(),
            None => {
                newcomers.push(shop.create().await);
                newcomers[newcomers.len() - 1].clone()
            }
        };
        pace.tick().await;
        shop.pay(&order_id).await.expect(200);
        pace.tick().await;
        shop.ship(&order_id).await.expect(200);
        pace.tick().await;
        shop.deliver(&order_id).await.expect(200);
        commands.fetch_add(3, Ordering::Relaxed);
        pace.tick().await;
    }
    newcomers
}

/// Every row is what its events make, says the function that verifies; and so says the order itself, of those that had
/// commands and of some others.
async fn check(shop: &Shop, orders: u64, changed: impl Iterator<Item = &String>) {
    let clock = Instant::now();
    let mut run = json!({ "segment": 0, "total_segments": 1 });
    let verification: Verification = loop {
        run = ask(shop, "verify-orders", &run).await;
        let verification: Verification = serde_json::from_value(run["progress"].clone()).unwrap();
        if verification.done {
            break verification;
        }
    };
    assert_eq!(verification.different, 0, "{verification:?}");
    assert!(verification.streams >= orders, "{verification:?}");
    println!(
        "  verified:    {} orders in {:.1?}: every row is what its events make",
        verification.streams,
        clock.elapsed()
    );

    let table = |logical_id| shop.stack.template().table(logical_id).unwrap().name.clone();
    let (client, every) = (shop.stack.client(), NonZeroU32::new(14).unwrap());
    let store = EventStore::<Order>::with_client(client.clone(), table("OrderEvents"), every);
    let rows = Orders::new(client.clone(), table("Orders"));
    let page = client.scan().table_name(table("Orders")).limit(1_000).send().await.unwrap();
    let some = page.items().iter().map(|row| row["order_id"].as_s().unwrap().clone());
    for order_id in changed.cloned().chain(some) {
        let stream = StreamId::new(order_id.as_str());
        let folded = async || store.load_until(&stream, Until::Head, Consistency::Strong).await.unwrap();
        let row = async || rows.get(order_id.parse().unwrap()).await.unwrap();
        until_within(Duration::from_secs(20), async || row().await == OrderView::of(&folded().await)).await;
    }
}

async fn ask<T: DeserializeOwned>(shop: &Shop, function: &str, event: &Value) -> T {
    let answer = shop.stack.invoke(function, event.to_string().into()).await.unwrap().unwrap();
    serde_json::from_slice(&answer).unwrap()
}

/// Rows a second of the SDK itself, that reads the same events in the same pages and writes the same rows, with the same
/// indexes, on no condition; what the rows are it knows beforehand.
async fn floor(shop: &Shop, client: &Client) -> f64 {
    let template = shop.stack.template();
    let (events, rows) = (&template.table("OrderEvents").unwrap().name, template.table("Orders").unwrap());
    let all: Vec<Item> =
        client.scan().table_name(&rows.name).limit(1_000).into_paginator().items().send().try_collect().await.unwrap();
    let copy = Table { name: "floor".into(), ..rows.clone() };
    tables::create(client, &copy).await.unwrap();
    let (count, mut left, clock) = (all.len(), all.into_iter(), Instant::now());
    let mut pages = client.scan().table_name(events).limit(1_000).into_paginator().send();
    let mut read = pages.next().await;
    while let Some(page) = read {
        // Two orders have seven commits.
        let rows = page.unwrap().items().len() * 2 / 7;
        let (next, ()) = tokio::join!(pages.next(), put_all(client, "floor", left.by_ref().take(rows)));
        read = next;
    }
    put_all(client, "floor", left).await;
    count as f64 / clock.elapsed().as_secs_f64()
}

async fn put_all(client: &Client, table: &str, rows: impl Iterator<Item = Item>) {
    let puts = stream::iter(rows).map(|row| client.put_item().table_name(table).set_item(Some(row)).send());
    puts.buffered(IN_FLIGHT).map(|put| drop(put.unwrap())).collect::<()>().await;
}

/// The most memory that a process of that name, started by this one, has had, in MB; 0 where `/proc` does not tell.
fn peak_of(name: &str) -> f64 {
    let own = std::process::id().to_string();
    let peak = |status: String| {
        let field = |wanted: &str| {
            status.lines().find_map(|line| line.strip_prefix(wanted)?.split_whitespace().next().map(str::to_owned))
        };
        let ours = field("Name:")? == name && field("PPid:")? == own;
        field("VmHWM:").filter(|_| ours)?.parse::<f64>().ok()
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let statuses = processes.filter_map(|process| std::fs::read_to_string(process.path().join("status")).ok());
    statuses.filter_map(peak).fold(0.0, f64::max) / 1024.0
}
