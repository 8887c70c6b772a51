//! Sales by day: what the report says is what the events say, whatever happened on the way.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

use dynamodb_event_store::projection::{Ahead, Progress, Projection, Verification};
use dynamodb_event_store::{
    Change, CommitKey, Consistency, EventStore, Loaded, Metadata, Request, Segment, StreamId, StreamRecord,
};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use fastrand::Rng;
use futures::StreamExt;
use futures::future::join_all;
use orders_core::domain::{Money, Order, OrderEvent, OrderId, Status};
use orders_core::read_model::sales::{Day, Figure, Figures, Sales, SalesReport, SalesTotals, Span};
use orders_tests::database::TestTables;
use serde_dynamo::Item;
use serde_json::json;
use tokio::time::Instant;

use crate::lives::{life, new_id, seeded};
use crate::world::{inserted, key};

/// The days on which anything happens.
const DAYS: u32 = 5;

/// How many orders live; the environment may say more.
fn histories() -> usize {
    std::env::var("HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(60)
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// The tables, and what keeps the sales behind a proxy.
struct Shop {
    tables: TestTables,
    proxy: Proxy,
    events: EventStore<Order>,
    sales: Projection<Sales>,
    totals: SalesTotals,
}

impl Shop {
    async fn open() -> Self {
        let tables = TestTables::create(&["OrderEvents", "SalesOrders", "SalesTotals"]).await;
        let proxy = Proxy::start(tables.endpoint());
        let (client, every) = (proxy.client(Duration::from_secs(5)), NonZeroU32::new(14).unwrap());
        let model = Sales { currency: "EUR".parse().unwrap() };
        let through_proxy = EventStore::new(client.clone(), tables.name("OrderEvents"), every);
        Self {
            events: EventStore::new(tables.client(), tables.name("OrderEvents"), every),
            sales: Projection::new(client, tables.name("SalesOrders"), through_proxy, model)
                .with_totals(tables.name("SalesTotals")),
            totals: SalesTotals::new(tables.client(), tables.name("SalesTotals"), model),
            proxy,
            tables,
        }
    }

    async fn store(&self, order_id: OrderId, life: Vec<Vec<OrderEvent>>) {
        for events in life {
            let id = StreamId::new(order_id.to_string());
            let loaded = match events.first() {
                Some(OrderEvent::OrderCreated { .. }) => Loaded::new_stream(id),
                _ => self.events.load(&id, Consistency::Strong).await.unwrap(),
            };
            let request =
                Request { key: CommitKey::unkeyed(), metadata: Metadata::default(), if_match: None, deadline: later() };
            let decide = |_: &Order, _| Ok::<_, Infallible>(events.clone());
            self.events.execute(loaded, &request, decide).await.unwrap();
        }
    }

    async fn records(&self) -> Vec<StreamRecord> {
        let scan = self.tables.client().scan().table_name(self.tables.name("OrderEvents")).into_paginator().items();
        let items = scan.send().try_collect().await.unwrap();
        let mut images: Vec<Item> = items.into_iter().map(Item::from).collect();
        images.sort_by_cached_key(key);
        (1..).zip(images).map(|(n, image)| inserted(&format!("{n:021}"), image)).collect()
    }

    /// Gives a batch as Lambda does: what fails comes again, from the first record that failed on.
    async fn give(&self, mut batch: Vec<StreamRecord>) {
        loop {
            let projected = self.sales.project(batch.clone()).await;
            assert_eq!((projected.parked, projected.violations), (0, 0), "{projected:?}");
            let Some(from) = projected.retry_from else { return };
            let at = batch.iter().position(|record| record.sequence_number == from).unwrap();
            batch.drain(..at);
        }
    }

    async fn rebuild(&self, ahead: Ahead) {
        let mut progress = Progress::default();
        while !progress.done {
            // It breaks off where a call fails; the same run again is safe.
            let next = self.sales.rebuild(Segment::WHOLE, progress.clone(), ahead, later()).await;
            progress = next.unwrap_or(progress);
        }
    }

    async fn report(&self) -> SalesReport {
        let day = |n: u32| format!("2026-03-{n:02}").parse::<Day>().unwrap();
        self.totals.report(Span::new(day(1), day(DAYS)).unwrap()).await.unwrap()
    }

    async fn verify(&self) -> Verification {
        self.sales.verify(Segment::WHOLE, Verification::default(), later()).await.unwrap()
    }
}

/// The same event on another day.
fn on_some_day(rng: &mut Rng, event: OrderEvent) -> OrderEvent {
    let mut stored = serde_json::to_value(event).unwrap();
    let mut fields = stored["data"].as_object_mut().unwrap().iter_mut();
    let time = fields.find(|(name, _)| name.ends_with("_at")).unwrap().1;
    *time = json!(format!("2026-03-{:02}T{:02}:30:00Z", rng.u32(1..=DAYS), rng.u32(..24)));
    serde_json::from_value(stored).unwrap()
}

/// What the events of one order add to each day, made out from all of them at once.
fn recount(days: &mut BTreeMap<String, Figures>, history: &[OrderEvent]) {
    let paid_with = history.iter().find(|event| event.name() == "OrderPaid").and_then(OrderEvent::payment_id);
    let reached = history.iter().rev().find_map(|event| match event {
        OrderEvent::OrderPaid { .. } => Some(Status::Paid),
        OrderEvent::OrderShipped { .. } => Some(Status::Shipped),
        OrderEvent::OrderDelivered { .. } => Some(Status::Delivered),
        OrderEvent::OrderCancelled { .. } => Some(Status::Cancelled),
        _ => None,
    });
    for event in history {
        let mut count = |figure, amount: &Money| {
            let tally = &mut days.entry(event.occurred_at().format("%Y-%m-%d").to_string()).or_default()[figure];
            tally.count += 1;
            tally.amount += i128::from(amount.0);
        };
        match event {
            OrderEvent::OrderCreated { total, .. } => count(Figure::Orders(reached.unwrap_or(Status::Pending)), total),
            OrderEvent::OrderPaid { amount, .. } => count(Figure::Payments, amount),
            OrderEvent::OrderRefunded { amount, .. } => count(Figure::Refunds, amount),
            OrderEvent::OrderRefundDue { amount, .. } => {
                count(Figure::RefundsDue, amount);
                if event.payment_id() != paid_with {
                    count(Figure::Payments, amount);
                }
            }
            _ => {}
        }
    }
}

/// Orders whose lives are spread over the days, stored; and what they come to.
async fn store_lives(shop: &Shop, rng: &mut Rng, count: usize) -> BTreeMap<String, Figures> {
    let mut expected = BTreeMap::new();
    let mut lives = Vec::new();
    for _ in 0..count {
        let order_id = new_id(rng);
        let life: Vec<Vec<OrderEvent>> = life(rng, order_id, "alice", 8)
            .into_iter()
            .map(|commit| commit.into_iter().map(|event| on_some_day(rng, event)).collect())
            .collect();
        recount(&mut expected, &life.concat());
        lives.push((order_id, life));
    }
    let store = futures::stream::iter(lives).map(|(order_id, life)| shop.store(order_id, life));
    store.buffer_unordered(16).collect::<()>().await;
    expected
}

#[track_caller]
fn assert_is(report: &SalesReport, expected: &BTreeMap<String, Figures>) {
    let expected_of = |day: &Day| expected.get(&day.to_string()).copied().unwrap_or_default();
    for (day, figures) in &report.days {
        assert_eq!(*figures, expected_of(day), "{day}");
    }
    let sum = expected.values().try_fold(Figures::default(), |sum, more| sum.checked_add(more));
    assert_eq!(Some(report.total), sum);
}

#[tokio::test]
async fn sales_are_what_a_recount_says_whatever_is_lost_repeated_reordered_or_cut_off() {
    let (shop, mut rng) = (Shop::open().await, seeded());
    let expected = store_lives(&shop, &mut rng, histories()).await;
    let records = shop.records().await;

    // Each record comes twice, a fifth of them not at all, in any order, in batches of any size, to two readers.
    let mut delivered: Vec<StreamRecord> = [&records[..], &records[..]].concat();
    delivered.retain(|_| rng.u8(..5) > 0);
    rng.shuffle(&mut delivered);
    let mut batches = Vec::new();
    while !delivered.is_empty() {
        let size = rng.usize(1..=40).min(delivered.len());
        batches.push(delivered.split_off(delivered.len() - size));
    }
    let mut chance = Rng::with_seed(rng.u64(..));
    shop.proxy.faults.plan(move |_| match chance.u8(..60) {
        0 | 1 => Some(Fault::LoseAnswer),
        2 => Some(Fault::LoseRequest),
        3 => Some(Fault::FailAfter),
        4 => Some(Fault::Fail),
        5 => Some(Fault::Throttle),
        _ => None,
    });
    let (ones, others) = batches.split_at(batches.len() / 2);
    let in_order = async |batches: &[Vec<StreamRecord>]| {
        for batch in batches {
            shop.give(batch.clone()).await;
        }
    };
    // A rebuild runs beside them.
    tokio::join!(in_order(ones), in_order(others), shop.rebuild(Ahead::Left));
    assert_is(&shop.report().await, &expected);

    shop.proxy.faults.none();
    shop.rebuild(Ahead::Lowered).await;
    shop.give(records).await;
    assert_is(&shop.report().await, &expected);
    let verified = shop.verify().await;
    assert_eq!((verified.different, verified.streams), (0, histories() as u64), "{verified:?}");
}

#[tokio::test]
async fn a_projection_that_is_cut_off_between_any_two_calls_counts_nothing_twice() {
    let (shop, mut rng) = (Shop::open().await, seeded());
    let expected = store_lives(&shop, &mut rng, 30).await;
    let records = shop.records().await;
    for batch in records.chunks(25) {
        // As a container that is killed, ever later.
        for millis in 0..12 {
            drop(tokio::time::timeout(Duration::from_millis(millis), shop.sales.project(batch.to_vec())).await);
        }
        shop.give(batch.to_vec()).await;
    }
    assert_is(&shop.report().await, &expected);
}

#[tokio::test]
async fn orders_whose_events_are_taken_back_are_taken_out_of_the_sales() {
    let (shop, mut rng) = (Shop::open().await, seeded());
    let mut expected = store_lives(&shop, &mut rng, 20).await;
    let (gone, life) = {
        let order_id = new_id(&mut rng);
        (order_id, life(&mut rng, order_id, "alice", 0))
    };
    shop.store(gone, life.clone()).await;
    shop.give(shop.records().await).await;
    let mut with_it = expected.clone();
    recount(&mut with_it, &life.concat());
    assert_is(&shop.report().await, &with_it);

    let keys = shop.records().await.into_iter().filter(|record| key(&record.keys).0 == gone.to_string());
    let client = shop.tables.client();
    let delete = keys.map(|record| {
        let delete = client.delete_item().table_name(shop.tables.name("OrderEvents"));
        delete.set_key(Some(record.keys.into())).send()
    });
    join_all(delete).await.into_iter().for_each(|deleted| drop(deleted.unwrap()));
    shop.rebuild(Ahead::Lowered).await;
    expected.retain(|_, figures| *figures != Figures::default());
    assert_is(&shop.report().await, &expected);
}

#[tokio::test]
async fn what_a_batch_of_sales_costs_is_known() {
    let (shop, mut rng) = (Shop::open().await, seeded());
    store_lives(&shop, &mut rng, 60).await;
    let records = shop.records().await;
    let events: usize = records.iter().map(|record| events_in(record)).sum();
    shop.proxy.faults.take_calls();
    for batch in records.chunks(100) {
        shop.give(batch.to_vec()).await;
    }
    let calls = shop.proxy.faults.take_calls();
    let transactions = calls.of("TransactWriteItems");
    let (batches, units) = (records.len().div_ceil(100), transactions.units());
    println!(
        "{events} events in {} commits of 60 orders, {batches} batches: {} transactions, {units} write units, {:.2} an event",
        records.len(),
        transactions.count(),
        units / events as f64
    );
    assert!(transactions.count() <= 4 * batches, "{:?}", calls.operations());
}

fn events_in(record: &StreamRecord) -> usize {
    match &record.change {
        Change::Inserted(image) => match image.get("events") {
            Some(serde_dynamo::AttributeValue::L(events)) => events.len(),
            other => panic!("no events: {other:?}"),
        },
        other => panic!("no image: {other:?}"),
    }
}
