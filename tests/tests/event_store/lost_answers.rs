//! Responses that are lost after the write, on real connections.

use std::sync::Arc;
use std::time::Duration;

use dynamodb_event_store::{EventStore, ExecuteError, Resolution, StoreError, StreamId};
use dynamodb_testkit::call_log::Call;
use dynamodb_testkit::counter_aggregate::{Command, Counter};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use orders_tests::database::TestTables;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{Outcome, commits, keyed, run, store};

const WRITERS: u64 = 6;
const COMMANDS: u64 = 15;

struct Fixture {
    tables: TestTables,
    proxy: Proxy,
    store: EventStore<Counter>,
    streams: Arc<Vec<StreamId>>,
}

impl Fixture {
    /// With two streams to write to.
    async fn start() -> Self {
        let (tables, proxy) = TestTables::create_behind_proxy(&["OrderEvents"]).await;
        let store = store(proxy.client(Duration::from_secs(1)), tables.name("OrderEvents"), 5);
        let streams = Arc::new((0..2).map(|_| StreamId::new(Uuid::new_v4())).collect());
        Self { tables, proxy, store, streams }
    }

    /// Loses the response of every fifth write; and those of its retries, and of the read after them, if so wanted.
    fn lose_answers(&self, retries_too: bool, reads_after_too: bool) {
        let (mut writes, mut lost) = (0, false);
        self.proxy.faults.plan(move |call: &Call| {
            if call.operation == "Query" {
                // The read that would resolve the write.
                return Some(Fault::LoseResponse)
                    .filter(|_| lost && reads_after_too && call.body["ConsistentRead"] == true);
            }
            if call.attempt == 1 {
                writes += 1;
                lost = writes % 5 == 0;
            }
            let lose = if call.attempt == 1 { lost } else { retries_too };
            lose.then(|| [Fault::LoseResponse, Fault::FailAfter, Fault::LoseResponse, Fault::HangAfter][writes % 4])
        });
    }

    /// Runs all writers, which repeat a command of unknown outcome with the same key. Returns the number of unknown
    /// outcomes.
    async fn write(&self, reads_fail: bool) -> usize {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (store, streams) = (self.store.clone(), self.streams.clone());
            writers.spawn(async move {
                let mut unknown = 0;
                for n in 0..COMMANDS {
                    let (stream, key) = (&streams[(writer + n) as usize % 2], format!("{writer}-{n}"));
                    let command = Command::Add(1 << (n % 8));
                    let mut repeated = false;
                    while let Err(error) = settle(&store, stream, &key, &command, repeated).await {
                        repeated = true;
                        match error {
                            ExecuteError::OutcomeUnknown(_) => unknown += 1,
                            // The read after a conflict was lost: nothing was stored.
                            ExecuteError::Store(StoreError::Unavailable(_)) if reads_fail => {}
                            error => panic!("{error:?}"),
                        }
                    }
                }
                unknown
            });
        }
        writers.join_all().await.into_iter().sum()
    }

    async fn assert_all_stored_once(&self) {
        let mut ids = Vec::new();
        for stream in self.streams.iter() {
            let commits = commits(&self.tables.client(), self.tables.name("OrderEvents"), stream).await;
            ids.extend(commits.into_iter().map(|commit| commit.id));
        }
        assert_eq!(ids.len() as u64, WRITERS * COMMANDS);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len() as u64, WRITERS * COMMANDS, "a command was stored twice");
    }
}

/// Runs a command, which only an earlier run can have stored before.
async fn settle(
    store: &EventStore<Counter>,
    stream: &StreamId,
    key: &str,
    command: &Command,
    repeated: bool,
) -> Outcome {
    let executed = run(store, stream, command, &keyed(stream, key, command)).await?;
    let replayed = executed.resolution == Resolution::Replayed;
    assert!(executed.resolution == Resolution::Stored || (replayed && repeated), "{:?}", executed.resolution);
    assert_eq!(executed.outcome.1, 1);
    Ok(executed)
}

#[tokio::test]
async fn a_command_whose_write_response_is_lost_is_stored_once_without_an_error() {
    let fixture = Fixture::start().await;
    fixture.lose_answers(false, false);
    assert_eq!(fixture.write(false).await, 0);
    fixture.assert_all_stored_once().await;
}

#[tokio::test]
async fn a_command_whose_retries_are_lost_too_is_resolved_by_a_read() {
    let fixture = Fixture::start().await;
    fixture.lose_answers(true, false);
    assert_eq!(fixture.write(false).await, 0);
    fixture.assert_all_stored_once().await;
}

#[tokio::test]
async fn a_command_that_no_read_can_resolve_has_an_unknown_outcome_and_a_repeat_settles_it() {
    let fixture = Fixture::start().await;
    fixture.lose_answers(true, true);
    assert!(fixture.write(true).await > 0, "no outcome was unknown");
    fixture.assert_all_stored_once().await;
}
