//! Corrupt streams, stale reads and reads of several pages.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::{
    CommitError, Consistency, CorruptStream, EventStore, ExecuteError, Request, Resolution, StoreError, StreamId,
    Until, Version,
};
use dynamodb_testkit::counter_aggregate::{Command, Counter};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::simulation::Simulation;
use orders_tests::commits::{self, stream_items};

use crate::support::{run, store};

const NEVER: u32 = 1_000_000;

/// A stream of single commits, each adding its own version.
struct Fixture {
    simulation: Simulation,
    stream: StreamId,
    plain: Client,
}

impl Fixture {
    async fn with_commits(commits: Version) -> Self {
        let simulation = Simulation::start();
        let plain = simulation.client_without_faults();
        let this = Self { simulation, stream: StreamId::new("stream"), plain };
        let store = store::<1>(this.simulation.client(), Simulation::TABLE, NEVER);
        for version in 1..=commits {
            run(&store, &this.stream, &Command::Add(version), &Request::unkeyed()).await.unwrap();
        }
        this.simulation.faults.take_calls();
        this
    }

    fn store(&self, snapshot_every: u32) -> EventStore<Counter> {
        store(self.simulation.client(), Simulation::TABLE, snapshot_every)
    }

    async fn delete(&self, version: Version) {
        commits::delete(&self.plain, Simulation::TABLE, &self.stream, version).await;
    }

    /// Changes an item directly.
    async fn change(&self, version: Version, change: impl FnOnce(&mut HashMap<String, AttributeValue>)) {
        let mut items = stream_items(&self.plain, Simulation::TABLE, &self.stream).await;
        let mut item = items.swap_remove(version as usize - 1);
        change(&mut item);
        self.plain.put_item().table_name(Simulation::TABLE).set_item(Some(item)).send().await.unwrap();
    }
}

