//! What somebody orders by hand, and how containers follow.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use dynamodb_circuit_breaker::{Action, Order, State};

use crate::case::Case;
use crate::world::SECOND;

const SETTINGS: &str = "failures=2; calls=2; open=5s; successes=1";
/// The cache time, and half as much again.
const FOLLOWED: Duration = Duration::from_millis(1_500);
/// The same of ten cache times, while it is open by itself.
const FOLLOWED_WHILE_OPEN: Duration = Duration::from_secs(15);

fn order(action: Action) -> Order {
    Order { action, by: "admin".into(), why: "the provider answers wrongly".into() }
}

async fn give(case: &Case, action: Action) {
    case.breaker.set_override(&order(action)).await.unwrap();
}

const REJECTED: (&str, bool) = ("fallback", true);
const PASSED: (&str, bool) = ("yes", false);

#[tokio::test]
async fn what_is_forced_open_is_followed_by_all_within_the_cache_time_and_never_probed() {
    let case = Case::new(SETTINGS);
    let other = case.another();
    assert_eq!(other.call(Ok("yes")).await, PASSED);
    give(&case, Action::ForceOpen { until: None }).await;
    assert_eq!(case.call(Ok("yes")).await, REJECTED, "where it was ordered, at once");
    case.pass(FOLLOWED);
    case.table.calls();
    for _ in 0..600 {
        assert_eq!(other.call(Ok("yes")).await, REJECTED);
        case.pass(Duration::from_secs(1));
    }
    let (reads, writes) = case.table.calls();
    assert!(reads <= 600 && writes == 0, "{reads} reads, {writes} writes in ten minutes");
    give(&case, Action::Reset).await;
    case.pass(FOLLOWED);
    assert_eq!(other.call(Ok("yes")).await, PASSED, "its end is followed as soon");
}

#[tokio::test]
async fn an_order_is_followed_while_the_circuit_is_open_by_itself() {
    let case = Case::new("failures=2; calls=2; open=1h; open-max=1h");
    let other = case.another();
    other.fail(2).await;
    assert_eq!(other.call(Ok("yes")).await, REJECTED);
    give(&case, Action::Reset).await;
    case.pass(FOLLOWED_WHILE_OPEN);
    for _ in 0..100 {
        assert_eq!(other.call(Ok("yes")).await, PASSED, "all of them, without a ramp");
    }
}

#[tokio::test]
async fn what_is_forced_open_while_the_circuit_is_open_by_itself_is_followed_before_a_probe() {
    let case = Case::new(SETTINGS);
    let other = case.another();
    other.fail(2).await;
    case.pass(Duration::from_secs(1));
    give(&case, Action::ForceOpen { until: None }).await;
    other.table.calls();
    for _ in 0..10 {
        assert_eq!(other.call(Ok("yes")).await, REJECTED);
        case.pass(Duration::from_secs(1));
    }
    assert_eq!(other.table.calls().1, 0, "no probe was tried");
}

#[tokio::test]
async fn what_is_forced_closed_asks_a_callee_that_fails_every_time_and_counts() {
    let case = Case::new(SETTINGS);
    case.fail(2).await;
    give(&case, Action::ForceClosed { until: Some(case.now() + 60 * SECOND) }).await;
    for n in 1..=50 {
        case.fail(1).await;
        assert_eq!(case.table.circuit().window(case.breaker.settings(), case.now()).failures, n);
    }
    assert_eq!(case.call(Ok("yes")).await, PASSED);
    case.pass(Duration::from_mins(1));
    case.fail(2).await;
    assert_eq!(case.table.circuit().state, State::Open, "after its end it opens as ever");
}

#[tokio::test]
async fn after_the_end_of_what_is_forced_open_a_probe_goes() {
    let case = Case::new(SETTINGS);
    give(&case, Action::ForceOpen { until: Some(case.now() + 3_600 * SECOND) }).await;
    case.pass(Duration::from_secs(3_599));
    assert_eq!(case.call(Ok("yes")).await, REJECTED);
    case.pass(Duration::from_secs(1));
    assert_eq!(case.call(Ok("yes")).await, PASSED);
    assert_eq!(case.table.circuit().state, State::Closed);
}

#[tokio::test]
async fn the_same_order_given_again_changes_nothing_and_another_one_does() {
    let case = Case::new(SETTINGS);
    give(&case, Action::ForceOpen { until: None }).await;
    let first = case.table.circuit();
    case.pass(Duration::from_secs(10));
    give(&case.another(), Action::ForceOpen { until: None }).await;
    assert_eq!(case.table.circuit(), first);
    give(&case, Action::ForceOpen { until: Some(case.now() + SECOND) }).await;
    assert_eq!(case.table.circuit().generation, 2);
}

#[tokio::test]
async fn a_container_without_its_table_goes_on_under_the_order_that_it_knows() {
    let case = Case::new(SETTINGS);
    give(&case, Action::ForceOpen { until: Some(case.now() + 60 * SECOND) }).await;
    case.table.away.store(true, SeqCst);
    for _ in 0..30 {
        case.pass(Duration::from_secs(1));
        assert_eq!(case.call(Ok("yes")).await, REJECTED);
    }
    assert!(case.breaker.set_override(&order(Action::Reset)).await.is_err(), "nobody is told that it was carried out");
}

#[tokio::test]
async fn a_call_that_was_let_through_before_an_order_changes_nothing_after_it() {
    let case = Case::new("failures=1; calls=1");
    let permit = case.breaker.admit().await.unwrap();
    give(&case.another(), Action::Reset).await;
    case.breaker.record(permit, dynamodb_circuit_breaker::Outcome::Failure).await;
    let circuit = case.table.circuit();
    assert_eq!((circuit.state, circuit.window(case.breaker.settings(), case.now()).failures), (State::Closed, 0));
}
