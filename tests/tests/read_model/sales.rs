//! Sales by day: the report is the recount of the events under faults.

use std::num::NonZeroU32;
use std::time::Duration;

use dynamodb_event_store::projection::{Counts, Projection, RebuildMode, RebuildProgress, Verification};
use dynamodb_event_store::{Change, EventStore, Segment, StreamRecord};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use fastrand::Rng;
use futures::StreamExt;
use orders_core::domain::{Order, OrderEvent, OrderId};
use orders_core::read_model::sales::{Day, Figure, Figures, Sales, SalesReport, SalesTotals, Span};
use orders_tests::commits::{self, append, key};
use orders_tests::database::TestTables;
use orders_tests::lives::{life, life_within, new_id, seeded};
use orders_tests::sales_history::recount;
use tokio::time::Instant;

/// The number of orders. Rarer cases are covered by `sales_histories` with fewer orders.
const ORDERS: usize = 60;

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// The tables, and the projection of sales behind a proxy.
struct Fixture {
    tables: TestTables,
    proxy: Proxy,
    events: EventStore<Order>,
    sales: Projection<Sales>,
    totals: SalesTotals,
}

impl Fixture {
    async fn start() -> Self {
        let (tables, proxy) = TestTables::create_behind_proxy(&["OrderEvents", "SalesOrders", "SalesTotals"]).await;
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

    async fn store(&self, order_id: OrderId, history: Vec<Vec<OrderEvent>>) {
        for events in history {
            append(&self.events, order_id, events).await;
        }
    }

    async fn records(&self) -> Vec<StreamRecord> {
        commits::records(&self.tables.client(), self.tables.name("OrderEvents")).await
    }

    /// Projects a batch, and repeats it from the first failed record as Lambda does.
    async fn project(&self, mut batch: Vec<StreamRecord>) {
        loop {
            let projected = self.sales.project(batch.clone()).await;
            assert_eq!((projected.parked, projected.violations), (0, 0), "{projected:?}");
            let Some(from) = projected.retry_from else { return };
            let at = batch.iter().position(|record| record.sequence_number == from).unwrap();
            batch.drain(..at);
        }
    }

    async fn rebuild(&self, mode: RebuildMode) {
        let mut progress = RebuildProgress::default();
        while !progress.done {
            // A run ends where a call fails, and can be repeated.
            let next = self.sales.rebuild(Segment::WHOLE, progress.clone(), mode, later()).await;
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

/// Stores orders with random histories over some days; returns the recount of their events.
async fn store_histories(fixture: &Fixture, rng: &mut Rng, count: usize) -> Counts {
    let (mut expected, mut histories) = (Counts::default(), Vec::new());
    for _ in 0..count {
        let order_id = new_id(rng);
        let history = life_within(rng, order_id, "alice", 8, chrono::Duration::days(3));
        recount(&history.iter().flatten().collect::<Vec<_>>(), &mut expected);
        histories.push((order_id, history));
    }
    let store = futures::stream::iter(histories).map(|(order_id, history)| fixture.store(order_id, history));
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
async fn sales_are_the_recount_of_the_events_with_lost_repeated_and_reordered_records_and_faults() {
    let (fixture, mut rng) = (Fixture::start().await, seeded());
    let expected = store_histories(&fixture, &mut rng, ORDERS).await;
    let records = fixture.records().await;

    // Each record is delivered twice, less a fifth of all deliveries, in any order and batch size, to two projectors.
    let mut delivered: Vec<StreamRecord> = [&records[..], &records[..]].concat();
    delivered.retain(|_| rng.u8(..5) > 0);
    rng.shuffle(&mut delivered);
    let mut batches = Vec::new();
    while !delivered.is_empty() {
        let size = rng.usize(1..=40).min(delivered.len());
        batches.push(delivered.split_off(delivered.len() - size));
    }
    let mut chance = Rng::with_seed(rng.u64(..));
    fixture.proxy.faults.plan(move |_| match chance.u8(..60) {
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
            fixture.project(batch.clone()).await;
        }
    };
    // A rebuild runs beside them.
    tokio::join!(in_order(ones), in_order(others), fixture.rebuild(RebuildMode::Live));
    assert_is(&fixture.report().await, &expected);

    fixture.proxy.faults.clear();
    fixture.rebuild(RebuildMode::AfterRestore).await;
    fixture.project(records).await;
    assert_is(&fixture.report().await, &expected);
    let verified = fixture.verify().await;
    assert_eq!((verified.different, verified.streams), (0, ORDERS as u64), "{verified:?}");
}

#[tokio::test]
async fn orders_without_events_after_a_restore_are_removed_from_the_sales() {
    let (fixture, mut rng) = (Fixture::start().await, seeded());
    let expected = store_histories(&fixture, &mut rng, 20).await;
    let gone = new_id(&mut rng);
    let history = life(&mut rng, gone, "alice", 0);
    fixture.store(gone, history.clone()).await;
    fixture.project(fixture.records().await).await;
    let mut with_it = expected.clone();
    recount(&history.iter().flatten().collect::<Vec<_>>(), &mut with_it);
    assert_is(&fixture.report().await, &with_it);

    commits::delete(&fixture.tables.client(), fixture.tables.name("OrderEvents"), gone, 1).await;
    fixture.rebuild(RebuildMode::AfterRestore).await;
    assert_is(&fixture.report().await, &expected);
}

#[tokio::test]
async fn sales_cost_at_most_six_write_units_per_event_and_two_in_large_batches() {
    // An event in its own batch writes a row and one total, or two for an order of another day: two units each.
    for (size, most) in [(1, 6.0), (10, 4.0), (100, 2.0)] {
        let (fixture, mut rng) = (Fixture::start().await, seeded());
        store_histories(&fixture, &mut rng, 60).await;
        let mut records = fixture.records().await;
        // As commands arrive: a batch has many orders.
        records.sort_by_cached_key(|record| key(&record.keys).1);
        let events: usize = records.iter().map(events_in).sum();
        fixture.proxy.faults.take_calls();
        for batch in records.chunks(size) {
            fixture.project(batch.to_vec()).await;
        }
        let transactions = fixture.proxy.faults.take_calls().of("TransactWriteItems");
        let units = transactions.units() / events as f64;
        println!(
            "batches of {size}: {events} events, {} transactions, {units:.2} write units per event",
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
