//! Measures 32 writers on one stream, with the event store and with the plain loop, in one run:
//! `cargo run --release -p orders-tests --bin contention`. Fails below what the store promises.

use std::num::NonZeroU32;
use std::time::Duration;

use dynamodb_testkit::proxy::Proxy;
use orders_tests::database::TestTables;
use orders_tests::load::{COMMANDS, Load, WRITERS};

const SNAPSHOT_EVERY: NonZeroU32 = NonZeroU32::new(14).unwrap();

#[tokio::main]
async fn main() {
    let tables = TestTables::create(&["OrderEvents"]).await;
    let proxy = Proxy::start(tables.endpoint());
    for round_trip in [0, 5] {
        proxy.faults.latency(move || Duration::from_millis(round_trip) / 2);
        let load = Load::on(&proxy, &tables);
        // The store is done so quickly that a moment in which the machine is busy would decide: the middle one of three
        // runs counts, around the plain loop's long one.
        let mut stores = vec![load.with_the_store(SNAPSHOT_EVERY).await];
        let plain = load.with_the_plain_loop().await;
        for _ in 0..2 {
            stores.push(load.with_the_store(SNAPSHOT_EVERY).await);
        }
        stores.sort_by(|one, other| one.throughput().total_cmp(&other.throughput()));
        let store = stores[1];
        println!("A call takes {round_trip} ms more than the database on this machine.");
        println!("  event store: {store}");
        println!("  plain loop:  {plain}");
        let ratio = store.throughput() / plain.throughput();
        println!("  ratio:       {ratio:.1}");
        for run in stores {
            assert_eq!(run.stored, WRITERS * COMMANDS, "commands were lost or doubled");
            assert!(run.writes_per_command() <= 2.5, "more than 2.5 PutItem for a command that was stored");
        }
        // Of two commits, the second waits for the answer to the first: when that takes long, nobody is quick. What is
        // left to win is the plain loop's waste.
        assert!(round_trip > 0 || ratio >= 12.0, "less than 12 times the throughput of the plain loop");
    }
}
