//! Projects the sales of random histories of orders under faults, and compares them with a recount of the events.
//!
//! `cargo run --release -p orders-tests --bin sales_histories -- 10000` runs that many histories from a random seed; a
//! second argument is the first seed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a check fails by a panic")]

use orders_tests::sales_history::{Tally, live_through};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let histories = arguments.next().unwrap_or(1_000);
    let first = arguments.next().unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    println!("seeds {first} to {}", first + histories - 1);
    let began = std::time::Instant::now();
    let mut tally = Tally::default();
    for seed in first..first + histories {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(live_through(seed))));
        match result {
            Ok(more) => tally += more,
            Err(_) => {
                println!("FAILED with seed {seed}: run it again with the arguments `1 {seed}`");
                std::process::exit(1);
            }
        }
    }
    println!("{histories} histories in {:.0?}, all equal to the recount: {tally:?}", began.elapsed());
}
