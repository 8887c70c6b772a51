//! Many writers on one stream, with the event store and with a plain loop on the SDK.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::{Aggregate, Consistency, EventStore, Request, StreamId};
use service_clock::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::commits::stream_items;
use crate::database::TestTables;
use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent};
use dynamodb_testkit::faults::Faults;
use dynamodb_testkit::proxy::Proxy;
use dynamodb_testkit::simulation::Simulation;

/// The number of concurrent writers.
pub const WRITERS: usize = 32;
/// The number of commands that each of them runs in sequence.
pub const COMMANDS: usize = 20;

/// A table under load.
pub struct Load<'a> {
    /// Each writer has a client of its own, as containers have.
    client: Box<dyn Fn() -> Client + 'a>,
    faults: &'a Faults,
    table: String,
}

/// The measurements of a run.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Commits in the stream.
    pub stored: usize,
    /// Calls of PutItem.
    pub writes: usize,
    /// Calls of Query.
    pub reads: usize,
    /// The duration of the run.
    pub elapsed: Duration,
}

impl Measured {
    /// Calls of PutItem per stored command.
    pub fn writes_per_command(&self) -> f64 {
        self.writes as f64 / self.stored as f64
    }

    /// Commands per second.
    pub fn throughput(&self) -> f64 {
        self.stored as f64 / self.elapsed.as_secs_f64()
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stored, seconds) = (self.stored, self.elapsed.as_secs_f64());
        let (writes, reads) = (self.writes_per_command(), self.reads as f64 / stored as f64);
        let throughput = self.throughput();
        write!(
            f,
            "{stored} stored in {seconds:.2} s, {throughput:.0} a second, {writes:.2} PutItem and {reads:.2} Query each"
        )
    }
}

impl<'a> Load<'a> {
    /// The event table behind the proxy.
    pub fn on(proxy: &'a Proxy, tables: &TestTables) -> Self {
        let client = || proxy.client(Duration::from_secs(5));
        Self { client: Box::new(client), faults: &proxy.faults, table: tables.name("OrderEvents").to_owned() }
    }

    /// The simulation, in which a call takes the latency of its faults and nothing else.
    pub fn simulated(simulation: &'a Simulation) -> Self {
        let client = || simulation.client();
        Self { client: Box::new(client), faults: &simulation.faults, table: Simulation::TABLE.to_owned() }
    }

    /// Runs the commands with the event store.
    pub async fn with_the_store(&self, snapshot_every: NonZeroU32) -> Measured {
        self.measure(|client, stream| {
            let store = EventStore::<Counter>::with_client(client, &self.table, snapshot_every);
            async move {
                for _ in 0..COMMANDS {
                    let request = Request::unkeyed().with_deadline(Instant::now() + Duration::from_secs(60));
                    let loaded = store.load(&stream, Consistency::Eventual).await.unwrap();
                    let executed = store.execute(loaded, &request, |counter, _| Command::Add(1).decide(counter)).await;
                    executed.unwrap();
                }
            }
        })
        .await
    }

    /// Runs the commands with the plain loop: load the whole stream, decide, put if the next version is free, or repeat.
    pub async fn with_the_plain_loop(&self) -> Measured {
        self.measure(|client, stream| {
            let table = self.table.clone();
            async move {
                for _ in 0..COMMANDS {
                    while !plain_attempt(&client, &table, &stream).await {}
                }
            }
        })
        .await
    }

    async fn measure<W: Future<Output = ()> + Send + 'static>(
        &self,
        writer: impl Fn(Client, StreamId) -> W,
    ) -> Measured {
        let stream = StreamId::new(Uuid::new_v4());
        self.faults.take_calls();
        let begun = Instant::now();
        let writers: JoinSet<()> = (0..WRITERS).map(|_| writer((self.client)(), stream.clone())).collect();
        writers.join_all().await;
        let elapsed = begun.elapsed();
        let calls = self.faults.take_calls();
        let store = EventStore::<Counter>::with_client((self.client)(), &self.table, NonZeroU32::MIN);
        let commits = store.commits_after(&stream, 0).await.unwrap();
        Measured {
            stored: commits.len(),
            writes: calls.of("PutItem").count(),
            reads: calls.of("Query").count(),
            elapsed,
        }
    }
}

/// Returns whether the command was stored.
async fn plain_attempt(client: &Client, table: &str, stream: &StreamId) -> bool {
    let (mut counter, mut version) = (Counter::<1>::default(), 0_u64);
    for item in stream_items(client, table, stream).await {
        let data = item["events"].as_l().unwrap()[0].as_m().unwrap()["data"].as_m().unwrap();
        let amount = data["amount"].as_n().unwrap().parse().unwrap();
        counter.apply(&CounterEvent::Added(amount)).unwrap();
        version += 1;
    }
    let events = Command::Add(1).decide(&counter).unwrap().into_iter().map(|event| {
        let CounterEvent::Added(amount) = event else { unreachable!("an addition adds") };
        let fields = [
            ("type", AttributeValue::S("Added".into())),
            ("schema", AttributeValue::N("2".into())),
            ("data", AttributeValue::M(HashMap::from([("amount".into(), AttributeValue::N(amount.to_string()))]))),
        ];
        AttributeValue::M(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    });
    let texts =
        ["actor", "correlation_id", "causation_id"].map(|name| (name.to_owned(), AttributeValue::S(String::new())));
    let put = client
        .put_item()
        .table_name(table)
        .item("stream_id", AttributeValue::S(stream.to_string()))
        .item("version", AttributeValue::N((version + 1).to_string()))
        .item("events", AttributeValue::L(events.collect()))
        .item("commit_id", AttributeValue::S(Uuid::new_v4().to_string()))
        .item("recorded_at", AttributeValue::S(Timestamp::now().to_string()))
        .item("metadata", AttributeValue::M(texts.into()))
        .condition_expression("attribute_not_exists(stream_id)");
    match put.send().await.map_err(|error| error.into_service_error()) {
        Ok(_) => true,
        Err(error) if error.is_conditional_check_failed_exception() => false,
        Err(error) => panic!("{error:?}"),
    }
}
