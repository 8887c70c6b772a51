//! What the tests of the store share: requests, and the stream as it is in the table.

use std::num::NonZeroU32;

use aws_sdk_dynamodb::Client;
use dynamodb_event_store::{
    Aggregate, Commit, CommitKey, Consistency, EventStore, ExecuteError, Executed, IdempotencyKey, Request,
    RequestHash, StreamId, Version,
};
use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent, TooLittle};
use orders_tests::commits::stream_items;
use service_clock::Clock;
use service_clock::Timestamp;
use uuid::Uuid;

pub type Outcome<const SCHEMA: u32 = 1> = Result<Executed<Counter<SCHEMA>>, ExecuteError<TooLittle>>;

const ORIGIN: &str = "http|writer";

pub fn time(seconds: i64) -> Timestamp {
    Timestamp::from_millis((1_750_000_000 + seconds) * 1_000).unwrap()
}

pub fn store<const SCHEMA: u32>(client: Client, table: &str, snapshot_every: u32) -> EventStore<Counter<SCHEMA>> {
    store_at(client, table, snapshot_every, time(0))
}

/// A store whose clock is stopped.
pub fn store_at<const SCHEMA: u32>(
    client: Client,
    table: &str,
    snapshot_every: u32,
    now: Timestamp,
) -> EventStore<Counter<SCHEMA>> {
    EventStore::with_client(client, table, NonZeroU32::new(snapshot_every).unwrap()).with_clock(Clock::stopped_at(now))
}

/// A request with an idempotency key.
pub fn keyed(stream: &StreamId, key: &str, command: &Command) -> Request {
    let (key, hash) = (IdempotencyKey::parse(key).unwrap(), RequestHash::of("command", command).unwrap());
    Request::new(CommitKey::keyed(stream, ORIGIN, &key, hash))
}

/// The id of the commit of a [`keyed`] request.
pub fn commit_id(stream: &StreamId, key: &str) -> Uuid {
    IdempotencyKey::parse(key).unwrap().derive(&[stream.as_str(), ORIGIN])
}

/// Loads the stream as functions do, and runs the command.
pub async fn run<const SCHEMA: u32>(
    store: &EventStore<Counter<SCHEMA>>,
    stream: &StreamId,
    command: &Command,
    request: &Request,
) -> Outcome<SCHEMA> {
    let loaded = store.load(stream, Consistency::Eventual).await?;
    store.execute(loaded, request, |counter, _| command.decide(counter)).await
}

/// The commits of the stream from a plain read of the table, which have no gap.
pub async fn commits(client: &Client, table: &str, stream: &StreamId) -> Vec<Commit<CounterEvent>> {
    let items = stream_items(client, table, stream).await;
    let mut head = 0;
    let commits = items.into_iter().map(|item| {
        let commit = Commit::from_item::<Counter>(item.into()).unwrap();
        assert_eq!(commit.first, head + 1, "the commit after version {head} of {stream}");
        head = commit.last();
        commit
    });
    commits.collect()
}

/// The states of a stream after each commit, with their versions; first the empty state.
pub fn states<const SCHEMA: u32>(commits: &[Commit<CounterEvent>]) -> Vec<(Version, Counter<SCHEMA>)> {
    let mut states = vec![(0, Counter::default())];
    let mut state = Counter::default();
    for commit in commits {
        for event in &commit.events {
            state.apply(event).unwrap();
        }
        states.push((commit.last(), state.clone()));
    }
    states
}
