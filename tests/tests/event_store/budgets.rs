//! The calls and the capacity of a command.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use dynamodb_event_store::{
    Aggregate, Consistency, EventStore, Loaded, Metadata, Request, Resolution, StoredEvent, StreamId, TraceContext,
    Version,
};
use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent};
use dynamodb_testkit::proxy::Proxy;
use orders_core::domain::{
    CancelOrder, CreateOrder, Currency, Decide, ItemDraft, Items, Order, PayOrder, ShipOrder, Verification,
};
use orders_local::template::{Template, TemplateOptions, project_path};
use orders_tests::database::TestTables;
use serde_json::Value;

use crate::support::{keyed, run};

struct Fixture {
    tables: TestTables,
    proxy: Proxy,
}

impl Fixture {
    async fn start() -> Self {
        let (tables, proxy) = TestTables::create_behind_proxy(&["OrderEvents"]).await;
        Self { tables, proxy }
    }

    fn store<A: Aggregate>(&self, snapshot_every: u32) -> EventStore<A> {
        let client = self.proxy.client(Duration::from_secs(5));
        EventStore::with_client(client, self.tables.name("OrderEvents"), NonZeroU32::new(snapshot_every).unwrap())
    }

    /// The operations since the last call of this, with their read and write units.
    ///
    /// The units of a write are computed from its item, since the database reports none for a failed condition. Where it
    /// reports units, they must be the same.
    #[track_caller]
    fn spent(&self) -> (Vec<String>, f64, f64) {
        let calls = self.proxy.faults.take_calls();
        let mut written = 0.0;
        for put in &calls.of("PutItem").0 {
            let bytes = item_bytes(&put.body["Item"]);
            let units = (bytes as f64 / 1024.0).ceil();
            assert!(put.error.is_some() || put.units == units, "{} units for {bytes} bytes", put.units);
            written += units;
        }
        let operations = calls.operations().into_iter().map(str::to_owned).collect();
        (operations, calls.of("Query").units(), written)
    }
}

/// The size by the developer guide, "DynamoDB item sizes and formats".
fn item_bytes(item: &Value) -> usize {
    item.as_object().unwrap().iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "S" => value.as_str().unwrap().len(),
        "N" => value.as_str().unwrap().trim_end_matches('0').len().max(1).div_ceil(2) + 1,
        "B" => value.as_str().unwrap().trim_end_matches('=').len() * 3 / 4,
        "L" => 3 + value.as_array().unwrap().iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        "M" => 3 + value.as_object().unwrap().len() + item_bytes(value),
        "BOOL" | "NULL" => 1,
        kind => panic!("a commit has no {kind}"),
    }
}

/// A keyed request with metadata of full length.
fn full_request(stream: &StreamId, command: &Command) -> Request {
    let id = || uuid::Uuid::new_v4().to_string();
    let trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let trace = trace.map(|trace| trace.with_state(&format!("vendor={}", "x".repeat(121))));
    let metadata = Metadata { actor: id(), correlation_id: id(), causation_id: id(), trace };
    keyed(stream, &id(), command).with_metadata(metadata)
}

fn new_stream() -> StreamId {
    StreamId::new(uuid::Uuid::new_v4())
}

#[tokio::test]
async fn the_first_commit_of_a_new_stream_costs_one_write_and_no_read() {
    let fixture = Fixture::start().await;
    let (stream, command) = (new_stream(), Command::Add(1));
    let store = fixture.store::<Counter>(14);
    let request = full_request(&stream, &command);
    let executed =
        store.execute(Loaded::new_stream(stream), &request, |counter, _| command.decide(counter)).await.unwrap();
    assert_eq!((executed.resolution, executed.version), (Resolution::Stored, 1));
    assert_eq!(fixture.spent(), (vec!["PutItem".into()], 0.0, 1.0));
}

