//! Manual overrides, and how containers follow them.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use dynamodb_circuit_breaker::{Action, Override, State};

use crate::case::Case;
use crate::world::SECOND;

const SETTINGS: &str = "failures=2; calls=2; open=5s; successes=1";
/// 1.5 cache times.
const FOLLOWED: Duration = Duration::from_millis(1_500);
/// The same of ten cache times, while it is open without an override.
const FOLLOWED_WHILE_OPEN: Duration = Duration::from_secs(15);

fn request(action: Action) -> Override {
    Override { action, by: "admin".into(), why: "the provider answers wrongly".into() }
}

async fn set(case: &Case, action: Action) {
    case.breaker.set_override(&request(action)).await.unwrap();
}

const REJECTED: (&str, bool) = ("fallback", true);
const PASSED: (&str, bool) = ("yes", false);

#[tokio::test]
async fn forced_open_is_followed_by_all_within_the_cache_time_without_probes() {
    let case = Case::new(SETTINGS);
    let other = case.another();
    assert_eq!(other.call(Ok("yes")).await, PASSED);
    set(&case, Action::ForceOpen { until: None }).await;
    assert_eq!(case.call(Ok("yes")).await, REJECTED, "at once where it was set");
    case.advance(FOLLOWED);
    case.table.calls();
    for _ in 0..600 {
        assert_eq!(other.call(Ok("yes")).await, REJECTED);
        case.advance(Duration::from_secs(1));
    }
    let (reads, writes) = case.table.calls();
    assert!(reads <= 600 && writes == 0, "{reads} reads, {writes} writes in ten minutes");
    set(&case, Action::Reset).await;
    case.advance(FOLLOWED);
    assert_eq!(other.call(Ok("yes")).await, PASSED, "its end is followed as fast");
}

#[tokio::test]
async fn a_reset_is_followed_while_the_circuit_is_open() {
    let case = Case::new("failures=2; calls=2; open=1h; open-max=1h");
    let other = case.another();
    other.fail(2).await;
    assert_eq!(other.call(Ok("yes")).await, REJECTED);
    set(&case, Action::Reset).await;
    case.advance(FOLLOWED_WHILE_OPEN);
    for _ in 0..100 {
        assert_eq!(other.call(Ok("yes")).await, PASSED, "all calls, without a ramp");
    }
}

#[tokio::test]
async fn forced_open_is_followed_before_a_probe() {
    let case = Case::new(SETTINGS);
    let other = case.another();
    other.fail(2).await;
    case.advance(Duration::from_secs(1));
    set(&case, Action::ForceOpen { until: None }).await;
    other.table.calls();
    for _ in 0..10 {
        assert_eq!(other.call(Ok("yes")).await, REJECTED);
        case.advance(Duration::from_secs(1));
    }
    assert_eq!(other.table.calls().1, 0, "no probe was tried");
}

#[tokio::test]
async fn forced_closed_calls_a_failing_callee_every_time_and_counts() {
    let case = Case::new(SETTINGS);
    case.fail(2).await;
    set(&case, Action::ForceClosed { until: Some(case.now() + 60 * SECOND) }).await;
    for n in 1..=50 {
        case.fail(1).await;
        assert_eq!(case.table.circuit().window(case.breaker.settings(), case.now()).failures, n);
    }
    assert_eq!(case.call(Ok("yes")).await, PASSED);
    case.advance(Duration::from_mins(1));
    case.fail(2).await;
    assert_eq!(case.table.circuit().state, State::Open, "after its end it opens again");
}

#[tokio::test]
async fn after_the_end_of_forced_open_a_probe_is_allowed() {
    let case = Case::new(SETTINGS);
    set(&case, Action::ForceOpen { until: Some(case.now() + 3_600 * SECOND) }).await;
    case.advance(Duration::from_secs(3_599));
    assert_eq!(case.call(Ok("yes")).await, REJECTED);
    case.advance(Duration::from_secs(1));
    assert_eq!(case.call(Ok("yes")).await, PASSED);
    assert_eq!(case.table.circuit().state, State::Closed);
}

#[tokio::test]
async fn setting_the_same_override_again_changes_nothing() {
    let case = Case::new(SETTINGS);
    set(&case, Action::ForceOpen { until: None }).await;
    let first = case.table.circuit();
    case.advance(Duration::from_secs(10));
    set(&case.another(), Action::ForceOpen { until: None }).await;
    assert_eq!(case.table.circuit(), first);
    set(&case, Action::ForceOpen { until: Some(case.now() + SECOND) }).await;
    assert_eq!(case.table.circuit().generation, 2);
}

#[tokio::test]
async fn a_container_without_the_table_follows_the_override_that_it_knows() {
    let case = Case::new(SETTINGS);
    set(&case, Action::ForceOpen { until: Some(case.now() + 60 * SECOND) }).await;
    case.table.down.store(true, SeqCst);
    for _ in 0..30 {
        case.advance(Duration::from_secs(1));
        assert_eq!(case.call(Ok("yes")).await, REJECTED);
    }
    assert!(case.breaker.set_override(&request(Action::Reset)).await.is_err(), "it was not stored");
}

#[tokio::test]
async fn a_call_allowed_before_an_override_changes_nothing_after_it() {
    let case = Case::new("failures=1; calls=1");
    let permit = case.breaker.admit().await.unwrap();
    set(&case.another(), Action::Reset).await;
    case.breaker.record(permit, dynamodb_circuit_breaker::Outcome::Failure).await;
    let circuit = case.table.circuit();
    assert_eq!((circuit.state, circuit.window(case.breaker.settings(), case.now()).failures), (State::Closed, 0));
}