#[track_caller]
fn assert_corrupt<T: std::fmt::Debug>(result: Result<T, StoreError>, at: Version) {
    match result {
        Err(StoreError::Corrupt(CorruptStream { stream, version, .. })) => {
            assert_eq!((stream.as_str(), version), ("stream", at));
        }
        other => panic!("{other:?} is not a corrupt stream"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_commit_makes_the_stream_corrupt_for_every_read() {
    for lost in [1, 4, 6] {
        let fixture = Fixture::with_commits(7).await;
        fixture.delete(lost).await;
        for page in [1, 2, 3, 100] {
            let store = fixture.store(page);
            for consistency in [Consistency::Eventual, Consistency::Strong] {
                assert_corrupt(store.load(&fixture.stream, consistency).await, lost);
            }
            assert_corrupt(store.load_until(&fixture.stream, Until::Version(7), Consistency::Strong).await, lost);
        }
        assert_corrupt(fixture.store(1).commits_after(&fixture.stream, lost - 1).await, lost);
        assert!(
            fixture.store(1).commits_after(&fixture.stream, lost).await.is_ok(),
            "the commits after it have no gap"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stored_on_a_corrupt_stream() {
    let fixture = Fixture::with_commits(4).await;
    fixture.delete(2).await;
    let error = run(&fixture.store(2), &fixture.stream, &Command::Add(1), &Request::unkeyed()).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Corrupt(_))), "{error:?}");
    assert_eq!(fixture.simulation.faults.take_calls().of("PutItem").count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_gap_between_pages_of_an_eventually_consistent_read_is_resolved_by_a_consistent_read() {
    let fixture = Fixture::with_commits(9).await;
    // The first page comes from a replica that is up to date, the second from one that is not.
    let mut pages = 0;
    fixture.simulation.faults.plan(move |_| {
        pages += 1;
        Some(Fault::Stale(6)).filter(|_| pages > 1)
    });
    let loaded = fixture.store(2).load(&fixture.stream, Consistency::Eventual).await.unwrap();
    assert_eq!((loaded.stream().version(), loaded.stream().state().total), (9, 45));
    let calls = fixture.simulation.faults.take_calls();
    assert!(calls.0.last().unwrap().body["ConsistentRead"] == true);
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_is_a_shorter_stream_and_not_an_error() {
    let fixture = Fixture::with_commits(9).await;
    for behind in 1..=9 {
        fixture.simulation.faults.plan(move |_| Some(Fault::Stale(behind)));
        let loaded = fixture.store(2).load(&fixture.stream, Consistency::Eventual).await.unwrap();
        assert_eq!(loaded.stream().version(), 9 - behind as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_causes_neither_a_gap_nor_an_overlap_nor_a_wrong_decision() {
    for behind in 1..=9 {
        let fixture = Fixture::with_commits(9).await;
        fixture.simulation.faults.plan(move |_| Some(Fault::Stale(behind)));
        let store = fixture.store(3);
        let executed = run(&store, &fixture.stream, &Command::Take(45), &Request::unkeyed()).await.unwrap();
        assert_eq!((executed.resolution, executed.version, executed.stream.state().total), (Resolution::Stored, 10, 0));
        let reached = run(&store, &fixture.stream, &Command::RaiseTo(0), &Request::unkeyed()).await.unwrap();
        assert_eq!((reached.resolution, reached.version), (Resolution::Unchanged, 10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_a_forward_read_missed_is_found_by_a_second_read() {
    let fixture = Fixture::with_commits(5).await;
    let mut reads = 0;
    fixture.simulation.faults.plan(move |_| {
        reads += 1;
        Some(Fault::Omit(1)).filter(|_| reads == 1)
    });
    let store = fixture.store(1);
    let commits = store.commits_after(&fixture.stream, 0).await.unwrap();
    assert_eq!(commits.iter().map(|commit| commit.first).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    fixture.simulation.faults.plan(|_| Some(Fault::Omit(0)));
    assert_corrupt(store.commits_after(&fixture.stream, 2).await, 3);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_event_is_an_error_with_its_version() {
    let fixture = Fixture::with_commits(5).await;
    fixture
        .change(3, |item| {
            let AttributeValue::L(events) = item.get_mut("events").unwrap() else { panic!() };
            let AttributeValue::M(event) = &mut events[0] else { panic!() };
            event.insert("schema".into(), AttributeValue::N("9".into()));
        })
        .await;
    let store = fixture.store(2);
    let unreadable = |result: Result<Version, StoreError>| match result {
        Err(StoreError::Unreadable(error @ CommitError::Undecodable { .. })) => error.version() == 3,
        _ => false,
    };
    assert!(unreadable(store.load(&fixture.stream, Consistency::Eventual).await.map(|_| 0)));
    assert!(unreadable(store.commits_after(&fixture.stream, 0).await.map(|_| 0)));
    let early = store.load_until(&fixture.stream, Until::Version(2), Consistency::Strong).await.unwrap();
    assert_eq!(early.state().total, 3, "the events before it are readable");
    let error = run(&store, &fixture.stream, &Command::Add(1), &Request::unkeyed()).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(StoreError::Unreadable(_))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_commit_is_an_error_with_its_version() {
    for damage in [
        |item: &mut HashMap<String, AttributeValue>| drop(item.remove("commit_id")),
        |item: &mut HashMap<String, AttributeValue>| drop(item.insert("events".into(), AttributeValue::L(vec![]))),
        |item: &mut HashMap<String, AttributeValue>| drop(item.insert("events".into(), AttributeValue::S("?".into()))),
        |item: &mut HashMap<String, AttributeValue>| {
            drop(item.insert("recorded_at".into(), AttributeValue::S("?".into())))
        },
        |item: &mut HashMap<String, AttributeValue>| drop(item.remove("metadata")),
    ] {
        let fixture = Fixture::with_commits(5).await;
        fixture.change(4, damage).await;
        match fixture.store(2).load(&fixture.stream, Consistency::Eventual).await {
            Err(StoreError::Unreadable(error @ CommitError::Malformed { .. })) => assert_eq!(error.version(), 4),
            other => panic!("{other:?} is not a malformed commit"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_of_an_old_schema_is_upcast() {
    let fixture = Fixture::with_commits(3).await;
    fixture
        .change(2, |item| {
            let AttributeValue::L(events) = item.get_mut("events").unwrap() else { panic!() };
            let AttributeValue::M(event) = &mut events[0] else { panic!() };
            event.insert("schema".into(), AttributeValue::N("1".into()));
            let data = HashMap::from([("value".into(), AttributeValue::N("40".into()))]);
            event.insert("data".into(), AttributeValue::M(data));
        })
        .await;
    let loaded = fixture.store(9).load(&fixture.stream, Consistency::Eventual).await.unwrap();
    assert_eq!(loaded.stream().state().total, 1 + 40 + 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_many_megabytes_is_read_to_its_end() {
    let fixture = Fixture::with_commits(0).await;
    let store = fixture.store(NEVER);
    for _ in 0..8 {
        run(&store, &fixture.stream, &Command::Label("x".repeat(390_000)), &Request::unkeyed()).await.unwrap();
    }
    let loaded = store.load(&fixture.stream, Consistency::Eventual).await.unwrap();
    assert_eq!((loaded.stream().version(), loaded.stream().state().events), (8, 8));
    assert_eq!(store.commits_after(&fixture.stream, 0).await.unwrap().len(), 8);
}
