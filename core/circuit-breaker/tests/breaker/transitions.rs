//! The hook for transitions.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use dynamodb_circuit_breaker::{Action, CircuitBreaker, ErrorClass, Origin, Override, Reason, State};

use crate::case::{Case, Fault};

const SETTINGS: &str = "failures=2; calls=2; open=5s; successes=1; ramp=0s";
const OPEN: Duration = Duration::from_secs(5);
const CACHE: Duration = Duration::from_secs(1);

/// From, to, generation, reason and origin.
fn notified(case: &Case) -> Vec<(State, State, u64, Reason, Origin)> {
    case.notified().into_iter().map(|t| (t.from, t.to, t.generation, t.why, t.origin)).collect()
}

#[tokio::test]
async fn the_process_that_makes_a_transition_is_notified_once_with_its_reason() {
    use State::{Closed, HalfOpen, Open};
    let case = Case::new(SETTINGS);
    case.fail(2).await;
    assert_eq!(notified(&case), [(Closed, Open, 1, Reason::Failures, Origin::ThisProcess)]);
    case.advance(OPEN);
    case.fail(1).await;
    let finish_probe = (Open, HalfOpen, 1, Reason::OpenTimeElapsed, Origin::ThisProcess);
    assert_eq!(notified(&case), [finish_probe, (HalfOpen, Open, 2, Reason::ProbeFailed, Origin::ThisProcess)]);
    case.advance(2 * OPEN);
    case.call(Ok("yes")).await;
    let finish_probe = (Open, HalfOpen, 2, Reason::OpenTimeElapsed, Origin::ThisProcess);
    assert_eq!(notified(&case), [finish_probe, (HalfOpen, Closed, 3, Reason::Recovered, Origin::ThisProcess)]);
    for _ in 0..10 {
        case.advance(CACHE);
        case.call(Ok("yes")).await;
    }
    assert_eq!(notified(&case), []);
}

#[tokio::test]
async fn other_processes_are_notified_when_they_read_the_table() {
    let case = Case::new(SETTINGS);
    let (other, late) = (case.another(), case.another());
    other.call(Ok("yes")).await;
    case.fail(2).await;
    assert_eq!(notified(&other), []);
    for _ in 0..3 {
        case.advance(2 * CACHE);
        other.call(Ok("yes")).await;
        late.call(Ok("yes")).await;
    }
    let opened = (State::Closed, State::Open, 1, Reason::Failures, Origin::OtherProcess);
    assert_eq!(notified(&other)[0], opened);
    assert!(
        !notified(&late).iter().any(|notified| notified.1 == State::Open),
        "the first circuit read is not a transition"
    );
}

#[tokio::test]
async fn an_override_is_notified_with_its_author_and_reason() {
    let case = Case::new(SETTINGS);
    let other = case.another();
    other.call(Ok("yes")).await;
    let request =
        Override { action: Action::ForceOpen { until: None }, by: "admin".into(), why: "wrong answers".into() };
    case.breaker.set_override(&request).await.unwrap();
    case.advance(2 * CACHE);
    other.call(Ok("yes")).await;
    for (case, origin) in [(&case, Origin::ThisProcess), (&other, Origin::OtherProcess)] {
        let [notified] = &notified(case)[..] else { panic!("once") };
        assert_eq!((notified.1, notified.4), (State::Open, origin));
        let Reason::Override(applied) = &notified.3 else { panic!("{notified:?}") };
        assert_eq!(applied.requested, request);
    }
}

#[tokio::test]
async fn a_local_transition_and_its_end_are_notified_as_such() {
    let case = Case::new(SETTINGS);
    case.table.down.store(true, SeqCst);
    case.fail(2).await;
    assert_eq!(notified(&case), [(State::Closed, State::Open, 1, Reason::Failures, Origin::LocalOnly)]);
    case.table.down.store(false, SeqCst);
    case.advance(2 * CACHE);
    case.call(Ok("yes")).await;
    assert_eq!(notified(&case), [(State::Open, State::Closed, 0, Reason::Missed, Origin::OtherProcess)]);
}

