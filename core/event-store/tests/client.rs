//! The store's use of the DynamoDB client.
#![allow(clippy::unwrap_used, reason = "tests fail by a panic that says why")]

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use dynamodb_event_store::client::WRITE_TIMEOUT;
use dynamodb_event_store::{Consistency, EventStore, ExecuteError, Request, StreamId};
use dynamodb_testkit::counter_aggregate::{Command, Counter};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::simulation::Simulation;
use tokio::time::{Instant, timeout};

const EVERY: NonZeroU32 = NonZeroU32::MIN;

fn stream() -> StreamId {
    StreamId::new("stream")
}

/// A client without timeouts and retries.
fn patient(simulation: &Simulation) -> Client {
    let config = simulation.client().config().to_builder();
    let config = config.timeout_config(TimeoutConfig::disabled()).retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}

#[tokio::test(start_paused = true)]
async fn a_store_retries_lost_responses_with_any_client() {
    let simulation = Simulation::start();
    simulation.faults.plan(|call| Some(Fault::HangAfter).filter(|_| call.attempt == 1));
    let store = EventStore::<Counter>::new(patient(&simulation), Simulation::TABLE, EVERY);
    let add = |counter: &Counter, _| Command::Add(1).decide(counter);
    let done = timeout(Duration::from_secs(9), store.run(&stream(), &Request::unkeyed(), add)).await.unwrap();
    assert_eq!(done.unwrap().version, 1);
    let loaded = timeout(Duration::from_secs(9), store.load(&stream(), Consistency::Strong)).await.unwrap();
    assert_eq!(loaded.unwrap().stream().version(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_given_up_after_the_write_timeout_whatever_the_client() {
    let simulation = Simulation::start();
    let (begun, sent) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let times = sent.clone();
    simulation.faults.plan(move |call| {
        (call.operation == "PutItem").then(|| times.lock().unwrap().push(begun.elapsed()))?;
        Some(Fault::Hang)
    });
    let store = EventStore::<Counter>::with_client(patient(&simulation), Simulation::TABLE, EVERY);
    let request = Request::unkeyed().with_deadline(begun + 20 * WRITE_TIMEOUT);
    let add = |counter: &Counter, _| Command::Add(1).decide(counter);
    let error = store.run(&stream(), &request, add).await.unwrap_err();
    assert!(matches!(error, ExecuteError::OutcomeUnknown(_)), "{error:?}");
    // Each attempt has a time of its own.
    assert_eq!(
        (sent.lock().unwrap().clone(), begun.elapsed()),
        ([0, 1, 2].map(|n| n * WRITE_TIMEOUT).to_vec(), 3 * WRITE_TIMEOUT)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_passed_as_it_is_keeps_its_settings() {
    let simulation = Simulation::start();
    simulation.faults.plan(|_| Some(Fault::Fail));
    let store = EventStore::<Counter>::with_client(patient(&simulation), Simulation::TABLE, EVERY);
    store.load(&stream(), Consistency::Strong).await.unwrap_err();
    assert_eq!(simulation.faults.take_calls().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_reported_missing_only_after_a_consistent_read() {
    let simulation = Simulation::start();
    let store = EventStore::<Counter>::new(simulation.client(), Simulation::TABLE, EVERY);
    assert!(store.find(&stream()).await.unwrap().is_none());
    assert_eq!(simulation.faults.take_calls().of("Query").count(), 2);
    let add = |counter: &Counter, _| Command::Add(1).decide(counter);
    store.run(&stream(), &Request::unkeyed(), add).await.unwrap();
    simulation.faults.take_calls();

    assert_eq!(store.find(&stream()).await.unwrap().unwrap().stream().version(), 1);
    let calls = simulation.faults.take_calls();
    assert_eq!((calls.count(), calls.units()), (1, 0.5));
    simulation.faults.plan(|_| Some(Fault::Stale(1)));
    assert_eq!(store.find(&stream()).await.unwrap().unwrap().stream().version(), 1, "newer than the replica");
}
