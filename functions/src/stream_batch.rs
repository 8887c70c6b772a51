//! Batches of the event table's stream: what both of its readers share.

use aws_lambda_events::dynamodb::{Event, EventRecord};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use dynamodb_event_store::{Change, StreamRecord};

/// The records of a batch.
pub fn records(batch: Event) -> Vec<StreamRecord> {
    batch.records.into_iter().map(record).collect()
}

/// What Lambda is told: the record that it is to go on from, or that the batch is done.
pub fn answer(retry_from: Option<String>) -> DynamoDbEventResponse {
    let mut answer = DynamoDbEventResponse::default();
    answer.batch_item_failures.extend(retry_from.map(|sequence_number| {
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(sequence_number);
        failure
    }));
    answer
}

fn record(record: EventRecord) -> StreamRecord {
    let change = match record.event_name.as_str() {
        "INSERT" => Change::Inserted(record.change.new_image),
        "REMOVE" => Change::Removed,
        _ => Change::Modified,
    };
    // Without a sequence number, which no record lacks, a failure is one of the whole batch.
    let sequence_number = record.change.sequence_number.unwrap_or_default();
    StreamRecord { sequence_number, keys: record.change.keys, change }
}
