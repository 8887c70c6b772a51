//! Measures 32 writers on one stream, with the event store and with the plain loop:
//! `cargo run --release -p orders-tests --bin contention`. Fails when a bound does not hold.

use std::num::NonZeroU32;
use std::time::Duration;

use orders_tests::database::TestTables;
use orders_tests::load::{COMMANDS, Load, WRITERS};

const SNAPSHOT_EVERY: NonZeroU32 = NonZeroU32::new(14).unwrap();

#[tokio::main]
async fn main() {
    let (tables, proxy) = TestTables::create_behind_proxy(&["OrderEvents"]).await;
    for round_trip in [0, 5] {
        proxy.faults.latency(move || Duration::from_millis(round_trip) / 2);
        let load = Load::on(&proxy, &tables);
        // The store's run is short, so a busy moment of the machine would distort it: the median of three runs counts.
        let mut stores = vec![load.with_the_store(SNAPSHOT_EVERY).await];
        let plain = load.with_the_plain_loop().await;
        for _ in 0..2 {
            stores.push(load.with_the_store(SNAPSHOT_EVERY).await);
        }
        stores.sort_by(|one, other| one.throughput().total_cmp(&other.throughput()));
        let store = stores[1];
        println!("Latency added to each call: {round_trip} ms");
        println!("  event store: {store}");
        println!("  plain loop:  {plain}");
        let ratio = store.throughput() / plain.throughput();
        println!("  ratio:       {ratio:.1}");
        for run in stores {
            assert_eq!(run.stored, WRITERS * COMMANDS, "commands were lost or stored twice");
            assert!(run.writes_per_command() <= 2.5, "more than 2.5 PutItem per stored command");
        }
        // A commit waits for the response to the one before it, so that latency slows both loops down alike.
        assert!(round_trip > 0 || ratio >= 12.0, "less than 12 times the throughput of the plain loop");
    }
}
