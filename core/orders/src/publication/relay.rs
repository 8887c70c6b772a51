//! Publishing the event table's stream on the event bus, batch by batch.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::bus::{EventBus, PutError};
use super::envelope::{Envelope, Envelopes};
use super::publisher::Publisher;
use crate::domain::Order;
use crate::error::chain;
use dynamodb_event_store::{Change, Commit, CommitSpan, StreamRecord};

/// Publishes commits.
#[derive(Clone, Debug)]
pub struct Relay<B> {
    /// How events look on the bus.
    pub envelopes: Envelopes,
    /// What sends them.
    pub publisher: Publisher<B>,
    /// Makes the span in which a commit is published.
    pub spans: CommitSpan,
}

/// The result of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// The first record to be retried, with all that follow it; `None` if the batch is done.
    pub retry_from: Option<String>,
    /// How many records are done although some of their events were not published and need manual attention: they cannot
    /// be read, or the bus rejects them permanently.
    pub unpublished: u64,
}

impl<B: EventBus> Relay<B> {
    /// Publishes a batch, until `deadline`. Transient failures are retried with the next batch. Permanent failures count as
    /// done, so that later events are published; they can be published again from the event table once the cause is fixed.
    pub async fn relay(&self, batch: Vec<StreamRecord>, deadline: Instant) -> Relayed {
        let mut sequence_numbers = Vec::with_capacity(batch.len());
        let (mut entries, mut records) = (Vec::new(), Vec::new());
        let mut lost = BTreeSet::new();
        // They end with the batch.
        let mut spans = Vec::new();
        for (place, record) in batch.into_iter().enumerate() {
            sequence_numbers.push(record.sequence_number);
            // Any other change of an item raises an alarm in the projector, and contains no event to publish.
            let Change::Inserted(image) = record.change else { continue };
            match Commit::from_item::<Order>(image) {
                Ok(commit) => {
                    spans.push((self.spans)("publish", &commit.stream, &commit.metadata));
                    entries.extend(self.envelopes.of(&commit));
                    records.resize(entries.len(), place);
                }
                Err(error) => {
                    tracing::error!(keys = ?record.keys, error = chain(&error), "a commit that cannot be read is not published");
                    lost.insert(place);
                }
            }
        }
        let mut retry_from = None;
        for (index, error) in self.publisher.publish(&entries, deadline).await.0 {
            let Envelope { event_id, detail_type, .. } = &entries[index];
            match error {
                PutError::ForNow(_) => {
                    tracing::warn!(%event_id, detail_type, %error, "an event is not published for now");
                    retry_from = retry_from.or(Some(records[index]));
                }
                PutError::ForGood(_) => {
                    tracing::error!(%event_id, detail_type, %error, "an event is not published");
                    lost.insert(records[index]);
                }
            }
        }
        // Records after the first that is retried are retried too.
        let done = retry_from.unwrap_or(sequence_numbers.len());
        Relayed {
            retry_from: retry_from.map(|place: usize| sequence_numbers.swap_remove(place)),
            unpublished: lost.range(..done).count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_dynamo::{AttributeValue, Item};
    use serde_json::Value;

    use super::*;
    use crate::domain::harness::{created, paid, shipped};
    use crate::domain::{Currency, OrderEvent};
    use dynamodb_event_store::{Metadata, StreamId, no_span};
    use service_clock::Timestamp;

    /// A bus that accepts or rejects each entry by its detail type.
    struct Judging(fn(&str) -> Option<PutError>, Mutex<Vec<String>>);

    impl EventBus for &Judging {
        async fn put(&self, entries: &[Envelope]) -> Result<Vec<Option<PutError>>, PutError> {
            let judge = |entry: &Envelope| {
                let error = (self.0)(&entry.detail_type);
                if error.is_none() {
                    let detail: Value = serde_json::from_str(&entry.detail).unwrap();
                    self.1.lock().unwrap().push(format!("{} {}", entry.detail_type, detail["metadata"]["version"]));
                }
                error
            };
            Ok(entries.iter().map(judge).collect())
        }
    }

    const ORDER: &str = "0190a1b2-0000-7000-8000-000000000001";

    fn record(sequence_number: u64, first: u64, events: Vec<OrderEvent>) -> StreamRecord {
        let commit = Commit {
            stream: StreamId::new(ORDER),
            first,
            events,
            id: uuid::Uuid::nil(),
            recorded_at: Timestamp::UNIX_EPOCH,
            metadata: Metadata::default(),
            request_hash: None,
            epoch: None,
        };
        let image = commit.to_item::<Order>().unwrap();
        StreamRecord {
            sequence_number: sequence_number.to_string(),
            keys: Item::default(),
            change: Change::Inserted(image),
        }
    }

    fn unreadable(sequence_number: u64) -> StreamRecord {
        let image =
            Item::from(std::collections::HashMap::from([("version".to_owned(), AttributeValue::N("3".into()))]));
        StreamRecord { change: Change::Inserted(image), ..record(sequence_number, 1, vec![created()]) }
    }

    fn changed(sequence_number: u64, change: Change) -> StreamRecord {
        StreamRecord { change, ..record(sequence_number, 1, vec![created()]) }
    }

    async fn relay(batch: Vec<StreamRecord>, judge: fn(&str) -> Option<PutError>) -> (Relayed, Vec<String>) {
        let bus = Judging(judge, Mutex::default());
        let currency: Currency = "EUR".parse().unwrap();
        let envelopes = Envelopes { currency, api_url: "https://api.example.com".into() };
        let relay = Relay { envelopes, publisher: Publisher::new(&bus), spans: no_span };
        let relayed = relay.relay(batch, Instant::now() + Duration::from_secs(60)).await;
        (relayed, bus.1.into_inner().unwrap())
    }

    fn for_now(_: &str) -> Option<PutError> {
        Some(PutError::ForNow("later".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn every_event_of_every_commit_is_published() {
        let batch = vec![record(7, 1, vec![created(), paid("p1")]), record(8, 3, vec![shipped()])];
        let (relayed, published) = relay(batch, |_| None).await;
        assert_eq!(relayed, Relayed::default());
        assert_eq!(published, ["OrderCreated 1", "OrderPaid 2", "OrderShipped 3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_retried_from_the_first_record_that_was_not_published_completely() {
        let batch = vec![
            record(7, 1, vec![created()]),
            record(8, 2, vec![paid("p1"), shipped()]),
            record(9, 4, vec![shipped()]),
        ];
        let (relayed, published) = relay(batch, |name| if name == "OrderShipped" { for_now(name) } else { None }).await;
        assert_eq!(relayed, Relayed { retry_from: Some("8".into()), unpublished: 0 });
        assert_eq!(published, ["OrderCreated 1", "OrderPaid 2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn records_that_cannot_be_read_or_are_rejected_permanently_are_counted_and_do_not_block_others() {
        let refused: fn(&str) -> _ = |name| (name == "OrderPaid").then(|| PutError::ForGood("malformed".into()));
        let batch = vec![unreadable(7), record(8, 1, vec![paid("p1"), paid("p1")]), record(9, 3, vec![shipped()])];
        let (relayed, published) = relay(batch, refused).await;
        assert_eq!(relayed, Relayed { retry_from: None, unpublished: 2 });
        assert_eq!(published, ["OrderShipped 3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_is_retried_is_counted_when_it_is_done() {
        let batch = vec![unreadable(6), record(7, 1, vec![created()]), unreadable(8)];
        let (relayed, _) = relay(batch, for_now).await;
        assert_eq!(relayed, Relayed { retry_from: Some("7".into()), unpublished: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_published_of_items_that_were_altered_or_deleted() {
        let (relayed, published) =
            relay(vec![changed(7, Change::Modified), changed(8, Change::Removed)], |_| None).await;
        assert_eq!((relayed, published), (Relayed::default(), vec![]));
    }
}