#[tokio::test]
async fn a_command_on_a_short_stream_costs_half_a_read_unit_and_one_write_unit() {
    let fixture = Fixture::start().await;
    let (stream, command) = (new_stream(), Command::Add(1));
    let store = fixture.store(14);
    run::<1>(&store, &stream, &command, &full_request(&stream, &command)).await.unwrap();
    fixture.spent();
    for version in 2..=7 {
        let executed = run::<1>(&store, &stream, &command, &full_request(&stream, &command)).await.unwrap();
        assert_eq!(executed.version, version);
        assert_eq!(fixture.spent(), (vec!["Query".into(), "PutItem".into()], 0.5, 1.0), "at version {version}");
    }
}

#[tokio::test]
async fn a_command_on_a_stream_of_2000_versions_costs_one_read_of_at_most_one_and_a_half_units_and_one_write() {
    let fixture = Fixture::start().await;
    let stream = new_stream();
    let every = snapshot_every_of_the_template();
    fill(&fixture, &stream, 2_000).await;
    let store = fixture.store(every);
    // The label makes the snapshots as large as an order's.
    let label = Command::Label("x".repeat(600));
    run::<1>(&store, &stream, &label, &full_request(&stream, &label)).await.unwrap();
    let (mut most_read, mut written) = (0.0, 0.0);
    let commands = 40 + 3 * u64::from(every);
    for n in 1..=commands {
        let command = Command::Add(1);
        fixture.spent();
        let executed = run::<1>(&store, &stream, &command, &full_request(&stream, &command)).await.unwrap();
        assert_eq!(executed.version, 2_001 + n);
        let (operations, read, write) = fixture.spent();
        // From then on there are snapshots, with their full number of keyed commits.
        if n > 32 + u64::from(every) {
            assert_eq!(operations, ["Query", "PutItem"]);
            most_read = read.max(most_read);
            written += write;
        }
    }
    assert!(most_read <= 1.5, "{most_read} read units");
    let measured = commands - 32 - u64::from(every);
    println!("at most {most_read} read units, {} write units on average", written / measured as f64);
}

