//! Comparing rows with their events, without changing anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::Projection;
use super::audit::WrongTotal;
use super::counts::Counters;
use super::error::ProjectionError;
use super::model::{EventOf, ReadModel, RowItem};
use super::streams::{WholeStream, WholeStreams};
use crate::batch_get::{BatchGetError, MAX_KEYS, batch_get};
use crate::error::{StoreError, chain};
use crate::loaded::Consistency;
use crate::scan::{CommitPosition, Segment};
use crate::stream_id::{StreamId, Version};

/// The most differences that are returned; the log has all.
const LISTED: usize = 100;
/// How many suspects are checked concurrently.
const IN_FLIGHT: usize = 32;
/// The assumed maximum delay of the projection.
const PROJECTION_TIME: Duration = Duration::from_secs(2);

/// The progress of verifying a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The position to continue after. `None` at the start, and when `done`.
    pub token: Option<VerificationPosition>,
    /// Whether the whole segment is done.
    pub done: bool,
    /// Streams compared, in all runs so far.
    pub streams: u64,
    /// Differences found.
    pub different: u64,
    /// Totals that were not compared, because they were being written or the deadline passed. Verify again later or
    /// with more time.
    pub unsettled: u64,
    /// The first of the differences.
    #[serde(deserialize_with = "strict_json::tagged")]
    pub differences: Vec<Difference>,
}

/// The position of a verification: first through the events, then the rows, then, in the first segment, the totals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationPosition {
    /// Up to this commit.
    Events(CommitPosition),
    /// Through all events, and up to this row.
    Rows(Option<StreamId>),
    /// Through all rows; the totals remain, in one step.
    Totals,
}

/// A difference between a row and its events. `repair` corrects it, unless stated otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum Difference {
    /// There is no row.
    Missing {
        /// The stream.
        stream_id: StreamId,
    },
    /// The row has another version.
    Version {
        /// The stream.
        stream_id: StreamId,
        /// The row's version, if any.
        row: Option<Version>,
        /// The version of the newest event.
        events: Version,
    },
    /// The row has the right version, but other attributes.
    Attributes {
        /// The stream.
        stream_id: StreamId,
        /// The attributes that differ, are missing or are extra.
        attributes: BTreeSet<String>,
    },
    /// A row without events. `repair` does not remove it; a rebuild after a restore does.
    Orphan {
        /// The row's key.
        stream_id: StreamId,
    },
    /// A total differs from the sum of its rows, because something else wrote to it. `repair` does not correct it; a
    /// rebuild does.
    Total {
        /// The total.
        total: String,
        /// The sum of the rows' counts as decimal texts, without zeros.
        rows: BTreeMap<String, String>,
        /// The stored counters, in the same form.
        counters: BTreeMap<String, String>,
    },
    /// The events cannot be projected; the row, if any, stays unchanged.
    Unprojectable {
        /// The stream.
        stream_id: StreamId,
        /// The event that prevents it.
        version: Version,
    },
}

