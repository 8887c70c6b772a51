//! A seeded random history of orders, whose sales are projected under faults.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::Duration as Span;
use dynamodb_event_store::projection::{
    COUNTED, Counts, LaggingStream, Projection, RebuildMode, RebuildProgress, RowItem, Totals, Verification,
};
use dynamodb_event_store::{
    Change, Commit, Consistency, EventStore, Loaded, Request, Segment, StreamId, StreamRecord, Version,
};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::simulation::Simulation;
use fastrand::Rng;
use futures::future::join_all;
use orders_core::domain::{Order, OrderEvent, OrderId, Status};
use orders_core::read_model::Sales;
use serde_dynamo::{AttributeValue, Item};
use service_clock::Clock;
use tokio::time::{Instant, sleep, timeout};

use crate::lives::{life_within, new_id, start};

const ROWS: &str = "sales-orders";
const TOTALS: &str = "sales-totals";

/// What happened in histories.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Events that were stored.
    pub events: u64,
    /// Records that were delivered, repeats counted.
    pub records: u64,
    /// Batches that were cut off half-way.
    pub crashes: u64,
    /// Calls that went wrong.
    pub faults: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.events += more.events;
        self.records += more.records;
        self.crashes += more.crashes;
        self.faults += more.faults;
    }
}

/// Lives through the history of a seed, on tokio's paused clock. Panics where the totals are not the sum of what the rows
/// count, or, when all is caught up on, not the recount of all events.
pub async fn live_through(seed: u64) -> Tally {
    // The store's own chance: the shards of totals, and the waits.
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let world = World::new(&mut rng).await;
    let mut tally = Tally { events: world.events().map(|events| events.len() as u64).sum(), ..Tally::default() };

    world.project_as_it_once_was(&mut rng).await;
    world.simulation.faults.plan(faults(rng.fork()));
    let mut delays = rng.fork();
    world.simulation.faults.latency(move || Duration::from_micros(delays.u64(..2_000)));
    // Containers share nothing but the tables.
    let projectors = join_all((0..3).map(|_| world.deliver(rng.fork())));
    let repairs = world.repair_now_and_then(rng.fork());
    let rebuilds = join_all((0..2).map(|_| world.rebuild_now_and_then(rng.fork())));
    let (delivered, (), _) = futures::join!(projectors, repairs, rebuilds);
    delivered.into_iter().for_each(|more| tally += more);
    tally.faults = world.simulation.faults.take_calls().0.iter().filter(|call| call.status != Some(200)).count() as u64;
    world.simulation.faults.clear();
    // What was sent and is still under way arrives.
    sleep(Duration::from_secs(60)).await;
    world.assert_totals_are_the_sum_of_the_rows().await;

    world.catch_up().await;
    world.assert_totals_are_the_sum_of_the_rows().await;
    let later = Instant::now() + Duration::from_secs(600);
    let rebuilt =
        world.projection().rebuild(Segment::WHOLE, RebuildProgress::default(), RebuildMode::Live, later).await.unwrap();
    assert!(rebuilt.done, "{rebuilt:?}");
    let totals = world.assert_totals_are_the_sum_of_the_rows().await;
    assert_eq!(totals, world.recount(), "the totals are not the recount");
    let verified = world.projection().verify(Segment::WHOLE, Verification::default(), later).await.unwrap();
    assert_eq!((verified.done, verified.different), (true, 0), "{verified:?}");
    tally
}

/// One call in ten goes wrong.
fn faults(mut rng: Rng) -> impl FnMut(&dynamodb_testkit::call_log::Call) -> Option<Fault> + Send {
    move |_| {
        let late = Duration::from_millis(rng.u64(1..3_000));
        let faults = [
            Fault::LoseResponse,
            Fault::HangAfter,
            Fault::LoseRequest,
            Fault::Hang,
            Fault::Late(late),
            Fault::Throttle,
            Fault::Fail,
            Fault::FailAfter,
            Fault::Delay(late),
            Fault::Stale(rng.usize(1..4)),
        ];
        (rng.u8(..10) == 0).then(|| faults[rng.usize(..faults.len())])
    }
}

