//! The event table's stream, and its two readers.

use std::collections::VecDeque;

use fastrand::Rng;
use serde_json::{Value, json};

use super::expression::Item;
use super::step::Batch;

/// A reader of the stream: what it has yet to get. Records are numbered from 0.
#[derive(Debug, Default)]
pub struct Reader {
    seen: usize,
    queue: VecDeque<usize>,
    /// What exhausted its retries.
    lost: Vec<usize>,
}

impl Reader {
    /// The records of a batch, from a stream of so many.
    pub fn take(&mut self, batch: Batch, stream: usize) -> Vec<usize> {
        self.queue.extend(self.seen..stream);
        self.seen = stream;
        let mut next = |count: u8| {
            let count = self.queue.len().min(count.into());
            self.queue.drain(..count).collect::<Vec<_>>()
        };
        match batch {
            Batch::Next(count) => next(count),
            Batch::Again(count) => {
                let records = next(count);
                let first = records.first().copied().unwrap_or(self.seen);
                (first.saturating_sub(count.into())..first).chain(records).collect()
            }
            Batch::Shuffled(count, seed) => {
                let mut records = next(count);
                Rng::with_seed(seed).shuffle(&mut records);
                records
            }
            Batch::Lost(count) => {
                let records = next(count);
                self.lost.extend(records);
                Vec::new()
            }
            Batch::Redriven(count) => {
                let count = self.lost.len().min(count.into());
                self.lost.drain(..count).collect()
            }
        }
    }

    /// Takes back what is to be retried: from a record on, or all of it.
    pub fn put_back(&mut self, records: &[usize]) {
        for record in records.iter().rev() {
            self.queue.push_front(*record);
        }
    }

    /// Whether it has got everything of a stream of so many records.
    pub fn is_done(&self, stream: usize) -> bool {
        self.seen == stream && self.queue.is_empty() && self.lost.is_empty()
    }
}

/// A batch as Lambda passes it to the functions.
pub fn event(records: &[usize], commits: &[Item]) -> Value {
    let records = records.iter().map(|record| {
        let image = &commits[*record];
        json!({
            "eventID": record.to_string(), "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
            "awsRegion": "eu-central-1", "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/OrderEvents",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_772_366_400, "StreamViewType": "NEW_AND_OLD_IMAGES", "SizeBytes": 1,
                "SequenceNumber": record.to_string(),
                "Keys": {"stream_id": image["stream_id"], "version": image["version"]}, "NewImage": image,
            },
        })
    });
    json!({"Records": records.collect::<Vec<_>>()})
}