/// A verification was interrupted. The last progress is valid.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The event table could not be read.
    #[error(transparent)]
    Events(#[from] StoreError),
    /// A stream's events could not be read.
    #[error(transparent)]
    Stream(#[from] ProjectionError),
    /// The rows could not be read.
    #[error(transparent)]
    Rows(#[from] BatchGetError),
}

impl<M: ReadModel> Projection<M> {
    /// Compares the rows of a segment's streams with their events, and finds rows without events. It runs from
    /// `verification` until the end of the segment, the first page after the deadline, or an error after the first
    /// page. Differences are checked again by consistent reads, after the projection had time to catch up.
    ///
    /// # Errors
    /// See [`VerifyError`], in the first page; start again from the last progress.
    pub async fn verify(
        &self,
        segment: Segment,
        mut verification: Verification,
        deadline: Instant,
    ) -> Result<Verification, VerifyError> {
        let mut progressed = false;
        loop {
            let before = verification.clone();
            let token = match verification.token.clone() {
                Some(VerificationPosition::Rows(after)) => self.next_orphans(segment, after, &mut verification).await,
                Some(VerificationPosition::Totals) => self.compare_totals(segment, &mut verification, deadline).await,
                Some(VerificationPosition::Events(place)) => {
                    self.next_streams(segment, Some(place), &mut verification).await
                }
                None => self.next_streams(segment, None, &mut verification).await,
            };
            let token = match token {
                // Completed pages must not be repeated.
                Err(error) if progressed => {
                    tracing::warn!(error = chain(&error), "verification interrupted");
                    return Ok(before);
                }
                token => token?,
            };
            progressed = true;
            verification.done = token.is_none();
            verification.token = token;
            if verification.done || Instant::now() >= deadline {
                return Ok(verification);
            }
        }
    }

    /// Compares the streams of at least one page.
    async fn next_streams(
        &self,
        segment: Segment,
        after: Option<CommitPosition>,
        verification: &mut Verification,
    ) -> Result<Option<VerificationPosition>, VerifyError> {
        let mut streams = WholeStreams::after(&self.events, &self.model, segment, after);
        while let Some(complete) = streams.next_page().await? {
            let batches = complete.chunks(MAX_KEYS).map(|streams| self.suspects(streams));
            let suspects: Vec<StreamId> = try_join_all(batches).await?.into_iter().flatten().collect();
            if !suspects.is_empty() {
                sleep(PROJECTION_TIME).await;
            }
            let differences = stream::iter(suspects).map(|stream| self.difference(stream)).buffered(IN_FLIGHT);
            for difference in differences.try_collect::<Vec<_>>().await?.into_iter().flatten() {
                verification.add_difference(M::NAME, difference);
            }
            verification.streams += complete.len() as u64;
            if let Some(last) = complete.last() {
                return Ok(Some(VerificationPosition::Events(last.end.clone())));
            }
        }
        Ok(Some(VerificationPosition::Rows(None)))
    }

    /// Finds rows without events in one page.
    async fn next_orphans(
        &self,
        segment: Segment,
        after: Option<StreamId>,
        verification: &mut Verification,
    ) -> Result<Option<VerificationPosition>, VerifyError> {
        let page = self.orphans(segment, after).await?;
        for stream_id in page.orphans {
            verification.add_difference(M::NAME, Difference::Orphan { stream_id });
        }
        let totals = || self.audited_totals(segment).map(|_| VerificationPosition::Totals);
        Ok(page.next.map(|stream| VerificationPosition::Rows(Some(stream))).or_else(totals))
    }

    /// Compares the totals with the rows.
    async fn compare_totals(
        &self,
        segment: Segment,
        verification: &mut Verification,
        deadline: Instant,
    ) -> Result<Option<VerificationPosition>, VerifyError> {
        let Some(totals) = self.audited_totals(segment) else { return Ok(None) };
        let audited = self.audit(&totals, deadline).await?;
        verification.unsettled += audited.unsettled;
        let text = |counters: Counters| counters.into_iter().map(|(counter, n)| (counter, n.to_string())).collect();
        for WrongTotal { name, rows, total } in audited.wrong {
            let difference = Difference::Total { total: name, rows: text(rows), counters: text(total.counters) };
            verification.add_difference(M::NAME, difference);
        }
        Ok(None)
    }

    /// The streams whose row differs from the scanned events.
    async fn suspects(&self, streams: &[WholeStream<EventOf<M>>]) -> Result<Vec<StreamId>, VerifyError> {
        let rows = self.rows(streams).await?;
        let same = |whole: &&WholeStream<EventOf<M>>| match &whole.commits {
            Ok(commits) => self
                .row_of(&whole.stream, commits)
                .is_ok_and(|row| row.map(|(_, row)| row).as_ref() == rows.get(&whole.stream)),
            Err(_) => false,
        };
        Ok(streams.iter().filter(|whole| !same(whole)).map(|whole| whole.stream.clone()).collect())
    }

    async fn rows(&self, streams: &[WholeStream<EventOf<M>>]) -> Result<HashMap<StreamId, RowItem>, VerifyError> {
        let keys: Vec<_> = streams.iter().map(|whole| self.key(&whole.stream)).collect();
        let rows = batch_get(&self.client, &self.table, &keys, Consistency::Eventual, None).await?;
        Ok(rows.into_iter().filter_map(|row| Some((Self::stream_of(&row)?, row))).collect())
    }

    /// The difference between a row and its events, both by consistent reads.
    async fn difference(&self, stream: StreamId) -> Result<Option<Difference>, VerifyError> {
        // The row is read first, so that the events are not older.
        let row = self.read_row(&stream).await?.row;
        let folded = self.fold(&stream).await;
        let stream_id = stream;
        let (events, expected) = match folded {
            Ok(folded) => folded.unzip(),
            Err(ProjectionError::Unprojectable { version, .. }) => {
                return Ok(Some(Difference::Unprojectable { stream_id, version }));
            }
            Err(error) => return Err(error.into()),
        };
        let (Some(events), Some(expected)) = (events, expected) else { return Ok(None) };
        if row.is_empty() {
            return Ok(Some(Difference::Missing { stream_id }));
        }
        let version = row.get("version").and_then(|version| version.as_n().ok()?.parse().ok());
        if version != Some(events) {
            return Ok(Some(Difference::Version { stream_id, row: version, events }));
        }
        let attributes = differing(&row, &expected);
        Ok(Some(Difference::Attributes { stream_id, attributes }).filter(|_| row != expected))
    }
}

impl Verification {
    fn add_difference(&mut self, model: &'static str, difference: Difference) {
        tracing::warn!(model, ?difference, "row differs from its events");
        self.different += 1;
        if self.differences.len() < LISTED {
            self.differences.push(difference);
        }
    }
}

/// The attributes in which two rows differ.
fn differing(row: &RowItem, expected: &RowItem) -> BTreeSet<String> {
    let names = row.keys().chain(expected.keys());
    let differs = |name: &&String| -> bool {
        let values: (Option<&AttributeValue>, _) = (row.get(*name), expected.get(*name));
        values.0 != values.1
    };
    names.filter(differs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_differences_are_counted_and_the_first_100_listed() {
        let mut verification = Verification::default();
        for n in 0..250 {
            let stream_id = StreamId::new(n.to_string());
            verification.add_difference("numbers", Difference::Version { stream_id, row: None, events: 1 });
        }
        assert_eq!((verification.different, verification.differences.len()), (250, LISTED));
    }

    #[test]
    fn differing_attributes_of_both_rows_are_named() {
        let row = |pairs: &[(&str, &str)]| -> RowItem {
            pairs.iter().map(|(name, value)| ((*name).into(), AttributeValue::S((*value).into()))).collect()
        };
        let damaged = row(&[("same", "1"), ("changed", "1"), ("added", "1")]);
        let expected = row(&[("same", "1"), ("changed", "2"), ("lost", "1")]);
        assert_eq!(differing(&damaged, &expected), ["added", "changed", "lost"].map(String::from).into());
        assert!(differing(&expected, &expected).is_empty());
    }
}
