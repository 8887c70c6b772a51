//! Results of calls through a breaker, and their cost at the table.

use std::future::ready;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use dynamodb_circuit_breaker::{Cause, Circuit, ErrorClass, Rejected, State};

use crate::case::{Case, Fault};
use crate::fleet::Fleet;
use crate::world::{Rules, SECOND, lock};

const OPEN: Duration = Duration::from_secs(5);
const CACHE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_successful_call_returns_the_callees_result() {
    assert_eq!(Case::new("").call(Ok("yes")).await, ("yes", false));
}

#[tokio::test]
async fn a_failed_call_returns_the_fallbacks_result_for_the_cause() {
    let case = Case::new("failures=1; calls=1");
    let call = || case.breaker.call(ready(Err::<Result<(), _>, _>(Fault(ErrorClass::Callee))), Err);
    assert_eq!(call().await.unwrap().value, Err(Cause::Failed(Fault(ErrorClass::Callee))));
    let rejected = call().await.unwrap();
    assert_eq!(rejected.value, Err(Cause::Rejected(Rejected::Open { retry_after: OPEN })));
    assert!(rejected.from_fallback);
}

#[tokio::test]
async fn an_open_circuit_makes_no_call() {
    let case = Case::new("failures=1; calls=1");
    case.fail(1).await;
    let call = async { panic!("the call was made") };
    let answer = case.breaker.call::<_, Fault>(call, |_| "fallback").await.unwrap();
    assert_eq!(answer.value, "fallback");
}

#[tokio::test]
async fn errors_by_the_caller_are_returned_and_do_not_count() {
    let case = Case::new("failures=1; calls=1");
    for _ in 0..10 {
        let notified = case.breaker.call(ready(Err::<(), _>(Fault(ErrorClass::Caller))), |_| ()).await;
        assert_eq!(notified.unwrap_err(), Fault(ErrorClass::Caller));
    }
    assert_eq!(case.table.circuit(), Circuit::default());
}

#[tokio::test]
async fn the_result_of_a_slow_call_is_returned_and_counts_as_a_failure() {
    let case = Case::new("failures=1; calls=1; slow=1s");
    for (millis, state) in [(1_000, State::Closed), (1_001, State::Open)] {
        let slow = async {
            case.advance(Duration::from_millis(millis));
            Ok::<_, Fault>("late")
        };
        assert!(!case.breaker.call(slow, |_| "fallback").await.unwrap().from_fallback);
        assert_eq!(case.table.circuit().state, state);
    }
}

#[tokio::test]
async fn a_slow_call_counts_as_a_failure_whatever_its_result() {
    for classify in [ErrorClass::Caller, ErrorClass::Callee] {
        let case = Case::new("failures=1; calls=1; slow=1s");
        let slow = async {
            case.advance(Duration::from_millis(1_001));
            Err::<(), _>(Fault(classify))
        };
        let notified = case.breaker.call(slow, |_| ()).await;
        assert_eq!(notified.is_err(), classify == ErrorClass::Caller, "the result is returned all the same");
        assert_eq!(case.table.circuit().state, State::Open, "{classify:?}");
    }
}

#[tokio::test]
async fn a_healthy_callee_costs_no_write_and_one_read_per_cache_time() {
    let case = Case::new("");
    for _ in 0..10_000 {
        assert_eq!(case.call(Ok("yes")).await, ("yes", false));
        case.advance(Duration::from_millis(10));
    }
    let (reads, writes) = case.table.calls();
    assert_eq!(writes, 0);
    assert!((60..=100).contains(&reads), "{reads} reads in 100 s");
}

#[tokio::test]
async fn an_open_circuit_costs_nothing_until_its_open_time_elapsed() {
    let case = Case::new("failures=5");
    case.fail(5).await;
    assert_eq!(case.table.calls(), (1, 6), "a read, five failures and one opening");
    for _ in 0..499 {
        case.advance(Duration::from_millis(10));
        assert_eq!(case.call(Ok("yes")).await, ("fallback", true));
    }
    assert_eq!(case.table.calls(), (0, 0));
    case.advance(2 * CACHE);
    assert_eq!(case.call(Ok("yes")).await, ("yes", false));
    assert_eq!(case.table.calls(), (1, 2), "a read, a slot and its outcome");
}

#[tokio::test]
async fn a_long_open_circuit_costs_one_read_per_ten_cache_times() {
    let case = Case::new("failures=5; open=5m");
    case.fail(5).await;
    case.table.calls();
    for _ in 0..2_999 {
        case.advance(Duration::from_millis(100));
        assert_eq!(case.call(Ok("yes")).await, ("fallback", true));
    }
    let (reads, writes) = case.table.calls();
    assert_eq!(writes, 0);
    assert!((19..=30).contains(&reads), "{reads} reads in five minutes");
}

#[tokio::test]
async fn successes_are_reported_with_a_failure_and_once_per_cache_time_while_it_counts() {
    let case = Case::new("window=10s; failures=100");
    for _ in 0..50 {
        case.call(Ok("yes")).await;
    }
    case.fail(1).await;
    let (failures, successes) = (1, 50);
    let now = case.clock.load(SeqCst);
    let window = |now| case.table.circuit().window(case.breaker.settings(), now);
    assert_eq!((window(now).failures, window(now).successes), (failures, successes));
    case.table.calls();
    for _ in 0..800 {
        case.advance(Duration::from_millis(10));
        case.call(Ok("yes")).await;
    }
    let (_, writes) = case.table.calls();
    assert_eq!(writes, 8);
    assert_eq!(window(case.clock.load(SeqCst)).successes, 850);
    case.advance(Duration::from_secs(3));
    for _ in 0..500 {
        case.advance(Duration::from_millis(10));
        case.call(Ok("yes")).await;
    }
    assert_eq!(case.table.calls().1, 0, "the failure has left the window");
}

