//! What a process is told of transitions.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use dynamodb_circuit_breaker::{Action, ErrorClass, CircuitBreaker, Order, Origin, State, Reason};

use crate::case::{Case, Fault};

const SETTINGS: &str = "failures=2; calls=2; open=5s; successes=1; ramp=0s";
const OPEN: Duration = Duration::from_secs(5);
const CACHE: Duration = Duration::from_secs(1);

/// From, to, generation, why and whose doing.
fn told(case: &Case) -> Vec<(State, State, u64, Reason, Origin)> {
    case.told().into_iter().map(|t| (t.from, t.to, t.generation, t.why, t.origin)).collect()
}

#[tokio::test]
async fn the_process_that_makes_a_transition_is_told_of_it_once_with_its_reason() {
    use State::{Closed, HalfOpen, Open};
    let case = Case::new(SETTINGS);
    case.fail(2).await;
    assert_eq!(told(&case), [(Closed, Open, 1, Reason::Failures, Origin::ThisProcess)]);
    case.pass(OPEN);
    case.fail(1).await;
    let probed = (Open, HalfOpen, 1, Reason::OpenTimeElapsed, Origin::ThisProcess);
    assert_eq!(told(&case), [probed, (HalfOpen, Open, 2, Reason::ProbeFailed, Origin::ThisProcess)]);
    case.pass(2 * OPEN);
    case.call(Ok("yes")).await;
    let probed = (Open, HalfOpen, 2, Reason::OpenTimeElapsed, Origin::ThisProcess);
    assert_eq!(told(&case), [probed, (HalfOpen, Closed, 3, Reason::Recovered, Origin::ThisProcess)]);
    for _ in 0..10 {
        case.pass(CACHE);
        case.call(Ok("yes")).await;
    }
    assert_eq!(told(&case), []);
}

#[tokio::test]
async fn others_are_told_when_they_look_and_that_it_was_not_their_doing() {
    let case = Case::new(SETTINGS);
    let (other, late) = (case.another(), case.another());
    other.call(Ok("yes")).await;
    case.fail(2).await;
    assert_eq!(told(&other), []);
    for _ in 0..3 {
        case.pass(2 * CACHE);
        other.call(Ok("yes")).await;
        late.call(Ok("yes")).await;
    }
    let opened = (State::Closed, State::Open, 1, Reason::Failures, Origin::OtherProcess);
    assert_eq!(told(&other)[0], opened);
    assert!(!told(&late).iter().any(|told| told.1 == State::Open), "what it met when it began is nothing new to it");
}

#[tokio::test]
async fn what_an_order_does_is_told_with_who_and_why() {
    let case = Case::new(SETTINGS);
    let other = case.another();
    other.call(Ok("yes")).await;
    let order = Order { action: Action::ForceOpen { until: None }, by: "admin".into(), why: "wrong answers".into() };
    case.breaker.set_override(&order).await.unwrap();
    case.pass(2 * CACHE);
    other.call(Ok("yes")).await;
    for (case, origin) in [(&case, Origin::ThisProcess), (&other, Origin::OtherProcess)] {
        let [told] = &told(case)[..] else { panic!("once") };
        assert_eq!((told.1, told.4), (State::Open, origin));
        let Reason::Override(intervention) = &told.3 else { panic!("{told:?}") };
        assert_eq!(intervention.order, order);
    }
}

#[tokio::test]
async fn what_a_container_does_by_itself_is_told_as_such_and_its_end_as_well() {
    let case = Case::new(SETTINGS);
    case.table.away.store(true, SeqCst);
    case.fail(2).await;
    assert_eq!(told(&case), [(State::Closed, State::Open, 1, Reason::Failures, Origin::LocalOnly)]);
    case.table.away.store(false, SeqCst);
    case.pass(2 * CACHE);
    case.call(Ok("yes")).await;
    assert_eq!(told(&case), [(State::Open, State::Closed, 0, Reason::Missed, Origin::OtherProcess)]);
}

