//! Measures the cost of a command on a long stream for values of `SnapshotEvery`:
//! `cargo run --release -p orders-tests --bin snapshot_costs`.
#![allow(clippy::expect_used, reason = "a measurement fails by a panic")]

use std::num::NonZeroU32;

use dynamodb_event_store::{
    CommitKey, Consistency, EventStore, IdempotencyKey, Metadata, Request, RequestHash, StreamId,
};
use dynamodb_testkit::counter_aggregate::{Command, Counter};
use dynamodb_testkit::simulation::Simulation;
use uuid::Uuid;

/// The number of commands after which snapshots hold their full number of keyed commits.
const WARM_UP: u32 = 40;

/// The price of a write unit in read units.
const WRITE_UNIT: f64 = 5.0;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for (state, keyed) in [(600, true), (1_000, true), (1_000, false)] {
        let keys = if keyed { "keyed commands" } else { "no keys" };
        println!("\nState of {state} bytes, commits of 600 bytes, {keys}: units per command\n");
        println!("| N | read, mean | read, most | written, mean | cost in read units |");
        println!("|--:|--:|--:|--:|--:|");
        for every in [4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 50, 100] {
            let (read, most, written) = measure(every, state, keyed).await;
            let cost = read + WRITE_UNIT * written;
            println!("| {every} | {read:.2} | {most:.1} | {written:.3} | {cost:.2} |");
        }
    }
}

/// Mean and maximum of read units, and mean of write units, of a command on a long stream.
async fn measure(every: u32, state: usize, keyed: bool) -> (f64, f64, f64) {
    let simulation = Simulation::start();
    let stream = StreamId::new(Uuid::new_v4());
    let every_version = NonZeroU32::new(every).expect("not 0");
    let store = EventStore::<Counter>::new(simulation.client(), Simulation::TABLE, every_version);
    let run = async |command: &Command| {
        let request = request(&stream, command, keyed);
        let loaded = store.load(&stream, Consistency::Eventual).await.expect("the stream is loaded");
        store.execute(loaded, &request, |counter, _| command.decide(counter)).await.expect("the command is stored");
        simulation.faults.take_calls()
    };
    run(&Command::Label("x".repeat(state))).await;
    for _ in 0..WARM_UP + every {
        run(&Command::Add(1)).await;
    }
    let measured = 6 * every;
    let (mut read, mut most, mut written) = (0.0, 0.0_f64, 0.0);
    for _ in 0..measured {
        let calls = run(&Command::Add(1)).await;
        read += calls.of("Query").units();
        most = most.max(calls.of("Query").units());
        written += calls.of("PutItem").units();
    }
    (read / f64::from(measured), most, written / f64::from(measured))
}

/// With metadata as the functions write it, padded by the difference in size between an order's event and a counter's.
fn request(stream: &StreamId, command: &Command, keyed: bool) -> Request {
    let id = || Uuid::new_v4().to_string();
    let key = IdempotencyKey::parse(&id()).expect("a valid key");
    let hash = RequestHash::of("command", command).expect("the command serializes");
    let key = if keyed { CommitKey::keyed(stream, "http", &key, hash) } else { CommitKey::unkeyed() };
    Request::new(key).with_metadata(Metadata {
        actor: id() + &"x".repeat(210),
        correlation_id: id(),
        causation_id: id(),
        trace: None,
    })
}
