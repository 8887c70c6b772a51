//! Sales are exact under faults.

use orders_tests::lives::seeded;
use orders_tests::sales_history::live_through;

/// `cargo run --release -p orders-tests --bin sales_histories -- 10000` tries more histories.
#[test]
fn totals_of_random_histories_with_faults_are_the_recount_of_their_events() {
    let mut rng = seeded();
    for _ in 0..40 {
        let seed = rng.u64(..);
        println!("history {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(live_through(seed));
    }
}