#[tokio::test]
async fn one_whose_answer_was_lost_is_told_as_its_own_doing_from_what_the_table_had_shown() {
    let case = Case::new(SETTINGS);
    case.fail(1).await;
    case.table.loses_transitions.store(true, SeqCst);
    case.fail(1).await;
    case.table.loses_transitions.store(false, SeqCst);
    assert_eq!(case.table.circuit().state, State::Open, "it was made");
    assert_eq!(told(&case), [(State::Closed, State::Open, 1, Reason::Failures, Origin::LocalOnly)]);
    case.pass(2 * CACHE);
    case.call(Ok("yes")).await;
    assert_eq!(told(&case), [(State::Closed, State::Open, 1, Reason::Failures, Origin::ThisProcess)]);
}

#[tokio::test]
async fn coming_back_to_its_own_older_transition_is_told_too() {
    let case = Case::new(SETTINGS);
    case.fail(2).await;
    case.pass(OPEN);
    case.call(Ok("yes")).await;
    assert_eq!(told(&case).last().unwrap().1, State::Closed);
    case.table.away.store(true, SeqCst);
    case.fail(2).await;
    let generation = case.table.circuit().generation;
    assert_eq!(told(&case), [(State::Closed, State::Open, generation + 1, Reason::Failures, Origin::LocalOnly)]);
    case.table.away.store(false, SeqCst);
    case.pass(2 * CACHE);
    case.call(Ok("yes")).await;
    assert_eq!(told(&case), [(State::Open, State::Closed, generation, Reason::Missed, Origin::OtherProcess)]);
}

#[tokio::test]
async fn a_hook_holds_up_none_of_those_who_waited_for_the_same_look() {
    let case = Case::new(SETTINGS);
    let (entered, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (inside, free) = (entered.clone(), release.clone());
    let first = AtomicBool::new(true);
    let slow = Arc::new(case.another().breaker.on_transition(move |_| {
        if first.swap(false, SeqCst) {
            inside.wait();
            free.wait();
        }
    }));
    slow.admit().await.unwrap();
    case.fail(2).await;
    case.pass(2 * CACHE);
    let told = std::thread::spawn({
        let slow = slow.clone();
        move || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(slow.admit()).map(drop)
    });
    entered.wait();
    // That look is over, and only the hook goes on: the next one is not kept waiting.
    case.pass(OPEN);
    let next = tokio::time::timeout(Duration::from_secs(5), slow.admit()).await;
    release.wait();
    assert!(next.unwrap().unwrap().is_probe());
    assert!(told.join().unwrap().is_err());
}

#[tokio::test]
async fn a_replica_that_lags_behind_is_nothing_to_tell() {
    let case = Case::new("failures=2; calls=2; open=1s; probes=2; lease=1m");
    case.fail(2).await;
    let open = case.table.item.lock().unwrap().clone();
    case.pass(OPEN);
    // A probe that is not heard of again keeps it half-open.
    assert!(case.breaker.admit().await.unwrap().is_probe());
    assert_eq!(told(&case).len(), 2);
    for stale in [Some(open), None] {
        *case.table.stale.lock().unwrap() = stale;
        case.pass(2 * CACHE);
        _ = case.breaker.admit().await;
        assert_eq!(told(&case), []);
    }
}

#[tokio::test]
async fn a_hook_that_panics_is_caught_and_the_call_goes_on() {
    let case = Case::new(SETTINGS);
    let breaker: CircuitBreaker<_> = case.another().breaker.on_transition(|_| panic!("a hook that fails"));
    for _ in 0..3 {
        let answer = breaker.call(async { Err::<&str, _>(Fault(ErrorClass::Callee)) }, |_| "fallback").await;
        assert_eq!(answer.unwrap().value, "fallback");
    }
    assert_eq!(case.table.circuit().state, State::Open);
}
