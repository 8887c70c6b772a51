//! The proxy before a database: what it loses, delays and hides, as a client meets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panics that say why")]

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use orders_tests::database::TestTables;

const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(10);

fn item(version: u64) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("stream_id".into(), AttributeValue::S("s".into())),
        ("version".into(), AttributeValue::N(version.to_string())),
    ])
}

struct Fixture {
    tables: TestTables,
    proxy: Proxy,
    client: Client,
}

impl Fixture {
    async fn start(attempt_timeout: Duration) -> Self {
        let tables = TestTables::create(&["OrderEvents"]).await;
        let proxy = Proxy::start(tables.endpoint());
        let client = proxy.client(attempt_timeout);
        Self { tables, proxy, client }
    }

    async fn put(&self, version: u64) -> Result<(), String> {
        let put = self.client.put_item().table_name(self.tables.name("OrderEvents")).set_item(Some(item(version)));
        let put = put.condition_expression("attribute_not_exists(stream_id)").send();
        put.await.map(drop).map_err(|error| format!("{:?}", error.into_source()))
    }

    async fn is_stored(&self, version: u64) -> bool {
        let get = self.tables.client().get_item().table_name(self.tables.name("OrderEvents"));
        get.set_key(Some(item(version))).send().await.unwrap().item.is_some()
    }

    /// The versions that a read sees, page by page.
    async fn read(&self, consistent: bool, forwards: bool, limit: i32) -> Vec<u64> {
        let pages = self
            .client
            .query()
            .table_name(self.tables.name("OrderEvents"))
            .key_condition_expression("stream_id = :s")
            .expression_attribute_values(":s", AttributeValue::S("s".into()))
            .scan_index_forward(forwards)
            .consistent_read(consistent)
            .limit(limit)
            .into_paginator()
            .items()
            .send();
        let items = pages.try_collect().await.unwrap();
        items.iter().map(|item| item["version"].as_n().unwrap().parse().unwrap()).collect()
    }
}

#[tokio::test]
async fn calls_are_counted_with_their_cost() {
    let fixture = Fixture::start(LONG).await;
    fixture.put(1).await.unwrap();
    fixture.put(1).await.unwrap_err();
    assert_eq!(fixture.read(false, true, 10).await, [1]);
    let calls = fixture.proxy.faults.take_calls();
    assert_eq!(calls.operations(), ["PutItem", "PutItem", "Query"]);
    assert_eq!(calls.of("PutItem").failed_with("ConditionalCheckFailedException").count(), 1);
    assert_eq!(calls.on(fixture.tables.name("OrderEvents")).of("Query").units(), 0.5);
    assert_eq!(fixture.proxy.faults.take_calls().count(), 0);
}

#[tokio::test]
async fn a_lost_answer_comes_after_the_write_and_a_lost_request_instead_of_it() {
    let fixture = Fixture::start(SHORT).await;
    for (version, fault, stored) in [
        (1, Fault::LoseResponse, true),
        (2, Fault::HangAfter, true),
        (3, Fault::FailAfter, true),
        (4, Fault::LoseRequest, false),
        (5, Fault::Hang, false),
        (6, Fault::Fail, false),
        (7, Fault::Throttle, false),
    ] {
        fixture.proxy.faults.plan(move |_| Some(fault));
        let error = fixture.put(version).await.unwrap_err();
        assert_eq!(fixture.is_stored(version).await, stored, "{fault:?}: {error}");
        let calls = fixture.proxy.faults.take_calls();
        assert_eq!(calls.count(), 3, "the SDK tries {fault:?} three times");
        assert_eq!(error.contains("ProvisionedThroughputExceeded"), fault == Fault::Throttle, "{error}");
    }
}

#[tokio::test]
async fn a_late_write_is_done_when_nobody_waits_for_it_any_more() {
    let fixture = Fixture::start(SHORT).await;
    fixture.proxy.faults.plan(|call| Some(Fault::Late(SHORT)).filter(|_| call.operation == "PutItem"));
    fixture.put(1).await.unwrap_err();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !fixture.is_stored(1).await {
        assert!(tokio::time::Instant::now() < deadline, "it was never done");
    }
}

#[tokio::test]
async fn a_stale_read_is_the_stream_less_its_newest_commits_on_every_page() {
    let fixture = Fixture::start(LONG).await;
    for version in [1, 2, 5, 6, 9] {
        fixture.put(version).await.unwrap();
    }
    for limit in [1, 2, 10] {
        fixture.proxy.faults.plan(|_| Some(Fault::Stale(2)));
        assert_eq!(fixture.read(false, false, limit).await, [5, 2, 1]);
        assert_eq!(fixture.read(false, true, limit).await, [1, 2, 5]);
        assert_eq!(fixture.read(true, false, limit).await, [9, 6, 5, 2, 1]);
    }
    fixture.proxy.faults.plan(|_| Some(Fault::Stale(7)));
    assert_eq!(fixture.read(false, false, 2).await, Vec::<u64>::new());
    // A fresh page, and then the pages of a replica that is behind.
    let mut pages = 0;
    fixture.proxy.faults.plan(move |_| {
        pages += 1;
        Some(Fault::Stale(4)).filter(|_| pages > 1)
    });
    assert_eq!(fixture.read(false, false, 2).await, [9, 6, 1]);
}

#[tokio::test]
async fn an_omitted_item_is_missing_from_a_strong_read_too() {
    let fixture = Fixture::start(LONG).await;
    for version in 1..=3 {
        fixture.put(version).await.unwrap();
    }
    fixture.proxy.faults.plan(|_| Some(Fault::Omit(1)));
    assert_eq!(fixture.read(true, true, 10).await, [1, 3]);
}