#[tokio::test]
async fn a_transition_with_a_lost_response_is_notified_as_its_own() {
    let case = Case::new(SETTINGS);
    case.fail(1).await;
    case.table.drops_transition_responses.store(true, SeqCst);
    case.fail(1).await;
    case.table.drops_transition_responses.store(false, SeqCst);
    assert_eq!(case.table.circuit().state, State::Open, "it was applied");
    assert_eq!(notified(&case), [(State::Closed, State::Open, 1, Reason::Failures, Origin::LocalOnly)]);
    case.advance(2 * CACHE);
    case.call(Ok("yes")).await;
    assert_eq!(notified(&case), [(State::Closed, State::Open, 1, Reason::Failures, Origin::ThisProcess)]);
}

#[tokio::test]
async fn returning_to_its_own_older_transition_is_notified() {
    let case = Case::new(SETTINGS);
    case.fail(2).await;
    case.advance(OPEN);
    case.call(Ok("yes")).await;
    assert_eq!(notified(&case).last().unwrap().1, State::Closed);
    case.table.down.store(true, SeqCst);
    case.fail(2).await;
    let generation = case.table.circuit().generation;
    assert_eq!(notified(&case), [(State::Closed, State::Open, generation + 1, Reason::Failures, Origin::LocalOnly)]);
    case.table.down.store(false, SeqCst);
    case.advance(2 * CACHE);
    case.call(Ok("yes")).await;
    assert_eq!(notified(&case), [(State::Open, State::Closed, generation, Reason::Missed, Origin::OtherProcess)]);
}

#[tokio::test]
async fn a_slow_hook_does_not_delay_calls_that_waited_for_the_same_read() {
    let case = Case::new(SETTINGS);
    let (entered, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (window_parts, free) = (entered.clone(), release.clone());
    let first = AtomicBool::new(true);
    let slow = Arc::new(case.another().breaker.on_transition(move |_| {
        if first.swap(false, SeqCst) {
            window_parts.wait();
            free.wait();
        }
    }));
    slow.admit().await.unwrap();
    case.fail(2).await;
    case.advance(2 * CACHE);
    let notified = std::thread::spawn({
        let slow = slow.clone();
        move || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(slow.admit()).map(drop)
    });
    entered.wait();
    // The read is over and only the hook is running: the next read does not wait.
    case.advance(OPEN);
    let next = tokio::time::timeout(Duration::from_secs(5), slow.admit()).await;
    release.wait();
    assert!(next.unwrap().unwrap().is_probe());
    assert!(notified.join().unwrap().is_err());
}

#[tokio::test]
async fn a_stale_replica_is_not_notified() {
    let case = Case::new("failures=2; calls=2; open=1s; probes=2; lease=1m");
    case.fail(2).await;
    let open = case.table.item.lock().unwrap().clone();
    case.advance(OPEN);
    // A probe without an outcome keeps it half-open.
    assert!(case.breaker.admit().await.unwrap().is_probe());
    assert_eq!(notified(&case).len(), 2);
    for stale in [Some(open), None] {
        *case.table.stale.lock().unwrap() = stale;
        case.advance(2 * CACHE);
        _ = case.breaker.admit().await;
        assert_eq!(notified(&case), []);
    }
}

#[tokio::test]
async fn a_panic_of_the_hook_is_caught_and_the_call_continues() {
    let case = Case::new(SETTINGS);
    let breaker: CircuitBreaker<_> = case.another().breaker.on_transition(|_| panic!("a hook that fails"));
    for _ in 0..3 {
        let answer = breaker.call(async { Err::<&str, _>(Fault(ErrorClass::Callee)) }, |_| "fallback").await;
        assert_eq!(answer.unwrap().value, "fallback");
    }
    assert_eq!(case.table.circuit().state, State::Open);
}
