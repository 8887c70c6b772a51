//! Whatever snapshots a stream holds, it is the same stream.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::{Aggregate, Consistency, EventStore, Request, StreamId, Until, Version};
use dynamodb_testkit::counter_aggregate::{Command, Counter};
use dynamodb_testkit::simulation::Simulation;
use fastrand::Rng;
use service_clock::Timestamp;

use crate::support::{commits, keyed, request, run, store, store_at, time};

const NEVER: u32 = 1_000_000;

/// A deployment: the schema of its snapshots, how often it takes one, and what its clock shows.
struct Writer {
    schema: u32,
    every: u32,
    now: Timestamp,
}

/// Runs the command as this deployment does.
async fn write(client: &Client, writer: &Writer, stream: &StreamId, command: &Command, request: &Request) {
    let (table, &Writer { schema, every, now }) = (Simulation::TABLE, writer);
    let done = match schema {
        1 => run(&store_at::<1>(client.clone(), table, every, now), stream, command, request).await.map(drop),
        2 => run(&store_at::<2>(client.clone(), table, every, now), stream, command, request).await.map(drop),
        _ => run(&store_at::<3>(client.clone(), table, every, now), stream, command, request).await.map(drop),
    };
    done.unwrap();
}

/// Breaks some of the snapshots.
async fn spoil(client: &Client, stream: &StreamId, rng: &mut Rng) {
    let items = client
        .query()
        .table_name(Simulation::TABLE)
        .key_condition_expression("stream_id = :stream")
        .expression_attribute_values(":stream", AttributeValue::S(stream.to_string()));
    for mut item in items.send().await.unwrap().items.unwrap() {
        if !item.contains_key("snapshot") || rng.bool() {
            continue;
        }
        spoil_one(&mut item, rng);
        client.put_item().table_name(Simulation::TABLE).set_item(Some(item)).send().await.unwrap();
    }
}

