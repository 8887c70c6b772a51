//! Batches of the event table's stream, for both functions that read it.

use aws_lambda_events::dynamodb::{Event, EventRecord};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use dynamodb_event_store::{Change, StreamRecord};
use service_clock::Timestamp;

/// The records of a batch.
pub fn records(batch: Event) -> Vec<StreamRecord> {
    batch.records.into_iter().map(record).collect()
}

/// When the oldest commit of a batch was recorded. The records of different streams are in no particular order.
pub fn oldest(records: &[StreamRecord]) -> Option<Timestamp> {
    records.iter().filter_map(StreamRecord::recorded_at).min()
}

/// The response to Lambda: the first record to retry, or that the batch is done. Lambda does not count partial failures. Of a
/// batch that is done, the milliseconds from its `oldest` commit until now are recorded as the metric `lag`.
pub fn response(lag: &'static str, oldest: Option<Timestamp>, retry_from: Option<String>) -> DynamoDbEventResponse {
    metrics::counter!("BatchesRetried").increment(u64::from(retry_from.is_some()));
    if let (None, Some(oldest)) = (&retry_from, oldest) {
        metrics::histogram!(lag).record((Timestamp::now() - oldest).num_milliseconds().max(0) as f64);
    }
    let mut response = DynamoDbEventResponse::default();
    response.batch_item_failures.extend(retry_from.map(|sequence_number| {
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(sequence_number);
        failure
    }));
    response
}

fn record(record: EventRecord) -> StreamRecord {
    let change = match record.event_name.as_str() {
        "INSERT" => Change::Inserted(record.change.new_image),
        "REMOVE" => Change::Removed,
        _ => Change::Modified,
    };
    // Every record has a sequence number; an empty one would fail the whole batch.
    let sequence_number = record.change.sequence_number.unwrap_or_default();
    StreamRecord { sequence_number, keys: record.change.keys, change }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;

    #[test]
    fn the_lag_of_a_batch_is_that_of_its_oldest_commit() {
        let mut records = records(serde_json::from_value(event("project-orders")).unwrap());
        records.reverse();
        assert_eq!(oldest(&records).unwrap().to_string(), "2026-11-24T09:30:00.112Z");
        assert_eq!(oldest(&[]), None);
    }

    #[test]
    fn an_altered_record_has_no_lag() {
        let records = records(serde_json::from_value(event("project-orders-altered")).unwrap());
        let altered: Vec<_> =
            records.into_iter().filter(|record| !matches!(record.change, Change::Inserted(_))).collect();
        assert!(!altered.is_empty());
        assert_eq!(oldest(&altered), None);
    }
}
