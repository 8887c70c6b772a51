//! A wrong table is reported with its key and the expected key.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic that says why")]

use std::error::Error;
use std::num::NonZeroU32;

use aws_sdk_dynamodb::Client;
use dynamodb_event_store::client::is_rejected;
use dynamodb_event_store::{Consistency, EventStore, ExecuteError, Request, StoreError, StreamId, create_table};
use dynamodb_testkit::counter_aggregate::{Command, Counter, TooLittle};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::simulation::Simulation;

/// Keys of other tables, and how they are described.
const WRONG: [(&[(&str, &str)], &str); 4] = [
    (&[("id", "S")], "id (S)"),
    (&[("stream_id", "S")], "stream_id (S)"),
    (&[("stream_id", "S"), ("version", "S")], "stream_id (S), version (S)"),
    (&[("stream_id", "S"), ("first", "N")], "stream_id (S), first (N)"),
];

fn store(client: Client) -> EventStore<Counter> {
    EventStore::new(client, "table", NonZeroU32::MIN)
}

async fn add(store: &EventStore<Counter>) -> Result<u64, ExecuteError<TooLittle>> {
    let add = |counter: &Counter, _| Command::Add(1).decide(counter);
    Ok(store.run(&StreamId::new("stream"), &Request::unkeyed(), add).await?.version)
}

fn description(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |&error| error.source()).map(|error| format!("{error}: ")).collect()
}

fn names_both(error: &StoreError, found: &str) {
    let expected = format!("table table has the key {found}, but an event table has stream_id (S), version (N)");
    assert!(description(error).contains(&expected), "{}", description(error));
    assert!(is_rejected(error), "a retry does not help before it is fixed");
}

#[tokio::test(start_paused = true)]
async fn a_check_reports_the_actual_and_the_expected_key() {
    for (key, found) in WRONG {
        let simulation = Simulation::without_tables().with_table("table", key);
        names_both(&store(simulation.client()).check().await.unwrap_err(), found);
    }
    let simulation = Simulation::without_tables();
    let error = store(simulation.client()).check().await.unwrap_err();
    assert!(is_rejected(&error), "the table does not exist: {error:?}");
    create_table(&simulation.client(), "table").unwrap().send().await.unwrap();
    store(simulation.client()).check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_command_on_a_wrong_table_reports_it_with_one_more_call() {
    for (key, found) in WRONG {
        let simulation = Simulation::without_tables().with_table("table", key);
        let store = store(simulation.client());
        // The first commit alone finds its place in a table whose key is the stream.
        let mut runs = 0;
        let error = loop {
            runs += 1;
            match add(&store).await {
                Ok(_) if runs == 1 => {}
                Ok(version) => panic!("{found}: version {version}"),
                Err(ExecuteError::Store(error)) => break error,
                Err(error) => panic!("{found}: {error:?}"),
            }
        };
        names_both(&error, found);
        assert_eq!(simulation.faults.take_calls().of("DescribeTable").count(), 1, "{found}");
    }
    let simulation = Simulation::without_tables().with_table("table", &[("stream_id", "S"), ("version", "N")]);
    add(&store(simulation.client())).await.unwrap();
    assert_eq!(simulation.faults.take_calls().operations(), ["Query", "PutItem"]);
}

#[tokio::test(start_paused = true)]
async fn without_the_permission_to_describe_it_dynamodbs_error_is_returned() {
    let simulation = Simulation::without_tables().with_table("table", &[("id", "S")]);
    simulation.faults.plan(|call| Some(Fault::Deny).filter(|_| call.operation == "DescribeTable"));
    let error = store(simulation.client()).load(&StreamId::new("stream"), Consistency::Strong).await.unwrap_err();
    assert!(description(&error).contains("ValidationException"), "{}", description(&error));
}