fn spoil_one(item: &mut HashMap<String, AttributeValue>, rng: &mut Rng) {
    let AttributeValue::M(snapshot) = item.get_mut("snapshot").unwrap() else { panic!("a snapshot is a map") };
    let none = AttributeValue::Null(true);
    match rng.u32(0..8) {
        0 => drop(item.insert("snapshot".into(), AttributeValue::S("not a snapshot".into()))),
        1 => drop(item.remove("snapshot_schema")),
        2 => drop(item.insert("snapshot_schema".into(), AttributeValue::N("1".into()))),
        3 => drop(item.remove("snapshot")),
        4 => drop(snapshot.remove("remembered")),
        5 => drop(snapshot.insert("state".into(), none)),
        6 => drop(snapshot.insert("remembered".into(), AttributeValue::L(vec![none]))),
        _ => {
            let AttributeValue::M(state) = snapshot.get_mut("state").unwrap() else { panic!("a state is a map") };
            state.insert("total".into(), AttributeValue::N("-1".into()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_the_same_with_any_snapshots_old_ones_broken_ones_or_none() {
    for _ in 0..8 {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        one_stream(&mut Rng::with_seed(seed)).await;
    }
}

async fn one_stream(rng: &mut Rng) {
    let simulation = Simulation::start();
    let (client, stream) = (simulation.client_without_faults(), StreamId::new("stream"));
    let mut writer = Writer { schema: 1, every: 1, now: time(0) };
    for n in 0..rng.i64(1..40) {
        // A new deployment: another schema, another figure.
        if n == 0 || rng.u32(0..8) == 0 {
            writer.schema = rng.u32(1..=3);
            writer.every = [1, 2, 3, 5, 8, 14, NEVER][rng.usize(0..7)];
        }
        let command = match rng.u32(0..4) {
            0 => Command::AddEach((0..rng.u64(2..12)).collect()),
            1 => Command::Label("x".repeat(rng.usize(0..50))),
            _ => Command::Add(rng.u64(0..9)),
        };
        let plain = request();
        let request = if rng.bool() { keyed(&stream, &n.to_string(), &command) } else { plain };
        writer.now = time(n + rng.i64(-3..3));
        write(&client, &writer, &stream, &command, &request).await;
    }
    spoil(&client, &stream, rng).await;
    let commits = commits(&client, Simulation::TABLE, &stream).await;

    // Of a schema that nobody writes: everything is folded.
    let folded: EventStore<Counter<99>> = store(client.clone(), Simulation::TABLE, 1);
    let folded = folded.load(&stream, Consistency::Strong).await.unwrap();
    let head = commits.last().unwrap().last();
    assert_eq!((folded.stream().version(), folded.stream().state().events), (head, head));
    compare::<1>(&client, &stream, rng, &format!("{:?}", folded.stream())).await;
    compare::<2>(&client, &stream, rng, &format!("{:?}", folded.stream())).await;
    compare::<3>(&client, &stream, rng, &format!("{:?}", folded.stream())).await;

    let store: EventStore<Counter> = store(client.clone(), Simulation::TABLE, rng.u32(1..20));
    let mut state = Counter::default();
    for (version, event) in commits.iter().flat_map(|commit| commit.versioned()) {
        state.apply(event).unwrap();
        if rng.u32(0..4) == 0 {
            let then = store.load_until(&stream, Until::Version(version), Consistency::Strong).await.unwrap();
            assert_eq!((then.version(), then.state()), (version, &state));
        }
    }
    for seconds in (-4..44).filter(|_| rng.u32(0..4) == 0) {
        let newest = commits.iter().rfind(|commit| commit.recorded_at <= time(seconds));
        let then = store.load_until(&stream, Until::Time(time(seconds)), Consistency::Strong).await.unwrap();
        assert_eq!(then.version(), newest.map_or(0, |commit| commit.last()));
        let by_version = store.load_until(&stream, Until::Version(then.version()), Consistency::Strong).await.unwrap();
        assert_eq!(then, by_version);
    }
}

/// State, version, time and what is remembered of keyed commits: all that a stream is.
async fn compare<const SCHEMA: u32>(client: &Client, stream: &StreamId, rng: &mut Rng, folded: &str) {
    let store: EventStore<Counter<SCHEMA>> = store(client.clone(), Simulation::TABLE, rng.u32(1..20));
    for consistency in [Consistency::Eventual, Consistency::Strong] {
        let loaded = store.load(stream, consistency).await.unwrap();
        assert_eq!(format!("{:?}", loaded.stream()), folded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_reads_no_further_back_than_the_newest_snapshot() {
    let simulation = Simulation::start();
    let (client, stream) = (simulation.client(), StreamId::new("stream"));
    let store = store::<1>(client, Simulation::TABLE, 5);
    for _ in 0..23 {
        run(&store, &stream, &Command::Add(1), &request()).await.unwrap();
    }
    let calls = simulation.faults.take_calls();
    let reads = calls.of("Query");
    assert_eq!(reads.count(), 23, "one page each");
    let writes = calls.of("PutItem");
    let snapshots: Vec<Version> = writes
        .filter(|put| put.body["Item"].get("snapshot").is_some())
        .0
        .iter()
        .map(|put| put.body["Item"]["version"]["N"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(snapshots, [5, 10, 15, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_across_a_multiple_carries_one_snapshot_of_its_last_event() {
    let simulation = Simulation::start();
    let (client, stream) = (simulation.client(), StreamId::new("stream"));
    let store = store::<1>(client, Simulation::TABLE, 5);
    for events in [4, 3, 11, 1] {
        run(&store, &stream, &Command::AddEach(vec![1; events]), &request()).await.unwrap();
    }
    let calls = simulation.faults.take_calls();
    let snapshots: Vec<_> = calls
        .of("PutItem")
        .0
        .iter()
        .map(|put| put.body["Item"].get("snapshot").map(|snapshot| snapshot["M"]["state"]["M"]["events"]["N"].clone()))
        .collect();
    assert_eq!(snapshots, [None, Some("7".into()), Some("18".into()), None]);
}