/// Writes commits of one event each directly, in the stored form.
async fn fill(fixture: &Fixture, stream: &StreamId, versions: Version) {
    let text = |text: &str| AttributeValue::S(text.into());
    let number = |number: Version| AttributeValue::N(number.to_string());
    let map = |fields: Vec<(&str, AttributeValue)>| {
        AttributeValue::M(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    };
    let StoredEvent { event_type, schema, .. } = Counter::<1>::encode(&CounterEvent::Added(1));
    let commit = |version| {
        let data = map(vec![("amount", number(1))]);
        let event = map(vec![("type", text(&event_type)), ("schema", number(schema.into())), ("data", data)]);
        let metadata = vec![("actor", text("a")), ("correlation_id", text("c")), ("causation_id", text("c"))];
        HashMap::from([
            ("stream_id".into(), text(stream.as_str())),
            ("version".into(), number(version)),
            ("events".into(), AttributeValue::L(vec![event])),
            ("commit_id".into(), text(&uuid::Uuid::new_v4().to_string())),
            ("recorded_at".into(), text("2026-01-02T03:04:05.678Z")),
            ("metadata".into(), map(metadata)),
        ])
    };
    let put = |version| {
        let put = PutRequest::builder().set_item(Some(commit(version))).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let versions: Vec<_> = (1..=versions).collect();
    for batch in versions.chunks(25) {
        let batch = batch.iter().copied().map(put).collect();
        let write = fixture.tables.client().batch_write_item();
        write.request_items(fixture.tables.name("OrderEvents"), batch).send().await.unwrap();
    }
}

fn snapshot_every_of_the_template() -> u32 {
    let template = Template::load(&project_path(), &TemplateOptions::default()).unwrap();
    template.parameters["SnapshotEvery"].parse().unwrap()
}

#[tokio::test]
async fn a_retry_after_one_conflict_costs_one_more_write_and_no_read() {
    let fixture = Fixture::start().await;
    let (stream, command) = (new_stream(), Command::Add(1));
    let store = fixture.store::<Counter>(14);
    run(&store, &stream, &command, &Request::unkeyed()).await.unwrap();
    let stale = store.load(&stream, Consistency::Eventual).await.unwrap();
    run(&store, &stream, &command, &Request::unkeyed()).await.unwrap();
    fixture.spent();
    let executed = store.execute(stale, &Request::unkeyed(), |counter, _| command.decide(counter)).await.unwrap();
    assert_eq!((executed.resolution, executed.version), (Resolution::Stored, 3));
    assert_eq!(fixture.spent(), (vec!["PutItem".into(), "PutItem".into()], 0.0, 2.0));
}

#[tokio::test]
async fn a_rejection_costs_one_consistent_read_more_and_no_write() {
    let fixture = Fixture::start().await;
    let (stream, command) = (new_stream(), Command::Add(1));
    let store = fixture.store::<Counter>(14);
    run(&store, &stream, &command, &Request::unkeyed()).await.unwrap();
    fixture.spent();
    run(&store, &stream, &Command::Take(2), &Request::unkeyed()).await.unwrap_err();
    assert_eq!(fixture.spent(), (vec!["Query".into(), "Query".into()], 1.5, 0.0));
}

#[tokio::test]
async fn a_replayed_response_costs_one_eventually_consistent_read() {
    let fixture = Fixture::start().await;
    let (stream, command) = (new_stream(), Command::Add(1));
    let store = fixture.store::<Counter>(14);
    let once = keyed(&stream, "once", &command);
    run(&store, &stream, &command, &once).await.unwrap();
    fixture.spent();
    let repeated = run(&store, &stream, &command, &keyed(&stream, "once", &command)).await.unwrap();
    assert_eq!(repeated.resolution, Resolution::Replayed);
    assert_eq!(fixture.spent(), (vec!["Query".into()], 0.5, 0.0));
}

#[tokio::test]
async fn the_commits_of_an_order_cost_one_write_unit_and_at_most_two_with_a_snapshot() {
    let fixture = Fixture::start().await;
    for (snapshot_every, most) in [(1_000, 1.0), (1, 2.0)] {
        let store = fixture.store::<Order>(snapshot_every);
        let order_id = uuid::Uuid::new_v4();
        let stream = StreamId::new(order_id);
        let drafts: Vec<_> = ["19.99", "5.00"]
            .into_iter()
            .map(|price| ItemDraft {
                product_id: uuid::Uuid::new_v4().to_string().parse().unwrap(),
                quantity: "2",
                price,
            })
            .collect();
        let items = Items::parse(&drafts, &"EUR".parse::<Currency>().unwrap()).unwrap();
        let total = items.total();
        let create = CreateOrder {
            order_id: order_id.to_string().parse().unwrap(),
            user_id: uuid::Uuid::new_v4().to_string().parse().unwrap(),
            items,
        };
        let pay = PayOrder {
            payment_id: format!("pay_{}", uuid::Uuid::new_v4().simple()).parse().unwrap(),
            amount: total,
            verification: Verification::Trusted,
        };
        let ship = ShipOrder { tracking_number: "1Z999AA10123456784".parse().unwrap() };
        let cancel = CancelOrder { reason: "the customer changed their mind".parse().unwrap() };
        step(&fixture, &store, &stream, create, most).await;
        step(&fixture, &store, &stream, pay, most).await;
        step(&fixture, &store, &stream, ship, most).await;
        // Two events: the refund becomes due.
        step(&fixture, &store, &stream, cancel, most).await;
    }
}

async fn step(fixture: &Fixture, store: &EventStore<Order>, stream: &StreamId, command: impl Decide, most: f64) {
    let request = full_request(stream, &Command::Add(1));
    let loaded = store.load(stream, Consistency::Eventual).await.unwrap();
    let executed = store.execute(loaded, &request, |order, now| command.decide(order, now)).await.unwrap();
    assert_eq!(executed.resolution, Resolution::Stored);
    let bytes = fixture.proxy.faults.take_calls();
    let bytes: Vec<_> = bytes.of("PutItem").0.iter().map(|put| (item_bytes(&put.body["Item"]), put.units)).collect();
    println!("{:?}: {bytes:?}", executed.outcome);
    assert!(bytes.iter().all(|(_, units)| *units <= most), "{bytes:?}");
}
