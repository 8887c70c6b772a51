//! Every fuzz target with its corpus and with mutated inputs, without coverage. `tests/fuzz/run` is the other way to run them.
#![allow(clippy::panic, reason = "tests fail by a panic")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use orders_tests::fuzz::mutate::mutated;
use orders_tests::fuzz::{TARGETS, target};
use orders_tests::lives::seeded;

/// How long each target gets mutated inputs.
const TIME: Duration = Duration::from_secs(2);

fn inputs_hold(name: &str) {
    let (target, mut random) = (target(name), seeded());
    let corpus = target.corpus();
    assert!(!corpus.is_empty(), "{name} has no input");
    let check = |input: &[u8], from: &str| {
        if catch_unwind(AssertUnwindSafe(|| (target.check)(input))).is_err() {
            panic!("{name}, from {from}: {}", String::from_utf8_lossy(input));
        }
    };
    for (path, input) in &corpus {
        check(input, &path.display().to_string());
    }
    let began = Instant::now();
    while began.elapsed() < TIME {
        let (path, input) = &corpus[random.usize(..corpus.len())];
        check(&mutated(input, &mut random), &path.display().to_string());
    }
}

#[test]
fn no_event_of_the_gateway_causes_a_server_error() {
    inputs_hold("request");
}

#[test]
fn any_event_of_the_bus_is_recorded_or_rejected_once() {
    inputs_hold("incoming");
}

#[test]
fn any_stream_batch_is_projected_or_parked_and_published() {
    inputs_hold("stream");
}

#[test]
fn any_request_of_an_operator_is_written_as_it_is_read() {
    inputs_hold("operator");
}

#[test]
fn no_stored_item_makes_a_function_panic() {
    inputs_hold("stored");
}

#[test]
fn a_response_of_the_provider_is_a_decline_only_if_it_says_so() {
    inputs_hold("provider");
}

#[test]
fn a_policy_is_printed_as_it_is_parsed() {
    inputs_hold("policy");
}

#[test]
fn an_amount_is_read_exactly() {
    inputs_hold("money");
}

#[test]
fn a_header_is_written_as_it_is_read() {
    inputs_hold("header");
}

#[test]
fn every_target_is_tried() {
    for target in &TARGETS {
        assert!(include_str!("fuzz.rs").contains(&format!("inputs_hold({:?});", target.name)), "{}", target.name);
    }
}
