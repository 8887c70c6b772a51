//! A fixed budget of the simulation: `cargo run --release -p orders-tests --bin simulate` runs it for as long as one likes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod agreement;

use std::time::{Duration, Instant};

use orders_tests::simulation::bounds::Bounds;
use orders_tests::simulation::directed::KINDS;
use orders_tests::simulation::{generate, run, run_directed, run_seed};

/// How long random histories are tried.
const BUDGET: Duration = Duration::from_secs(12);

#[test]
fn random_histories_of_the_whole_service_keep_every_promise() {
    let first =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..1 << 48));
    println!("SEED={first}");
    let until = Instant::now() + BUDGET;
    let mut histories = 0;
    for seed in (first..).take_while(|_| Instant::now() < until) {
        if let Err(report) = run_seed(seed) {
            panic!("{report}");
        }
        histories += 1;
    }
    println!("{histories} histories");
}

#[test]
fn every_bound_is_exceeded() {
    let mut bounds = Bounds::default();
    for kind in 0..KINDS {
        match run_directed(kind) {
            Ok(outcome) => bounds += outcome.bounds,
            Err(report) => panic!("{report}"),
        }
    }
    println!("{bounds}");
    let never: Vec<_> = bounds.counts().into_iter().filter(|(_, count)| *count == 0).collect();
    assert!(never.is_empty(), "the generators never exceed a bound: {never:?}");
}

#[test]
fn a_history_leads_to_the_same_events_whenever_it_is_run() {
    for seed in 1..7 {
        let history = generate::history(seed);
        assert_eq!(run(&history), run(&history), "seed {seed}");
    }
}
