//! Many writers on one stream.

use std::num::NonZeroU32;
use std::time::Duration;

use orders_tests::database::TestTables;
use orders_tests::load::{COMMANDS, Load, WRITERS};
use orders_tests::proxy::Proxy;

/// The throughput is measured by the program `contention`, in a release build: what holds for calls holds in any build.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_on_one_stream_each_command_is_stored_once_for_few_writes() {
    let tables = TestTables::create(&["OrderEvents"]).await;
    let proxy = Proxy::start(tables.endpoint());
    let load = Load::new(&proxy, &tables, Duration::from_millis(5));
    let measured = load.with_the_store(NonZeroU32::new(14).unwrap()).await;
    println!("{measured}");
    assert_eq!(measured.stored, WRITERS * COMMANDS);
    assert!(measured.writes_per_command() <= 2.5, "{measured}");
}
