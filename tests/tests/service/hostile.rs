//! Events that the gateway would never send, to the real binaries.

use std::path::Path;

use orders_tests::hostile_events::{hostile, well_formed};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::Value;

use crate::shop::Shop;

/// One function of each kind of input: a body with values, a body that may be missing, a path, a query, both.
const FUNCTIONS: [&str; 5] = ["create-order", "deliver-order", "get-order", "list-orders", "override-breaker"];

#[tokio::test(flavor = "multi_thread")]
async fn a_process_survives_hundreds_of_hostile_events_and_responds_to_each() {
    let shop = Shop::open().await;
    let events = FUNCTIONS.map(|function| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../events/{function}.json"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    });
    let seed =
        std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("PROPTEST_RNG_SEED={seed}");
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() });
    let inputs = hostile(events.to_vec());
    for _ in 0..500 {
        let (index, event) = inputs.new_tree(&mut runner).unwrap().current();
        let sent: String = event.chars().take(2_000).collect();
        let response = shop.stack.invoke(FUNCTIONS[index], event.into()).await.unwrap();
        let response = response.unwrap_or_else(|error| panic!("{}: {sent}: {error}", FUNCTIONS[index]));
        let response: Value = serde_json::from_slice(&response).unwrap();
        let status = well_formed(&response).unwrap_or_else(|why| panic!("{why}: {sent}: {response}"));
        assert!(status < 500, "{}: {sent}: {response}", FUNCTIONS[index]);
    }
    shop.close().await;
}
