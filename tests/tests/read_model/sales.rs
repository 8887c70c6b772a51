//! Sales by day: what the report says is what the events say, whatever happened on the way.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

use dynamodb_event_store::projection::{Counts, Projection, RebuildProgress, RowsAhead, Verification};
use dynamodb_event_store::{Change, Consistency, EventStore, Loaded, Request, Segment, StreamId, StreamRecord};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use fastrand::Rng;
use futures::StreamExt;
use futures::future::join_all;
use orders_core::domain::{Order, OrderEvent, OrderId};
use orders_core::read_model::sales::{Day, Figure, Figures, Sales, SalesReport, SalesTotals, Span};
use orders_tests::database::TestTables;
use orders_tests::lives::{life, life_within, new_id, seeded};
use orders_tests::sales_history::recount;
use serde_dynamo::Item;
use tokio::time::Instant;

use crate::world::{inserted, key};

/// How many orders live through everything at once. What else can happen to a few, `sales_histories` lives through.
const ORDERS: usize = 60;

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
        let through_proxy = EventStore::with_client(client.clone(), tables.name("OrderEvents"), every);
        Self {
            events: EventStore::with_client(tables.client(), tables.name("OrderEvents"), every),
            sales: Projection::new(client, tables.name("SalesOrders"), through_proxy, model)
                .with_totals(tables.name("SalesTotals")),
            totals: SalesTotals::new(tables.client(), tables.name("SalesTotals"), model),
            proxy,
            tables,
        }
    }

    async fn store(&self, order_id: OrderId, life: Vec<Vec<OrderEvent>>) {
        let mut loaded = Loaded::new_stream(StreamId::from(order_id));
        for events in life {
            let decide = |_: &Order, _| Ok::<_, Infallible>(events.clone());
            self.events.execute(loaded, &Request::unkeyed(), decide).await.unwrap();
            loaded = self.events.load(&StreamId::from(order_id), Consistency::Strong).await.unwrap();
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

    async fn rebuild(&self, ahead: RowsAhead) {
        let mut progress = RebuildProgress::default();
        while !progress.done {
            // It breaks off where a call fails; the same run again is safe.
            let next = self.sales.rebuild(Segment::WHOLE, progress.clone(), ahead, later()).await;
            progress = next.unwrap_or(progress);
        }
    }

    async fn report(&self) -> SalesReport {
        let day = |text: &str| text.parse::<Day>().unwrap();
        self.totals.report(Span::new(day("2026-02-25"), day("2026-03-07")).unwrap()).await.unwrap()
    }

    async fn verify(&self) -> Verification {
        self.sales.verify(Segment::WHOLE, Verification::default(), later()).await.unwrap()
    }
}

/// Orders whose lives are spread over the days, stored; and what they come to.
async fn store_lives(shop: &Shop, rng: &mut Rng, count: usize) -> Counts {
    let (mut expected, mut lives) = (Counts::default(), Vec::new());
    for _ in 0..count {
        let order_id = new_id(rng);
        let life = life_within(rng, order_id, "alice", 8, chrono::Duration::days(3));
        recount(&life.iter().flatten().collect::<Vec<_>>(), &mut expected);
        lives.push((order_id, life));
    }
    let store = futures::stream::iter(lives).map(|(order_id, life)| shop.store(order_id, life));
    store.buffer_unordered(16).collect::<()>().await;
    expected
}

#[track_caller]
fn assert_is(report: &SalesReport, expected: &Counts) {
    let (mut reported, mut total) = (Counts::default(), Figures::default());
    for (day, figures) in &report.days {
        total = total.checked_add(figures).unwrap();
        for figure in Figure::ALL {
            let (name, tally) = (format!("{day}#EUR"), figures[figure]);
            reported.add(&name, figure.name(), tally.count);
            reported.add(&name, &figure.amount_name(), tally.amount);
        }
    }
    assert_eq!(reported, *expected);
    assert_eq!(report.total, total);
}

#[tokio::test]
async fn sales_are_what_a_recount_says_whatever_is_lost_repeated_reordered_or_cut_off() {
    let (shop, mut rng) = (Shop::open().await, seeded());
    let expected = store_lives(&shop, &mut rng, ORDERS).await;
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
        0 | 1 => Some(Fault::LoseResponse),
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
    tokio::join!(in_order(ones), in_order(others), shop.rebuild(RowsAhead::Keep));
    assert_is(&shop.report().await, &expected);

    shop.proxy.faults.clear();
    shop.rebuild(RowsAhead::Rebuild).await;
    shop.give(records).await;
    assert_is(&shop.report().await, &expected);
    let verified = shop.verify().await;
    assert_eq!((verified.different, verified.streams), (0, ORDERS as u64), "{verified:?}");
}

#[tokio::test]
async fn orders_whose_events_are_taken_back_are_taken_out_of_the_sales() {
    let (shop, mut rng) = (Shop::open().await, seeded());
    let expected = store_lives(&shop, &mut rng, 20).await;
    let gone = new_id(&mut rng);
    let life = life(&mut rng, gone, "alice", 0);
    shop.store(gone, life.clone()).await;
    shop.give(shop.records().await).await;
    let mut with_it = expected.clone();
    recount(&life.iter().flatten().collect::<Vec<_>>(), &mut with_it);
    assert_is(&shop.report().await, &with_it);

    let keys = shop.records().await.into_iter().filter(|record| key(&record.keys).0 == gone.to_string());
    let client = shop.tables.client();
    let delete = keys.map(|record| {
        let delete = client.delete_item().table_name(shop.tables.name("OrderEvents"));
        delete.set_key(Some(record.keys.into())).send()
    });
    join_all(delete).await.into_iter().for_each(|deleted| drop(deleted.unwrap()));
    shop.rebuild(RowsAhead::Rebuild).await;
    assert_is(&shop.report().await, &expected);
}

#[tokio::test]
async fn what_sales_cost_is_known() {
    // An event for itself is a row and a total, or two where a payment pays an order of another day: two units each.
    for (size, most) in [(1, 6.0), (10, 4.0), (100, 2.0)] {
        let (shop, mut rng) = (Shop::open().await, seeded());
        store_lives(&shop, &mut rng, 60).await;
        let mut records = shop.records().await;
        // As they come: the orders of a batch are many.
        records.sort_by_cached_key(|record| key(&record.keys).1);
        let events: usize = records.iter().map(events_in).sum();
        shop.proxy.faults.take_calls();
        for batch in records.chunks(size) {
            shop.give(batch.to_vec()).await;
        }
        let transactions = shop.proxy.faults.take_calls().of("TransactWriteItems");
        let units = transactions.units() / events as f64;
        println!(
            "batches of {size}: {events} events, {} transactions, {units:.2} write units an event",
            transactions.count()
        );
        assert!(units < most, "{units}");
    }
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