struct World {
    simulation: Simulation,
    lives: Vec<(OrderId, Vec<Vec<OrderEvent>>)>,
    records: Vec<StreamRecord>,
}

impl World {
    async fn new(rng: &mut Rng) -> Self {
        let simulation = Simulation::start()
            .with_table(ROWS, &[("order_id", "S")])
            .with_table(TOTALS, &[("shard", "S"), ("name", "S")]);
        let lives: Vec<_> = (0..rng.usize(2..5))
            .map(|_| {
                let (id, commands) = (new_id(rng), rng.usize(..12));
                (id, life_within(rng, id, "alice", commands, Span::days(3)))
            })
            .collect();
        let mut world = Self { simulation, lives, records: Vec::new() };
        for (id, life) in &world.lives {
            let mut first = 1;
            for events in life {
                let stored = world.store(*id, events).await;
                world.records.push(record(&stored));
                assert_eq!(stored.first, first);
                first = stored.last() + 1;
            }
        }
        world
    }

    async fn store(&self, order_id: OrderId, events: &[OrderEvent]) -> Commit<OrderEvent> {
        let store = self.events_in(self.simulation.client_without_faults()).with_clock(Clock::stopped_at(start()));
        let stream = StreamId::from(order_id);
        let loaded = match events.first() {
            Some(OrderEvent::OrderCreated { .. }) => Loaded::new_stream(stream.clone()),
            _ => store.load(&stream, Consistency::Strong).await.unwrap(),
        };
        let before = loaded.stream().version();
        let decide = |_: &Order, _| Ok::<_, Infallible>(events.to_vec());
        store.execute(loaded, &Request::unkeyed(), decide).await.unwrap();
        store.commits_after(&stream, before).await.unwrap().remove(0)
    }

    fn events_in(&self, client: aws_sdk_dynamodb::Client) -> EventStore<Order> {
        EventStore::with_client(client, Simulation::TABLE, NonZeroU32::new(4).unwrap())
    }

    /// The first events of some orders, by a deployment that called the currency another name: rows of the same version
    /// that count otherwise, which rebuilds and repairs replace.
    async fn project_as_it_once_was(&self, rng: &mut Rng) {
        let orders = rng.usize(..=self.lives.len());
        for (id, _) in &self.lives[..orders] {
            let stream = serde_dynamo::AttributeValue::S(id.to_string());
            let records = self.records.iter().filter(|record| record.keys.get("stream_id") == Some(&stream));
            let first = records.take(rng.usize(1..8)).cloned().collect();
            assert_eq!(self.projection_in("USD").project(first).await.retry_from, None);
        }
    }

    /// That of a new container.
    fn projection(&self) -> Projection<Sales> {
        self.projection_in("EUR")
    }

    fn projection_in(&self, currency: &str) -> Projection<Sales> {
        let client = self.simulation.client();
        let sales = Sales { currency: currency.parse().unwrap() };
        Projection::new(client.clone(), ROWS, self.events_in(client), sales).with_totals(TOTALS)
    }

    /// Gives all records to a projection, shuffled, in batches, some of them twice, some not at all; some batches are cut
    /// off half-way, as when a container ends.
    async fn deliver(&self, mut rng: Rng) -> Tally {
        let (mut tally, mut records) = (Tally::default(), self.records.clone());
        rng.shuffle(&mut records);
        records.retain(|_| rng.u8(..8) > 0);
        let twice = records.iter().filter(|_| rng.u8(..4) == 0).cloned().collect::<Vec<_>>();
        records.extend(twice);
        let mut projection = self.projection();
        while !records.is_empty() {
            let rest = records.split_off(rng.usize(1..=records.len().min(10)));
            let batch = std::mem::replace(&mut records, rest);
            tally.records += batch.len() as u64;
            let patience = if rng.u8(..4) == 0 { rng.u64(..20) } else { 60_000 };
            if timeout(Duration::from_millis(patience), projection.project(batch)).await.is_err() {
                tally.crashes += 1;
                // The container ends, or only this run of it.
                if rng.bool() {
                    projection = self.projection();
                }
            }
        }
        tally
    }

