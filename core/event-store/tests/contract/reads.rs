//! Reading streams.

use std::convert::Infallible;

use dynamodb_event_store::{
    Aggregate, CommitError, Consistency, ExecuteError, Metadata, Request, Store, StoreError, StoredEvent, StreamId,
    Until,
};
use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent};
use serde::{Deserialize, Serialize};

use crate::worlds::{World, add, keyed, newest, request, run, stream, time, total};

pub async fn a_new_stream_is_empty(world: &impl World) {
    let store = world.counters();
    for consistency in [Consistency::Eventual, Consistency::Strong] {
        for until in [Until::Head, Until::Version(3), Until::Time(time(9))] {
            let read = store.load_until(&stream(), until, consistency).await.unwrap();
            assert_eq!((read.version(), read.state(), read.recorded_at()), (0, &Counter::default(), None));
            assert_eq!(read.id(), &stream());
        }
    }
    assert_eq!(newest(&store).await, (0, Counter::default()));
    assert!(store.find(&stream()).await.unwrap().is_none());
    assert_eq!(store.commits_after(&stream(), 0).await.unwrap(), []);
    assert!(store.page_after(&stream(), 7, 3).await.unwrap().next.is_none());
}

pub async fn a_stream_is_read_until_any_version_even_within_a_commit(world: &impl World) {
    let store = world.counters();
    for amounts in [vec![1], vec![10, 20, 30], vec![100, 200], vec![1_000]] {
        run(&store, &Command::AddEach(amounts), &request()).await.unwrap();
    }
    let totals = [0, 1, 11, 31, 61, 161, 361, 1_361];
    for (version, total) in (0..).zip(totals) {
        let read = store.load_until(&stream(), Until::Version(version), Consistency::Strong).await.unwrap();
        assert_eq!((read.version(), read.state().total, read.state().events), (version, total, version));
    }
    let beyond = store.load_until(&stream(), Until::Version(u64::MAX), Consistency::Strong).await.unwrap();
    assert_eq!((beyond.version(), beyond.state().total), (7, 1_361));
}

pub async fn a_stream_is_read_until_any_time_in_whole_commits(world: &impl World) {
    for (now, amounts) in [(10, vec![1]), (20, vec![10, 20]), (20, vec![100]), (30, vec![1_000])] {
        let store = world.store_at(time(now));
        run(&store, &Command::AddEach(amounts), &request()).await.unwrap();
    }
    let store = world.counters();
    for (at, version, total) in [(9, 0, 0), (10, 1, 1), (19, 1, 1), (20, 4, 131), (30, 5, 1_131), (99, 5, 1_131)] {
        let read = store.load_until(&stream(), Until::Time(time(at)), Consistency::Strong).await.unwrap();
        assert_eq!((read.version(), read.state().total), (version, total), "at {at}");
    }
}

pub async fn the_commits_of_a_stream_are_read_in_pages_without_gap_or_overlap(world: &impl World) {
    let store = world.counters();
    for events in [1, 3, 1, 2, 1] {
        run(&store, &Command::AddEach(vec![1; events]), &request()).await.unwrap();
    }
    let all = store.commits_after(&stream(), 0).await.unwrap();
    assert_eq!(all.iter().map(|commit| commit.last()).collect::<Vec<_>>(), [1, 4, 5, 7, 8]);
    assert_eq!(store.commits_after(&stream(), 4).await.unwrap(), all[2..]);
    assert_eq!(store.commits_after(&stream(), 8).await.unwrap(), []);
    assert_eq!(store.commits_after(&stream(), u64::MAX).await.unwrap(), []);
    for limit in 0..7 {
        let (mut after, mut found) = (Some(0), Vec::new());
        while let Some(version) = after {
            let page = store.page_after(&stream(), version, limit).await.unwrap().readable().unwrap();
            assert!(page.commits.len() <= limit.max(1));
            after = page.next;
            assert!(after.is_none_or(|after| Some(after) == page.commits.last().map(|commit| commit.last())));
            found.extend(page.commits);
        }
        assert_eq!(found, all, "by {limit}");
    }
}

