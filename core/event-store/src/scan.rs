//! Scanning the event table in parallel segments.

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
use super::loaded::Consistency;
use super::stream_id::{StreamId, Version};

/// The most commits per page. DynamoDB ends a page at 1 MB, about twice as many small commits. Embedded engines may
/// otherwise read the rest of the table for every page.
const PAGE: i32 = 1_000;

/// One of the parallel segments of a table. A stream lies within one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The segment's number, from 0.
    pub segment: u32,
    /// The number of segments, 1 to 1,000,000 (DynamoDB API reference, `Scan`).
    pub total_segments: u32,
}

/// An invalid segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid segment {segment} of {total_segments}: use 1 to 1,000,000 segments, numbered from 0")]
pub struct InvalidSegment {
    segment: u32,
    total_segments: u32,
}

impl Segment {
    /// The whole table.
    pub const WHOLE: Self = Self { segment: 0, total_segments: 1 };

    /// Segment number `segment`, from 0, of `total_segments`.
    ///
    /// # Errors
    /// [`InvalidSegment`].
    pub fn new(segment: u32, total_segments: u32) -> Result<Self, InvalidSegment> {
        match segment < total_segments && total_segments <= 1_000_000 {
            true => Ok(Self { segment, total_segments }),
            false => Err(InvalidSegment { segment, total_segments }),
        }
    }

    /// Whether this segment does the work that is done once for the whole table.
    pub(crate) fn is_first(self) -> bool {
        self.segment == 0
    }

    /// `Segment` and `TotalSegments` of a `Scan`: none for the whole table, for which some engines have a faster order.
    pub fn parameters(self) -> (Option<i32>, Option<i32>) {
        let number = |n| (self.total_segments > 1).then(|| i32::try_from(n).unwrap_or(i32::MAX));
        (number(self.segment), number(self.total_segments))
    }
}

/// A commit's key, as the position of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitPosition {
    /// The stream.
    pub stream_id: StreamId,
    /// The version of the commit's first event.
    pub version: Version,
}

/// Commits of a segment. Those of one stream are consecutive, by version, and may continue in the next page.
#[derive(Debug)]
pub struct ScanPage<E> {
    /// The commits or errors, with their positions.
    pub commits: Vec<(CommitPosition, Result<Commit<E>, CommitError>)>,
    /// The position to continue after; `None` at the end of the segment.
    pub next: Option<CommitPosition>,
}

impl<A: Aggregate> EventStore<A> {
    /// Reads a page of a segment after a position: up to 1 MB or 1,000 commits. Eventually consistent, so the newest
    /// commits may be missing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn scan(
        &self,
        segment: Segment,
        after: Option<&CommitPosition>,
    ) -> Result<ScanPage<A::Event>, StoreError> {
        // Snapshots are not needed.
        let attributes = "stream_id, version, events, commit_id, recorded_at, metadata, epoch";
        let output = self.scan_for(attributes, segment, after).await?;
        let read = |item: HashMap<String, AttributeValue>| {
            let place = place(&item)?;
            Some((place, Commit::from_item::<A>(Item::from(item))))
        };
        // The table's key schema guarantees these attributes.
        let commits = output.items.unwrap_or_default().into_iter().filter_map(read).collect();
        Ok(ScanPage { commits, next: output.last_evaluated_key.as_ref().and_then(place) })
    }
}

/// Commit positions of a segment; those of one stream are consecutive.
pub(super) struct PlacesPage {
    pub places: Vec<CommitPosition>,
    /// The position to continue after; `None` at the end of the segment.
    pub next: Option<CommitPosition>,
}

impl<A: Aggregate> EventStore<A> {
    /// The commit positions of a page.
    pub(super) async fn places(
        &self,
        segment: Segment,
        after: Option<&CommitPosition>,
    ) -> Result<PlacesPage, StoreError> {
        let output = self.scan_for("stream_id, version", segment, after).await?;
        let places = output.items().iter().filter_map(place).collect();
        Ok(PlacesPage { places, next: output.last_evaluated_key.as_ref().and_then(place) })
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

    /// Which of the streams exist.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn existing(&self, streams: &[StreamId]) -> Result<HashSet<StreamId>, StoreError> {
        let first = |stream: &StreamId| key(&CommitPosition { stream_id: stream.clone(), version: 1 });
        let keys: Vec<_> = streams.iter().map(first).collect();
        let place_only = Some("stream_id, version");
        let found = batch_get(&self.client, &self.table, &keys, Consistency::Strong, place_only).await;
        let found = found.map_err(StoreError::unavailable)?;
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
    fn segments_are_numbered_from_0_and_there_is_at_least_one() {
        for (segment, total_segments) in [(0, 0), (4, 4), (0, 1_000_001)] {
            assert!(Segment::new(segment, total_segments).is_err(), "{segment} of {total_segments}");
        }
        assert_eq!(Segment::new(3, 4), Ok(Segment { segment: 3, total_segments: 4 }));
        assert_eq!(Segment::new(0, 1), Ok(Segment::WHOLE));
        assert_eq!([0, 1].map(|segment| Segment { segment, total_segments: 2 }.is_first()), [true, false]);
    }

    #[test]
    fn the_whole_table_is_scanned_without_segments() {
        assert_eq!(Segment::WHOLE.parameters(), (None, None));
        assert_eq!(Segment { segment: 0, total_segments: 4 }.parameters(), (Some(0), Some(4)));
    }
}