    async fn repair_now_and_then(&self, mut rng: Rng) {
        for _ in 0..rng.usize(..4) {
            sleep(Duration::from_millis(rng.u64(..3_000))).await;
            let stream = self.lives[rng.usize(..self.lives.len())].0.into();
            drop(self.projection().repair(&stream).await);
        }
    }

    async fn rebuild_now_and_then(&self, mut rng: Rng) {
        for _ in 0..rng.usize(..3) {
            sleep(Duration::from_millis(rng.u64(..3_000))).await;
            let mode = if rng.bool() { RebuildMode::Live } else { RebuildMode::AfterRestore };
            let later = Instant::now() + Duration::from_secs(60);
            let projection = self.projection();
            let run = projection.rebuild(Segment::WHOLE, RebuildProgress::default(), mode, later);
            drop(timeout(Duration::from_millis(rng.u64(..2_000)), run).await);
        }
    }

    async fn catch_up(&self) {
        for (id, life) in &self.lives {
            let version = life.iter().map(Vec::len).sum::<usize>() as Version;
            let behind = LaggingStream { stream: (*id).into(), version };
            assert!(!self.projection().catch_up_to(&behind).await.unwrap(), "nothing is parked");
        }
    }

    async fn assert_totals_are_the_sum_of_the_rows(&self) -> Counts {
        let client = self.simulation.client_without_faults();
        let rows = client.scan().table_name(ROWS).send().await.unwrap().items.unwrap_or_default();
        let mut sum = Counts::default();
        rows.iter().for_each(|row: &RowItem| sum.add_all(&Counts::read(row.get(COUNTED)).unwrap()));
        let mut totals = Counts::default();
        for (name, total) in Totals::new(client, TOTALS).between(" ", "~", true).await.unwrap() {
            total.counters.iter().for_each(|(counter, n)| totals.add(&name, counter, *n));
        }
        assert_eq!(totals, sum, "the totals are not the sum of what the rows count");
        totals
    }

    fn events(&self) -> impl Iterator<Item = Vec<&OrderEvent>> {
        self.lives.iter().map(|(_, life)| life.iter().flatten().collect())
    }

    /// The totals, made out from the events alone.
    fn recount(&self) -> Counts {
        let mut counts = Counts::default();
        for events in self.events() {
            recount(&events, &mut counts);
        }
        counts
    }
}

/// Adds what the events of one order come to.
pub fn recount(events: &[&OrderEvent], counts: &mut Counts) {
    let mut add = |at: &OrderEvent, counter: &str, amount: u64| {
        let total = format!("{}#EUR", &at.occurred_at().to_string()[..10]);
        counts.add(&total, counter, 1);
        counts.add(&total, &format!("{counter}_amount"), amount.into());
    };
    let mut paid_by = BTreeMap::new();
    for event in events {
        match event {
            OrderEvent::OrderCreated { total, .. } => {
                let status = events.iter().rev().find_map(|event| event.status());
                add(event, status.unwrap_or(Status::Pending).as_str(), total.0);
            }
            OrderEvent::OrderPaid { payment_id, amount, .. } => {
                paid_by.insert(payment_id, ());
                add(event, "payments", amount.0);
            }
            OrderEvent::OrderRefundDue { payment_id, amount, .. } => {
                if !paid_by.contains_key(payment_id) {
                    add(event, "payments", amount.0);
                }
                add(event, "refunds_due", amount.0);
            }
            OrderEvent::OrderRefunded { amount, .. } => add(event, "refunds", amount.0),
            _ => {}
        }
    }
}

/// The stream's record of a commit.
fn record(commit: &Commit<OrderEvent>) -> StreamRecord {
    let image = commit.to_item::<Order>().unwrap();
    let keys = ["stream_id", "version"].map(|name| (name.to_owned(), image.get(name).unwrap().clone()));
    let keys: HashMap<_, _> = keys.into();
    let keys = Item::from(keys);
    let sequence_number = match keys.get("version") {
        Some(AttributeValue::N(version)) => format!("{}{version:0>6}", 1),
        _ => panic!("a key without a version"),
    };
    StreamRecord { sequence_number, keys, change: Change::Inserted(image) }
}
