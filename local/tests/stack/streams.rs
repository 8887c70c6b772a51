//! A stream and its function, with real processes.

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_testkit::wait::until;
use serde_json::Value;

use crate::support::{Running, files, start};

async fn put(stack: &Running, version: u32, poison: bool) {
    let mut put = stack
        .client()
        .put_item()
        .table_name("Events")
        .item("stream_id", AttributeValue::S("a".into()))
        .item("version", AttributeValue::N(version.to_string()));
    if poison {
        put = put.item("poison", AttributeValue::Bool(true));
    }
    put.send().await.unwrap();
}

#[tokio::test]
async fn a_poison_record_ends_in_a_file_and_the_records_around_it_in_the_function() {
    let stack = start(None).await;
    for version in 1..=6 {
        put(&stack, version, version == 3).await;
    }
    until("the record after the poison one", async || {
        stack.log().contains(r#"record {"stream_id":{"S":"a"},"version":{"N":"6"}}"#)
    })
    .await;
    let bucket = stack.failures().join("Failed");
    until("the file", async || !files(&bucket).is_empty()).await;
    let kept: Value = serde_json::from_slice(&std::fs::read(&files(&bucket)[0]).unwrap()).unwrap();
    assert_eq!(kept["requestContext"]["condition"], "RetryAttemptsExhausted");
    assert_eq!(kept["DDBStreamBatchInfo"]["batchSize"], 1);
    assert!(kept["payload"].as_str().unwrap().contains(r#""version":{"N":"3"}"#));
    let directory = stack.failures().to_owned();
    stack.shutdown().await;
    assert!(!directory.exists(), "nothing is left behind");
}