pub async fn a_commit_has_the_metadata_of_its_request(world: &impl World) {
    let (store, command) = (world.store_at(time(5)), Command::AddEach(vec![1, 2]));
    let metadata = Metadata {
        actor: "ada".into(),
        correlation_id: "order 7".into(),
        causation_id: "click".into(),
        ..Metadata::default()
    };
    let request = Request { metadata, ..keyed("key", &command) };
    run(&store, &command, &request).await.unwrap();
    let commits = store.commits_after(&stream(), 0).await.unwrap();
    let [commit] = &commits[..] else { panic!("{commits:?}") };
    assert_eq!((&commit.stream, commit.first, commit.recorded_at), (&stream(), 1, time(5)));
    assert_eq!(commit.events, [CounterEvent::Added(1), CounterEvent::Added(2)]);
    assert_eq!(commit.metadata, request.metadata);
    assert!(commit.request_hash.is_some());
    assert_eq!(commit.epoch.as_ref().map(|epoch| epoch.as_str()), Some("2"));
}

pub async fn streams_do_not_mix(world: &impl World) {
    let store = world.counters();
    add(&store, 2).await;
    let other = StreamId::new("stream-2");
    assert!(store.find(&other).await.unwrap().is_none());
    let done = store.run(&other, &request(), |counter, _| Command::Add(5).decide(counter)).await.unwrap();
    assert_eq!((done.version, done.outcome), (1, (5, 1)));
    assert_eq!(store.find(&other).await.unwrap().unwrap().stream(), &done.stream);
    assert_eq!(total(&store).await, (2, 2));
    assert_eq!(store.commits_after(&other, 0).await.unwrap().len(), 1);
}

/// A growing text, as another aggregate than the counter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Text(String);

#[derive(Debug, thiserror::Error)]
#[error("{0} is no letter")]
struct NoLetter(String);

impl Aggregate for Text {
    type Event = String;
    type Outcome = ();
    type TransitionError = Infallible;
    type DecodeError = NoLetter;
    const NAME: &'static str = "text";
    const SNAPSHOT_SCHEMA: u32 = 1;

    fn apply(&mut self, letter: &String) -> Result<(), Infallible> {
        self.0.push_str(letter);
        Ok(())
    }

    fn outcome(&self, _: &[String]) {}

    fn encode(letter: &String) -> StoredEvent {
        StoredEvent { event_type: "Letter".into(), schema: 1, data: letter.clone().into() }
    }

    fn decode(stored: StoredEvent) -> Result<String, NoLetter> {
        match stored.data.as_str().filter(|_| stored.event_type == "Letter") {
            Some(letter) => Ok(letter.to_owned()),
            None => Err(NoLetter(stored.event_type)),
        }
    }
}

pub async fn an_unknown_event_is_an_error_with_its_version_and_nothing_is_stored_after_it(world: &impl World) {
    add(&world.counters(), 2).await;
    let store = world.store_at::<Text>(time(0));
    let unreadable = |error: StoreError, version| match error {
        StoreError::Unreadable(error @ CommitError::Undecodable { .. }) => {
            assert_eq!(error.version(), version);
            let told = format!(
                "the event `Added` at version {version} of stream stream cannot be decoded as an event of `text`"
            );
            assert_eq!(error.to_string(), told);
        }
        error => panic!("{error:?}"),
    };
    for until in [Until::Head, Until::Version(1), Until::Time(time(0))] {
        unreadable(store.load_until(&stream(), until, Consistency::Strong).await.unwrap_err(), 1);
    }
    unreadable(store.commits_after(&stream(), 1).await.unwrap_err(), 2);
    let page = store.page_after(&stream(), 0, 9).await.unwrap();
    assert!(page.commits.is_empty() && page.next.is_none());
    assert_eq!(page.unreadable.map(|obstacle| obstacle.version()), Some(1));
    let write = |_: &Text, _| Ok::<_, Infallible>(vec!["a".to_owned()]);
    match store.run(&stream(), &request(), write).await.unwrap_err() {
        ExecuteError::Store(error) => unreadable(error, 1),
        error => panic!("{error:?}"),
    }
    assert_eq!(total(&world.counters()).await, (2, 2));
}
