//! Idempotency keys, conditions and deadlines.

use dynamodb_event_store::{Consistency, Examined, ExecuteError, Resolution, Store, StoreError, Versions};
use dynamodb_testkit::counter_aggregate::{Command, Counter, TooLittle};
use futures::future::join_all;
use tokio::time::Instant;

use crate::worlds::{World, add, keyed, request, run, stream, total};

pub async fn a_repeat_with_the_same_key_gets_the_first_result(world: &impl World) {
    let store = world.counters();
    add(&store, 1).await;
    let command = Command::AddEach(vec![10, 20]);
    let first = run(&store, &command, &keyed("once", &command)).await.unwrap();
    assert_eq!((first.version, first.outcome, first.resolution), (3, (31, 2), Resolution::Stored));
    for after in 0..8 {
        let repeat = run(&store, &command, &keyed("once", &command)).await.unwrap();
        let answer = (repeat.version, repeat.outcome, repeat.resolution);
        assert_eq!(answer, (3, (31, 2), Resolution::Replayed), "after {after}");
        add(&store, 1).await;
    }
    assert_eq!(total(&store).await, (11, 39));
}

pub async fn a_key_used_for_another_request_is_an_error_and_stores_nothing(world: &impl World) {
    let store = world.counters();
    let (one, other) = (Command::Add(1), Command::Add(2));
    run(&store, &one, &keyed("key", &one)).await.unwrap();
    let error = run(&store, &other, &keyed("key", &other)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::KeyReused), "{error:?}");
    assert_eq!(total(&store).await, (1, 1));
}

pub async fn a_key_is_retained_through_31_others(world: &impl World) {
    let (store, command) = (world.counters(), Command::Add(1));
    run(&store, &command, &keyed("once", &command)).await.unwrap();
    for n in 0..31 {
        run(&store, &command, &keyed(&format!("key-{n}"), &command)).await.unwrap();
    }
    let repeat = run(&store, &command, &keyed("once", &command)).await.unwrap();
    assert_eq!((repeat.resolution, repeat.version), (Resolution::Replayed, 1));
    run(&store, &command, &keyed("one-more", &command)).await.unwrap();
    let late = run(&store, &command, &keyed("once", &command)).await.unwrap();
    assert_eq!((late.resolution, late.version), (Resolution::Stored, 34));
}

pub async fn requests_without_a_key_are_different_requests(world: &impl World) {
    let store = world.counters();
    for version in 1..=3 {
        let done = run(&store, &Command::Add(2), &request()).await.unwrap();
        assert_eq!((done.version, done.resolution), (version, Resolution::Stored));
    }
}

pub async fn concurrent_identical_requests_are_stored_once_with_one_result(world: &impl World) {
    let (store, command) = (world.counters(), Command::Add(7));
    add(&store, 1).await;
    let requests: Vec<_> = (0..6).map(|_| keyed("key", &command)).collect();
    let answers = join_all(requests.iter().map(|request| run(&store, &command, request))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.resolution == Resolution::Stored).count(), 1);
    assert!(answers.iter().all(|answer| (answer.version, answer.outcome) == (2, (8, 1))));
    assert_eq!(total(&store).await, (2, 8));
}

pub async fn a_condition_on_the_version_is_checked_after_the_key_and_before_the_rules(world: &impl World) {
    let store = world.counters();
    add(&store, 3).await;
    let (add, take) = (Command::Add(1), Command::Take(99));
    let excluding = [Versions::OneOf(vec![]), Versions::OneOf(vec![2, 4]), Versions::NoneOf(vec![3])];
    for versions in excluding {
        let error = run(&store, &take, &request().if_match(versions.clone())).await.unwrap_err();
        assert!(matches!(error, ExecuteError::PreconditionFailed { current: 3 }), "{versions:?}: {error:?}");
    }
    let at_3 = || Versions::OneOf(vec![2, 3]);
    let error = run(&store, &take, &request().if_match(at_3())).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Rejected(TooLittle { total: 3 })), "{error:?}");
    let done = run(&store, &add, &keyed("key", &add).if_match(at_3())).await.unwrap();
    assert_eq!((done.resolution, done.version), (Resolution::Stored, 4));
    let repeat = run(&store, &add, &keyed("key", &add).if_match(at_3())).await.unwrap();
    assert_eq!((repeat.resolution, repeat.version), (Resolution::Replayed, 4));
    assert_eq!(total(&store).await, (4, 4));
}

pub async fn examining_a_command_checks_it_and_stores_nothing(world: &impl World) {
    let (store, command) = (world.counters(), Command::Add(1));
    run(&store, &command, &keyed("key", &command)).await.unwrap();
    let early = store.load(&stream(), Consistency::Eventual).await.unwrap();
    let at_least = |least: u64| {
        move |counter: &Counter| match counter.total {
            total if total < least => Err(TooLittle { total }),
            total => Ok(total),
        }
    };
    add(&store, 1).await;
    match store.examine(early.clone(), &request(), at_least(2)).await.unwrap() {
        Examined::Ready(loaded, 2) => assert_eq!(loaded.stream().version(), 2),
        Examined::Ready(_, total) => panic!("{total}"),
        Examined::Replayed(_) => panic!("it has no key"),
    }
    let error = store.examine(early.clone(), &request(), at_least(3)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Rejected(TooLittle { total: 2 })), "{error:?}");
    let repeat = store.examine(early, &keyed("key", &command), at_least(3)).await.unwrap();
    assert!(matches!(repeat, Examined::Replayed(executed) if executed.version == 1));
    assert_eq!(total(&store).await, (2, 2));
}

pub async fn an_expired_deadline_is_an_error_and_stores_nothing(world: &impl World) {
    let store = world.counters();
    let loaded = store.load(&stream(), Consistency::Strong).await.unwrap();
    let late = request().with_deadline(Instant::now());
    let error = run(&store, &Command::Add(1), &late).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Unavailable(_))), "{error:?}");
    let error = store.execute(loaded, &late, |counter, _| Command::Add(1).decide(counter)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Unavailable(_))), "{error:?}");
    assert_eq!(total(&store).await, (0, 0));
}
