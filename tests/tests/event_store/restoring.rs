//! What a restoration counts, whoever else writes meanwhile and whatever is answered.

use std::time::Duration;

use dynamodb_event_store::{EventStore, Finding, RestoreProgress, Segment, StreamId};
use dynamodb_testkit::counter_aggregate::{Command, Counter};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use orders_tests::database::{TestTables, stream_items};
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::{commits, request, run, store};

/// Two event tables: one that has a stream, and one behind a proxy that is to get it.
struct Fixture {
    from: TestTables,
    to: TestTables,
    proxy: Proxy,
    store: EventStore<Counter>,
    stream: StreamId,
}

impl Fixture {
    async fn start(length: usize) -> Self {
        let (from, to) = (TestTables::create(&["OrderEvents"]).await, TestTables::create(&["OrderEvents"]).await);
        let proxy = Proxy::start(to.endpoint());
        let stream = StreamId::new(Uuid::new_v4());
        let theirs = store::<1>(from.client(), from.name("OrderEvents"), 2);
        for _ in 0..length {
            run(&theirs, &stream, &Command::Add(1), &request()).await.unwrap();
        }
        let store = store(proxy.client(Duration::from_secs(1)), to.name("OrderEvents"), 2);
        Self { from, to, proxy, store, stream }
    }

    async fn restore(&self) -> RestoreProgress {
        let deadline = Instant::now() + Duration::from_secs(60);
        let from = self.from.name("OrderEvents");
        self.store.restore(from, Segment::WHOLE, RestoreProgress::default(), true, deadline).await.unwrap()
    }

    /// What the restoration's nth write meets. Its retries go through.
    fn at_write(&self, nth: usize, fault: Fault) {
        let mut writes = 0;
        self.proxy.faults.plan(move |call| {
            let first = call.operation == "PutItem" && call.attempt == 1;
            writes += usize::from(first);
            (first && writes == nth).then_some(fault)
        });
    }
}

#[tokio::test]
async fn what_was_copied_before_another_writer_was_met_is_counted() {
    let fixture = Fixture::start(5).await;
    let (to, name) = (fixture.to.client(), fixture.to.name("OrderEvents").to_owned());
    // Another one takes the place of the third commit while that is on its way.
    let third = stream_items(&fixture.from.client(), fixture.from.name("OrderEvents"), &fixture.stream).await.remove(2);
    fixture.at_write(3, Fault::Delay(Duration::from_millis(800)));
    let meanwhile = async {
        while stream_items(&to, &name, &fixture.stream).await.len() < 2 {
            tokio::task::yield_now().await;
        }
        let mut third = third;
        let own = aws_sdk_dynamodb::types::AttributeValue::S(Uuid::new_v4().to_string());
        third.insert("commit_id".into(), own);
        to.put_item().table_name(&name).set_item(Some(third)).send().await.unwrap();
    };
    let (restoration, ()) = tokio::join!(fixture.restore(), meanwhile);
    let finding = Finding::Different { stream_id: fixture.stream.clone(), version: 3 };
    let expected = RestoreProgress {
        done: true,
        streams: 1,
        copied: 2,
        left_out: 3,
        damaged: 1,
        findings: vec![finding],
        token: None,
    };
    assert_eq!(restoration, expected);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_counted_as_copied() {
    for fault in [Fault::LoseResponse, Fault::FailAfter] {
        let fixture = Fixture::start(4).await;
        fixture.at_write(2, fault);
        let restoration = fixture.restore().await;
        assert_eq!((restoration.copied, restoration.damaged), (4, 0), "{restoration:?}");
        let (to, name) = (fixture.to.client(), fixture.to.name("OrderEvents"));
        assert_eq!(commits(&to, name, &fixture.stream).await.len(), 4);
    }
}