#[tokio::test]
async fn successes_of_other_containers_keep_a_few_failures_from_opening_it() {
    let case = Case::new("failures=5; ratio=50%; window=20s");
    let busy = case.another();
    case.fail(1).await;
    for _ in 0..20 {
        case.advance(Duration::from_millis(100));
        busy.call(Ok("yes")).await;
    }
    case.fail(9).await;
    assert_eq!(case.table.circuit().state, State::Closed);
    case.fail(20).await;
    assert_eq!(case.table.circuit().state, State::Open);
}

#[tokio::test]
async fn a_stale_replica_does_not_close_a_circuit() {
    let case = Case::new("failures=1; calls=1; open=1s");
    let before = case.table.item.lock().unwrap().clone();
    case.fail(1).await;
    *case.table.stale.lock().unwrap() = Some(before);
    case.advance(Duration::from_secs(3));
    assert!(case.breaker.admit().await.unwrap().is_probe());
    assert_eq!(case.table.calls().0, 3, "the first, a stale one and a consistent one");
}

#[tokio::test]
async fn a_deleted_item_is_a_closed_circuit() {
    let case = Case::new("failures=1; calls=1; open=1s; ramp=0s");
    case.fail(1).await;
    case.table.item.lock().unwrap().clear();
    case.advance(Duration::from_secs(2));
    assert!(!case.breaker.admit().await.unwrap().is_probe());
}

#[tokio::test]
async fn without_the_table_a_container_continues_in_memory_and_retries_once_per_cache_time() {
    let case = Case::new("failures=3; calls=3; open=5s; successes=1; ramp=0s");
    case.table.down.store(true, SeqCst);
    assert_eq!(case.call(Ok("yes")).await, ("yes", false));
    case.fail(3).await;
    assert_eq!(case.call(Ok("yes")).await, ("fallback", true), "it opened");
    for _ in 0..400 {
        case.advance(Duration::from_millis(10));
        assert_eq!(case.call(Ok("yes")).await, ("fallback", true), "it stays open");
    }
    let (reads, writes) = case.table.calls();
    assert!(reads <= 5 && writes == 0, "{reads} reads, {writes} writes in four seconds");
    case.advance(Duration::from_secs(1));
    assert_eq!(case.call(Ok("yes")).await, ("yes", false), "a probe");
    assert_eq!(case.call(Ok("yes")).await, ("yes", false), "the probe closed it");
}

#[tokio::test]
async fn the_state_in_memory_ends_when_the_table_is_back() {
    let case = Case::new("failures=3; calls=3; open=5m");
    case.table.down.store(true, SeqCst);
    case.fail(3).await;
    assert_eq!(case.call(Ok("yes")).await, ("fallback", true));
    case.table.down.store(false, SeqCst);
    case.advance(2 * CACHE);
    assert_eq!(case.call(Ok("yes")).await, ("yes", false));
    assert_eq!(case.table.circuit(), Circuit::default());
}

#[tokio::test]
async fn a_failing_table_never_fails_a_call() {
    let case = Case::new("failures=3; calls=3; open=1s; open-max=1s");
    for n in 0..2_000_u64 {
        case.table.down.store(n % 7 < 3, SeqCst);
        case.advance(Duration::from_millis(n % 900));
        let result = if n % 50 < 25 { Err(Fault(ErrorClass::Callee)) } else { Ok("yes") };
        let (answer, from_fallback) = case.call(result).await;
        assert_eq!(answer, if from_fallback { "fallback" } else { "yes" });
    }
    case.table.item.lock().unwrap().insert("st".into(), "ajar".into());
    case.advance(Duration::from_secs(10));
    case.call(Ok("yes")).await;
}

#[test]
fn one_of_32_containers_opens_it() {
    for seed in 0..300 {
        let mut fleet = Fleet::new(seed, Rules::new("failures=5; calls=5; probes=3"), 32);
        fleet.faults = false;
        // All containers have begun a call before the first one fails.
        (0..32).for_each(|container| fleet.begin_at(container));
        while lock(&fleet.world).calls.len() < 32 {
            fleet.advance();
        }
        lock(&fleet.world).callee_is_up = false;
        lock(&fleet.world).complete_all();
        for _ in 0..2_000 {
            fleet.advance();
        }
        let mut world = lock(&fleet.world);
        assert_eq!(world.checks.violation.take(), None, "seed {seed}");
        assert_eq!(world.checks.seen[0], 1, "seed {seed}");
        assert!(world.requests.is_empty() && world.calls.is_empty());
    }
}

#[test]
fn many_containers_together_send_few_probes() {
    let mut fleet = Fleet::new(7, Rules::new("failures=1; calls=1; probes=3; open=1s"), 32);
    fleet.faults = false;
    fleet.begin_at(0);
    lock(&fleet.world).callee_is_up = false;
    lock(&fleet.world).noise = (100, 0);
    while lock(&fleet.world).checks.seen[0] == 0 {
        lock(&fleet.world).complete_all();
        fleet.advance();
    }
    lock(&fleet.world).now += 2 * SECOND;
    (0..32).for_each(|container| fleet.begin_at(container));
    for _ in 0..2_000 {
        fleet.advance();
    }
    let world = lock(&fleet.world);
    assert_eq!(world.calls.len(), 3, "three calls are running, the others were rejected");
    assert_eq!(world.checks.violation, None);
}
