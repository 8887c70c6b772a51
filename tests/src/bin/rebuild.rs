//! Measures a rebuild of many orders by the real function, which is killed once, while commands arrive; and for comparison
//! the throughput of the database: `cargo run --release -p orders-tests --bin rebuild [ORDERS …]`. The default is 10,000
//! and then 100,000 orders. Fails when a row is wrong or a bound does not hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement fails by a panic")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use dynamodb_event_store::projection::{RebuildProgress, Verification};
use dynamodb_event_store::{Consistency, StreamId, Until};
use dynamodb_testkit::wait::until;
use futures::{StreamExt, stream};
use orders_core::read_model::OrderView;
use orders_local::dynamodb::tables;
use orders_local::dynamodb::{Database, Storage};
use orders_local::template::{Table, Template, TemplateOptions, project_path};
use orders_tests::mass::{Item, SampleOrders, fill};
use orders_tests::shop::Shop;
use serde_json::json;

const SIZES: [usize; 2] = [10_000, 100_000];
/// One order in this number is only created, for the commands to continue.
const BEGUN: usize = 200;
/// The interval between commands.
const PACE: Duration = Duration::from_millis(25);
/// The number of rows that the plain loop writes concurrently, as the rebuild does.
const IN_FLIGHT: usize = 32;
/// The minimum of the rebuild's throughput, as a share of the plain loop's.
const LEAST: f64 = 0.5;
/// The maximum of the function's peak memory, and of its growth with a table ten times as large.
const GROWTH: f64 = 1.5;
const MEMORY_MB: f64 = 64.0;

#[tokio::main]
async fn main() {
    let named: Vec<usize> = std::env::args().skip(1).map(|size| size.parse().unwrap()).collect();
    let sizes = if named.is_empty() { SIZES.to_vec() } else { named };
    let samples = SampleOrders::store().await;
    let mut peaks = Vec::new();
    for size in sizes {
        peaks.push(measure(size, &samples).await);
    }
    let (least, most) = (peaks.iter().copied().fold(f64::MAX, f64::min), peaks.iter().copied().fold(0.0, f64::max));
    assert!(most <= MEMORY_MB, "the function used {most:.0} MB");
    assert!(most <= least * GROWTH, "the function's memory grows with the table: {peaks:.0?} MB");
}

/// Returns the function's peak memory in MB.
async fn measure(orders: usize, samples: &SampleOrders) -> f64 {
    let database = Database::start(&Storage::Memory).unwrap();
    let client = database.client();
    let clock = Instant::now();
    let template = Template::load(&project_path(), &TemplateOptions::default()).unwrap();
    let begun = fill(&client, template.table("OrderEvents").unwrap(), samples, (orders, orders / BEGUN)).await;
    println!("{orders} orders of four events, {} of one event; stored in {:.1?}.", begun.len(), clock.elapsed());
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
    println!("               killed after {} orders, and continued there", rebuilt.done_when_killed);
    println!("               peak memory of the function: {:.1} MB", rebuilt.peak_mb);
    assert_eq!(rebuilt.progress.unprojectable, 0);
    let all = (orders + begun.len()) as u64;
    assert!((all..=all + newcomers.len() as u64).contains(&seen), "{seen} of {all} orders");

    for order_id in &newcomers {
        shop.projected(order_id, 1).await;
    }
    check(&shop, all, begun.iter().chain(&newcomers)).await;
    let floor = floor(&shop, &client).await;
    println!("  plain loop:  {floor:.0} rows a second; the rebuild is at {:.2} of it", rate / floor);
    shop.close().await;
    drop(database);
    assert!(rate >= floor * LEAST, "less than {LEAST} of the plain loop's throughput");
    rebuilt.peak_mb
}

struct Rebuilt {
    progress: RebuildProgress,
    done_when_killed: u64,
    peak_mb: f64,
}

/// Invokes the function with its own response until it is done, and kills it once after that many orders.
async fn rebuild(shop: &Shop, kill_after: u64) -> Rebuilt {
    let containers = shop.stack.containers("rebuild-orders").unwrap();
    let mut run = json!({ "segment": 0, "total_segments": 1, "seconds": 1 });
    let (mut progress, mut done_when_killed, mut peak_mb) = (RebuildProgress::default(), None, 0.0_f64);
    while !progress.done {
        let invoked = shop.stack.invoke("rebuild-orders", run.to_string().into());
        let outcome = if done_when_killed.is_none() && progress.streams >= kill_after {
            // In the middle of a run.
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
        let Ok(response) = outcome.unwrap() else { continue };
        run = serde_json::from_slice(&response).unwrap();
        let next: RebuildProgress = serde_json::from_value(run["progress"].clone()).unwrap();
        assert!(next.done || next.streams > progress.streams, "the rebuild makes no progress");
        progress = next;
    }
    Rebuilt { progress, done_when_killed: done_when_killed.expect("a rebuild of several runs"), peak_mb }
}

/// Runs the commands of the orders that are only created, and then of new ones; returns the new ones.
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

/// Verifies all rows with the function, and compares the rows of the changed orders, and of some others, with the fold of
/// their events.
async fn check(shop: &Shop, orders: u64, changed: impl Iterator<Item = &String>) {
    let clock = Instant::now();
    let whole = json!({ "segment": 0, "total_segments": 1 });
    let verification = shop.invoke_to_the_end("verify-orders", whole).await;
    let verification: Verification = serde_json::from_value(verification).unwrap();
    assert_eq!(verification.different, 0, "{verification:?}");
    assert!(verification.streams >= orders, "{verification:?}");
    println!("  verified:    {} orders in {:.1?}", verification.streams, clock.elapsed());

    let (client, store) = (shop.stack.client(), shop.events());
    let page = client.scan().table_name(shop.table("Orders")).limit(1_000).send().await.unwrap();
    let some = page.items().iter().map(|row| row["order_id"].as_s().unwrap().clone());
    for order_id in changed.cloned().chain(some) {
        let stream = StreamId::new(order_id.as_str());
        let folded = async || store.load_until(&stream, Until::Head, Consistency::Strong).await.unwrap();
        until(&order_id, async || shop.row(&order_id).await == OrderView::of(&folded().await)).await;
    }
}

/// Rows per second of a plain loop, which reads the same pages of events and writes the same rows, known beforehand, with
/// the same indexes and without a condition.
async fn floor(shop: &Shop, client: &Client) -> f64 {
    let template = shop.stack.template();
    let (events, rows) = (shop.table("OrderEvents"), template.table("Orders").unwrap());
    let all: Vec<Item> =
        client.scan().table_name(&rows.name).limit(1_000).into_paginator().items().send().try_collect().await.unwrap();
    let copy = Table { name: "floor".into(), ..rows.clone() };
    tables::create(client, &copy).await.unwrap();
    let (count, mut left, clock) = (all.len(), all.into_iter(), Instant::now());
    let mut pages = client.scan().table_name(events).limit(1_000).into_paginator().send();
    let mut read = pages.next().await;
    while let Some(page) = read {
        // A delivered and a cancelled order have seven commits.
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

/// The peak memory in MB of a child process of that name; 0 without `/proc`.
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
