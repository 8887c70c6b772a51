//! Reading the whole event table, in segments side by side.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use serde_dynamo::Item;

use super::EventStore;
use super::aggregate::Aggregate;
use super::batch_get::batch_get;
use super::commit::Commit;
use super::error::{CommitError, StoreError};
use super::stream_id::{StreamId, Version};

/// The most commits of a page. DynamoDB ends a page at 1 MB by itself, twice as many small commits; a database that reads
/// ahead without a limit would read all that is left of the table, for every page of it.
const PAGE: i32 = 1_000;

/// One of the parts that the table is cut into. A stream lies in one segment, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Which, from 0.
    pub segment: u32,
    /// Of how many: 1 to 1,000,000 (DynamoDB API reference, `Scan`).
    pub total_segments: u32,
}

/// There is no such segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment} of {total_segments}: there are 1 to 1,000,000 segments, and they count from 0")]
pub struct InvalidSegment {
    segment: u32,
    total_segments: u32,
}

impl Segment {
    /// The whole table.
    pub const WHOLE: Self = Self { segment: 0, total_segments: 1 };

    /// A segment, from 0, of so many.
    ///
    /// # Errors
    /// [`InvalidSegment`]: ask for one that there is.
    pub fn new(segment: u32, total_segments: u32) -> Result<Self, InvalidSegment> {
        match segment < total_segments && total_segments <= 1_000_000 {
            true => Ok(Self { segment, total_segments }),
            false => Err(InvalidSegment { segment, total_segments }),
        }
    }

    /// Whether it is the one that does what is done once for all.
    pub(crate) fn is_first(self) -> bool {
        self.segment == 0
    }

    /// What a `Scan` takes as `Segment` and `TotalSegments`: neither for the whole table, which is then read by its keys
    /// where a database has no better order for segments.
    pub fn parameters(self) -> (Option<i32>, Option<i32>) {
        let number = |n| (self.total_segments > 1).then(|| i32::try_from(n).unwrap_or(i32::MAX));
        (number(self.segment), number(self.total_segments))
    }
}

/// A commit's key: where a scan stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitPosition {
    /// The stream.
    pub stream_id: StreamId,
    /// The version of the commit's first event.
    pub version: Version,
}

/// Some commits of a segment. Those of one stream follow each other, by version; they may go on in the next page.
#[derive(Debug)]
pub struct ScanPage<E> {
    /// The commits, and what could not be read, with their places.
    pub commits: Vec<(CommitPosition, Result<Commit<E>, CommitError>)>,
    /// Where to go on after; none at the segment's end.
    pub next: Option<CommitPosition>,
}

impl<A: Aggregate> EventStore<A> {
    /// A page of a segment, after a place: up to 1 MB or 1,000 commits. Eventually consistent, so the newest commits may be missing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn scan(&self, segment: Segment, after: Option<&CommitPosition>) -> Result<ScanPage<A::Event>, StoreError> {
        // Snapshots are read, but need not travel.
        let attributes = "stream_id, version, events, commit_id, recorded_at, metadata, epoch";
        let answer = self.scan_for(attributes, segment, after).await?;
        let read = |item: HashMap<String, AttributeValue>| {
            let place = place(&item)?;
            Some((place, Commit::from_item::<A>(Item::from(item))))
        };
        // The key's attributes and their types are the table's own: an item without them cannot be.
        let commits = answer.items.unwrap_or_default().into_iter().filter_map(read).collect();
        Ok(ScanPage { commits, next: answer.last_evaluated_key.as_ref().and_then(place) })
    }
}

/// The places of some commits of a segment; those of one stream follow each other.
pub(super) struct PlacesPage {
    pub places: Vec<CommitPosition>,
    /// Where to go on after; none at the segment's end.
    pub next: Option<CommitPosition>,
}

impl<A: Aggregate> EventStore<A> {
    /// The places of a page of a segment, without what is there.
    pub(super) async fn places(&self, segment: Segment, after: Option<&CommitPosition>) -> Result<PlacesPage, StoreError> {
        let answer = self.scan_for("stream_id, version", segment, after).await?;
        let places = answer.items().iter().filter_map(place).collect();
        Ok(PlacesPage { places, next: answer.last_evaluated_key.as_ref().and_then(place) })
    }

    async fn scan_for(
        &self,
        attributes: &str,
        segment: Segment,
        after: Option<&CommitPosition>,
    ) -> Result<ScanOutput, StoreError> {
        let (segment, total_segments) = segment.parameters();
        self.client
            .scan()
            .table_name(&self.table)
            .projection_expression(attributes)
            .set_segment(segment)
            .set_total_segments(total_segments)
            .limit(PAGE)
            .set_exclusive_start_key(after.map(key))
            .send()
            .await
            .map_err(StoreError::unavailable)
    }

    /// Those of the streams that exist. At most 100 are asked for at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn existing(&self, streams: &[StreamId]) -> Result<HashSet<StreamId>, StoreError> {
        let first = |stream: &StreamId| key(&CommitPosition { stream_id: stream.clone(), version: 1 });
        let keys = streams.iter().map(first).collect();
        let found = batch_get(&self.client, &self.table, keys, Some("stream_id, version")).await;
        let found = found.map_err(StoreError::Unavailable)?;
        Ok(found.iter().filter_map(|item| Some(place(item)?.stream_id)).collect())
    }
}

fn key(place: &CommitPosition) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("stream_id".into(), AttributeValue::S(place.stream_id.to_string())),
        ("version".into(), AttributeValue::N(place.version.to_string())),
    ])
}

fn place(key: &HashMap<String, AttributeValue>) -> Option<CommitPosition> {
    let stream_id = StreamId::new(key.get("stream_id")?.as_s().ok()?);
    let version = key.get("version")?.as_n().ok()?.parse().ok()?;
    Some(CommitPosition { stream_id, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_count_from_nought_and_there_is_one_at_least() {
        for (segment, total_segments) in [(0, 0), (4, 4), (0, 1_000_001)] {
            assert!(Segment::new(segment, total_segments).is_err(), "{segment} of {total_segments}");
        }
        assert_eq!(Segment::new(3, 4), Ok(Segment { segment: 3, total_segments: 4 }));
        assert_eq!(Segment::new(0, 1), Ok(Segment::WHOLE));
    }

    #[test]
    fn the_whole_table_is_scanned_without_segments() {
        assert_eq!(Segment::WHOLE.parameters(), (None, None));
        assert_eq!(Segment { segment: 0, total_segments: 4 }.parameters(), (Some(0), Some(4)));
    }
}
