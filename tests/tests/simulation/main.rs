//! A fixed budget of the simulation: `cargo run --release -p orders-tests --bin simulate` runs it for as long as one likes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod agreement;

use std::time::{Duration, Instant};

use orders_tests::simulation::bounds::{BOUNDS, Bounds};
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
    let never: Vec<_> = bounds.never().collect();
    assert!(never.is_empty(), "the generators never exceed a bound: {never:?}");
}

/// Bounds of what the simulation does not run: limiters, queries, restores, long verifications, traces, and the local stack.
const ELSEWHERE: [&str; 10] = [
    "a container's views of limiters' items",
    "a container's own counters while the limiters' table is unavailable",
    "checkpoints of a sliding window",
    "differences that a verification lists",
    "findings that a restore lists",
    "entries of the local bus",
    "a read until `as_of`",
    "the `tracestate` of a trace",
    "spans of an invocation",
    "spans in the local stack",
];

#[test]
fn every_documented_bound_of_what_is_simulated_is_among_those_that_are_exceeded() {
    let document = include_str!("../../../docs/bounds.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).map(|(row, _)| row);
    let rows: Vec<_> = rows.filter(|row| !row.starts_with("what is ")).collect();
    let simulated = |row: &str| BOUNDS.iter().any(|(_, _, start)| !start.is_empty() && row.starts_with(start));
    let unknown: Vec<_> = rows.iter().filter(|row| simulated(row) == ELSEWHERE.contains(row)).collect();
    assert!(unknown.is_empty(), "add a history that exceeds it, or name who tests it: {unknown:?}");
    let documented = |start: &str| rows.iter().any(|row| row.starts_with(start));
    let gone: Vec<_> = BOUNDS.iter().filter(|(_, _, start)| !documented(start)).collect();
    assert!(gone.is_empty(), "not in docs/bounds.md: {gone:?}");
}

#[test]
fn a_history_leads_to_the_same_events_whenever_it_is_run() {
    for seed in 1..7 {
        let history = generate::history(seed);
        assert_eq!(run(&history), run(&history), "seed {seed}");
    }
}
