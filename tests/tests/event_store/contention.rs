//! Many writers on one stream.

use std::num::NonZeroU32;
use std::time::Duration;

use dynamodb_testkit::proxy::Proxy;
use dynamodb_testkit::simulation::Simulation;
use orders_tests::database::TestTables;
use orders_tests::load::{COMMANDS, Load, WRITERS};

const SNAPSHOT_EVERY: NonZeroU32 = NonZeroU32::new(14).unwrap();

/// The program `contention` measures throughput, and holds a release build to 2.5 writes; in a debug build the machine is
/// busy with other things than the database, and more writers meet.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_on_one_stream_each_command_is_stored_once_for_few_writes() {
    let tables = TestTables::create(&["OrderEvents"]).await;
    let proxy = Proxy::start(tables.endpoint());
    let measured = Load::on(&proxy, &tables).with_the_store(SNAPSHOT_EVERY).await;
    println!("{measured}");
    assert_eq!(measured.stored, WRITERS * COMMANDS);
    assert!(measured.writes_per_command() <= 3.5, "{measured}");
}

/// Where calls take the time they take and nothing else counts, any build will do.
#[tokio::test(start_paused = true)]
async fn however_slow_the_database_a_command_takes_two_and_a_half_writes_at_most() {
    // The mean of many runs is 2.25, and one in some hundreds would be above the bound by chance.
    fastrand::seed(1);
    for round_trip in [2_000, 20_000] {
        let simulation = Simulation::start();
        let one_way = move || Duration::from_micros(fastrand::u64(round_trip / 4..round_trip * 3 / 4));
        simulation.faults.latency(one_way);
        let measured = Load::simulated(&simulation).with_the_store(SNAPSHOT_EVERY).await;
        println!("{measured}");
        assert_eq!(measured.stored, WRITERS * COMMANDS);
        assert!(measured.writes_per_command() <= 2.5, "{measured}");
    }
}
