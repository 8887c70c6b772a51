//! Events that the gateway would never send.

use lambda_http::RequestExt as _;
use lambda_http::http::Response;
use orders_tests::hostile_events::{hostile, well_formed};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use super::functions::{FUNCTIONS, good, send_request};
use crate::gateway;
use crate::request::Request;
use crate::testing::{self, Shop};

#[test]
fn every_event_gets_a_well_formed_response_with_nothing_internal() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shop = runtime.block_on(Shop::open());
    let order_id = runtime.block_on(shop.create_order(44.98));
    let events = FUNCTIONS.iter().map(|(function, _)| good(function, &order_id)).collect();
    let seed = std::env::var("PROPTEST_RNG_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("PROPTEST_RNG_SEED={seed}");
    let config =
        Config { cases: 1_000, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&hostile(events), |(index, event)| {
        let request = Request::new(testing::from_gateway(event).with_lambda_context(testing::context()));
        let answer = runtime.block_on(send_request(&shop, &FUNCTIONS[index].0, request));
        let response = serde_json::to_value(gateway::Response::from(Response::from(answer))).unwrap();
        let status = well_formed(&response).map_err(|why| TestCaseError::fail(format!("{why}: {response}")))?;
        if status < 500 { Ok(()) } else { Err(TestCaseError::fail(response.to_string())) }
    });
    // The shortest event that fails may still be long.
    outcome.unwrap_or_else(|error| panic!("PROPTEST_RNG_SEED={seed}: {error:.2000}"));
}
