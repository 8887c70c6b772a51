//! Running commands.

use std::collections::BTreeSet;
use std::sync::Mutex;

use dynamodb_event_store::{Consistency, ExecuteError, Loaded, Resolution, Store, StoreError, Version};
use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent, TooLittle};
use futures::future::join_all;

use crate::worlds::{World, add, request, run, stream, time, total};

pub async fn a_command_is_one_commit_at_the_next_versions(world: &impl World) {
    let store = world.counters();
    let first = run(&store, &Command::Add(1), &request()).await.unwrap();
    assert_eq!((first.version, first.outcome, first.resolution), (1, (1, 1), Resolution::Stored));
    let second = run(&store, &Command::AddEach(vec![2, 3]), &request()).await.unwrap();
    assert_eq!((second.version, second.outcome, second.resolution), (3, (6, 2), Resolution::Stored));
    assert_eq!((second.stream.version(), second.stream.state().total), (3, 6));
    let commits = store.commits_after(&stream(), 0).await.unwrap();
    assert_eq!(commits.iter().map(|commit| (commit.first, commit.last())).collect::<Vec<_>>(), [(1, 1), (2, 3)]);
    assert_eq!(total(&store).await, (3, 6));
}

pub async fn concurrent_writers_lose_and_duplicate_nothing(world: &impl World) {
    let store = world.counters();
    let writer = async |n: u64| {
        let mut versions = Vec::new();
        for _ in 0..4 {
            versions.push(run(&store, &Command::Add(n), &request()).await.unwrap().version);
        }
        versions
    };
    let versions: Vec<Version> = join_all((1..=6).map(writer)).await.into_iter().flatten().collect();
    assert_eq!(versions.iter().copied().collect::<BTreeSet<_>>(), (1..=24).collect(), "each its own version");
    assert_eq!(total(&store).await, (24, 84));
}

pub async fn a_writer_with_a_stale_read_decides_again(world: &impl World) {
    let store = world.counters();
    add(&store, 2).await;
    let early = store.load(&stream(), Consistency::Strong).await.unwrap();
    add(&store, 3).await;
    let seen = Mutex::new(Vec::new());
    let request = request();
    let executed = store.execute(early, &request, |counter, _| {
        seen.lock().unwrap().push(counter.total);
        Command::RaiseTo(10).decide(counter)
    });
    let executed = executed.await.unwrap();
    assert_eq!((executed.version, executed.outcome), (6, (10, 1)));
    let seen = seen.into_inner().unwrap();
    assert_eq!((seen.first(), seen.last()), (Some(&2), Some(&5)), "{seen:?}");
    assert_eq!(total(&store).await, (6, 10));
}

pub async fn an_existing_stream_assumed_new_is_preserved(world: &impl World) {
    let store = world.counters();
    add(&store, 2).await;
    let new = Loaded::new_stream(stream());
    let executed = store.execute(new, &request(), |counter, _| Command::Add(5).decide(counter)).await.unwrap();
    assert_eq!((executed.version, executed.outcome), (3, (7, 1)));
}

pub async fn a_rejection_is_decided_on_the_newest_state_and_stores_nothing(world: &impl World) {
    let store = world.counters();
    let error = run(&store, &Command::Take(1), &request()).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Rejected(TooLittle { total: 0 })), "{error:?}");
    add(&store, 2).await;
    let early = store.load(&stream(), Consistency::Eventual).await.unwrap();
    run(&store, &Command::Take(2), &request()).await.unwrap();
    let late = store.execute(early, &request(), |counter, _| Command::Take(1).decide(counter)).await.unwrap_err();
    assert!(matches!(late, ExecuteError::Rejected(TooLittle { total: 0 })), "{late:?}");
    assert_eq!(total(&store).await, (3, 0));
}

pub async fn a_decision_without_events_stores_nothing(world: &impl World) {
    let store = world.counters();
    let nothing = run(&store, &Command::RaiseTo(0), &request()).await.unwrap();
    assert_eq!((nothing.version, nothing.outcome, nothing.resolution), (0, (0, 0), Resolution::Unchanged));
    add(&store, 2).await;
    let nothing = run(&store, &Command::RaiseTo(2), &request()).await.unwrap();
    assert_eq!((nothing.version, nothing.outcome, nothing.resolution), (2, (2, 0), Resolution::Unchanged));
    assert_eq!(total(&store).await, (2, 2));
}

pub async fn a_command_is_decided_at_its_recorded_time_and_never_before_the_newest_commit(world: &impl World) {
    let stream = stream();
    for (now, recorded) in [(100, 100), (90, 100), (101, 101)] {
        let (store, request) = (world.store_at::<Counter>(time(now)), request());
        let told = Mutex::new(None);
        let executed = store.run(&stream, &request, |counter, now| {
            *told.lock().unwrap() = Some(now);
            Command::Add(1).decide(counter)
        });
        let executed = executed.await.unwrap();
        assert_eq!(*told.lock().unwrap(), Some(time(recorded)));
        assert_eq!(executed.stream.recorded_at(), Some(time(recorded)));
    }
}

pub async fn a_decision_with_an_invalid_event_is_an_error_and_stores_nothing(world: &impl World) {
    let store = world.counters();
    add(&store, 1).await;
    let decide = |_: &_, _| Ok::<_, TooLittle>(vec![CounterEvent::Added(1), CounterEvent::Taken(9)]);
    let error = store.run(&stream(), &request(), decide).await.unwrap_err();
    match error {
        ExecuteError::Store(StoreError::Corrupt(error)) => assert_eq!((error.stream, error.version), (stream(), 3)),
        error => panic!("{error:?}"),
    }
    assert_eq!(total(&store).await, (1, 1));
}

pub async fn a_commit_larger_than_an_item_is_an_error_and_stores_nothing(world: &impl World) {
    let store = world.counters();
    add(&store, 1).await;
    run(&store, &Command::Label("x".repeat(400_000)), &request()).await.unwrap();
    let error = run(&store, &Command::Label("x".repeat(410_000)), &request()).await.unwrap_err();
    assert!(matches!(error, ExecuteError::TooLarge { bytes: 410_000.. }), "{error:?}");
    assert_eq!(total(&store).await, (2, 1));
}
