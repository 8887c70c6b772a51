//! Reading the whole event table, in segments side by side.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use serde::{Deserialize, Serialize};
use serde_dynamo::Item;

use super::EventStore;
use super::aggregate::Aggregate;
use super::commit::{Commit, CommitError, StreamId, Version};
use super::load::StoreError;

/// One of the parts that the table is cut into. A stream lies in one segment, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Which, from 0.
    pub segment: u32,
    /// Of how many: 1 to 1,000,000 (DynamoDB API reference, `Scan`).
    pub total_segments: u32,
}

/// A commit's key: where a scan stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The stream.
    pub stream_id: StreamId,
    /// The version of the commit's first event.
    pub version: Version,
}

/// Some commits of a segment. Those of one stream follow each other, by version; they may go on in the next page.
#[derive(Debug)]
pub struct ScanPage<E> {
    /// The commits, and what could not be read, with their places.
    pub commits: Vec<(Place, Result<Commit<E>, CommitError>)>,
    /// Where to go on after; none at the segment's end.
    pub next: Option<Place>,
}

impl<A: Aggregate> EventStore<A> {
    /// A page of a segment, after a place: up to 1 MB. Eventually consistent, so the newest commits may be missing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn scan(&self, segment: Segment, after: Option<&Place>) -> Result<ScanPage<A::Event>, StoreError> {
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            // Snapshots are read, but need not travel.
            .projection_expression("stream_id, version, events, commit_id, recorded_at, metadata")
            .segment(i32::try_from(segment.segment).unwrap_or(i32::MAX))
            .total_segments(i32::try_from(segment.total_segments).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after.map(key))
            .send()
            .await
            .map_err(StoreError::unavailable)?;
        let read = |item: HashMap<String, AttributeValue>| {
            let place = place(&item)?;
            Some((place, Commit::from_item::<A>(Item::from(item))))
        };
        // The key's attributes and their types are the table's own: an item without them cannot be.
        let commits = answer.items.unwrap_or_default().into_iter().filter_map(read).collect();
        Ok(ScanPage { commits, next: answer.last_evaluated_key.as_ref().and_then(place) })
    }
}

impl<A: Aggregate> EventStore<A> {
    /// Those of the streams that exist. At most 100 are asked for at once (DynamoDB API reference, `BatchGetItem`).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn existing(&self, streams: &[StreamId]) -> Result<HashSet<StreamId>, StoreError> {
        let mut existing = HashSet::new();
        let first = |stream: &StreamId| key(&Place { stream_id: stream.clone(), version: 1 });
        let mut keys: Vec<_> = streams.iter().map(first).collect();
        while !keys.is_empty() {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .projection_expression("stream_id, version")
                .build()
                .map_err(StoreError::unavailable)?;
            let answer = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
            let answer = answer.map_err(StoreError::unavailable)?;
            let found = answer.responses.unwrap_or_default().into_values().flatten();
            existing.extend(found.filter_map(|item| Some(place(&item)?.stream_id)));
            let mut left = answer.unprocessed_keys.unwrap_or_default();
            keys = left.remove(&self.table).map(|left| left.keys).unwrap_or_default();
        }
        Ok(existing)
    }
}

fn key(place: &Place) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("stream_id".into(), AttributeValue::S(place.stream_id.to_string())),
        ("version".into(), AttributeValue::N(place.version.to_string())),
    ])
}

fn place(key: &HashMap<String, AttributeValue>) -> Option<Place> {
    let stream_id = StreamId::new(key.get("stream_id")?.as_s().ok()?);
    let version = key.get("version")?.as_n().ok()?.parse().ok()?;
    Some(Place { stream_id, version })
}
