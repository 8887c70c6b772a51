//! The tested stores, and helpers.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use dynamodb_event_store::{
    Aggregate, CommitKey, Consistency, EventStore, ExecuteError, Executed, IdempotencyKey, MemoryStore, Request,
    RequestHash, Store, StreamId, Version, client, create_table,
};
use dynamodb_testkit::counter_aggregate::{Command, Counter, TooLittle};
use dynamodb_testkit::simulation::Simulation;
use service_clock::{Clock, Timestamp};
use uuid::Uuid;

/// The storage of one test.
pub trait World {
    /// The tested store.
    type Store<A: Aggregate>: Store<A>;

    /// Without streams.
    async fn start() -> Self;

    /// A store of these streams as those of another aggregate, with a stopped clock and the epoch `2`.
    fn store_at<A: Aggregate>(&self, now: Timestamp) -> Self::Store<A>;

    /// The store of counters.
    fn counters(&self) -> Self::Store<Counter> {
        self.store_at(time(0))
    }
}

pub struct Memory(MemoryStore<Counter>);

impl World for Memory {
    type Store<A: Aggregate> = MemoryStore<A>;

    async fn start() -> Self {
        Self(MemoryStore::new())
    }

    fn store_at<A: Aggregate>(&self, now: Timestamp) -> MemoryStore<A> {
        self.0.read_as().with_clock(Clock::stopped_at(now)).in_epoch(Some("2".parse().unwrap()))
    }
}

pub struct DynamoDb {
    client: Client,
    table: String,
}

impl World for DynamoDb {
    type Store<A: Aggregate> = EventStore<A>;

    async fn start() -> Self {
        let endpoint = std::env::var("DYNAMODB_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        let client = endpoint.map_or_else(|| Simulation::without_tables().client(), |endpoint| at(&endpoint));
        let table = format!("contract-{}", Uuid::new_v4());
        create_table(&client, &table).unwrap().send().await.unwrap();
        Self { client, table }
    }

    fn store_at<A: Aggregate>(&self, now: Timestamp) -> EventStore<A> {
        // So often that most tests meet a snapshot.
        let store = EventStore::new(self.client.clone(), &self.table, NonZeroU32::new(3).unwrap());
        store.with_clock(Clock::stopped_at(now)).in_epoch(Some("2".parse().unwrap()))
    }
}

impl DynamoDb {
    /// Deletes the table from an external database.
    pub async fn end(self) {
        self.client.delete_table().table_name(self.table).send().await.unwrap();
    }
}

fn at(endpoint: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(endpoint);
    Client::from_conf(client::for_requests(config).build())
}

pub fn time(seconds: i64) -> Timestamp {
    Timestamp::from_millis((1_750_000_000 + seconds) * 1_000).unwrap()
}

pub fn stream() -> StreamId {
    StreamId::new("stream")
}

/// A request without a key and with a timeout of half a minute, because databases may be slow under load.
pub fn request() -> Request {
    let request = Request::unkeyed();
    let deadline = request.deadline + Duration::from_secs(20);
    request.with_deadline(deadline)
}

/// A request for this command with a key.
pub fn keyed(key: &str, command: &Command) -> Request {
    let (key, hash) = (IdempotencyKey::parse(key).unwrap(), RequestHash::of("command", command).unwrap());
    Request { key: CommitKey::keyed(&stream(), "writer", &key, hash), ..request() }
}

pub type Outcome = Result<Executed<Counter>, ExecuteError<TooLittle>>;

/// Runs the command.
pub async fn run(store: &impl Store<Counter>, command: &Command, request: &Request) -> Outcome {
    store.run(&stream(), request, |counter, _| command.decide(counter)).await
}

/// Adds 1 repeatedly.
pub async fn add(store: &impl Store<Counter>, times: usize) {
    for _ in 0..times {
        run(store, &Command::Add(1), &request()).await.unwrap();
    }
}

/// Version and state of the stream.
pub async fn newest(store: &impl Store<Counter>) -> (Version, Counter) {
    let loaded = store.load(&stream(), Consistency::Strong).await.unwrap();
    (loaded.stream().version(), loaded.stream().state().clone())
}

/// Version and total of the stream.
pub async fn total(store: &impl Store<Counter>) -> (Version, u64) {
    let (version, counter) = newest(store).await;
    assert_eq!(counter.events, version, "each event is applied once");
    (version, counter.total)
}
