//! Restoring commits that the event table lost, from another table that still has them.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, TryStreamExt, stream, try_join};
use serde::{Deserialize, Serialize};
use serde_dynamo::Item;
use tokio::time::Instant;

use super::aggregate::Aggregate;
use super::commit::StoredCommit;
use super::error::{StoreError, chain};
use super::scan::{CommitPosition, Segment};
use super::stream_id::{StreamId, Version};
use super::{EventStore, snapshot};

/// How many streams are compared at once.
const IN_FLIGHT: usize = 32;
/// How often a stream may change during its comparison.
const MAX_ROUNDS: usize = 8;
/// The most findings that are returned; the log has all.
const LISTED: usize = 100;

/// The progress of restoring a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreProgress {
    /// The position to continue after. `None` at the start, and when `done`.
    pub token: Option<CommitPosition>,
    /// Whether the whole segment is done.
    pub done: bool,
    /// Streams compared, in all runs so far.
    pub streams: u64,
    /// Commits missing in the event table: copied, unless this is a dry run.
    pub copied: u64,
    /// Commits of damaged streams that are only in the other table and are not copied, from where the tables differ.
    pub left_out: u64,
    /// Streams that differ between the tables and need manual inspection.
    pub damaged: u64,
    /// The first of those.
    #[serde(deserialize_with = "strict_json::tagged")]
    pub findings: Vec<Finding>,
}

/// Why a stream was not restored completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The tables have different commits here. The event table keeps its own, and no later commit of the other table is
    /// copied.
    Different {
        /// The stream.
        stream_id: StreamId,
        /// Where they differ.
        version: Version,
    },
    /// Neither table has this commit, but one of them has a later one.
    Missing {
        /// The stream.
        stream_id: StreamId,
        /// The missing version.
        version: Version,
    },
    /// An item that is not a commit.
    Malformed {
        /// The stream.
        stream_id: StreamId,
        /// Its version.
        version: Version,
    },
}

/// The items of a stream, by the versions of their first events.
type Items = BTreeMap<Version, Item>;

/// What to do about a stream.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    missing: Vec<Item>,
    left_out: u64,
    finding: Option<Finding>,
}

impl<A: Aggregate> EventStore<A> {
    /// Copies the commits of a segment that are missing in this store's table from the table `from`. It runs from
    /// `restoration` until the end of the segment, the first page after the deadline, or an error after the first page.
    /// With `write` false it is a dry run.
    ///
    /// A commit is only added after its predecessor, on condition that its version is free. So the run can be repeated
    /// and interrupted at any time and is safe beside writers. Items are copied as they are, also with unknown events,
    /// but without snapshots.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] in the first page; start again from the last progress.
    pub async fn restore(
        &self,
        from: &str,
        segment: Segment,
        mut restoration: RestoreProgress,
        write: bool,
        deadline: Instant,
    ) -> Result<RestoreProgress, StoreError> {
        let from = Self { table: from.to_owned(), ..self.clone() };
        let mut progressed = false;
        loop {
            let before = restoration.clone();
            match self.restore_page(&from, segment, &mut restoration, write).await {
                // Completed pages must not be repeated.
                Err(error) if progressed => {
                    tracing::warn!(error = chain(&error), "restore interrupted");
                    return Ok(before);
                }
                end => end?,
            }
            progressed = true;
            if restoration.done || Instant::now() >= deadline {
                return Ok(restoration);
            }
        }
    }

    async fn restore_page(
        &self,
        from: &Self,
        segment: Segment,
        restoration: &mut RestoreProgress,
        write: bool,
    ) -> Result<(), StoreError> {
        let page = from.places(segment, restoration.token.as_ref()).await?;
        let mut streams: Vec<StreamId> = page.places.into_iter().map(|place| place.stream_id).collect();
        streams.dedup();
        // A stream is restored as a whole, including its commits in the next page.
        let done = restoration.token.as_ref().map(|place| &place.stream_id);
        let streams = streams.iter().filter(|stream| Some(*stream) != done);
        let ends = stream::iter(streams).map(|stream| self.restore_stream(from, stream, write)).buffered(IN_FLIGHT);
        for (copied, Plan { left_out, finding, .. }) in ends.try_collect::<Vec<_>>().await? {
            restoration.streams += 1;
            restoration.copied += copied;
            restoration.left_out += left_out;
            if let Some(finding) = finding {
                tracing::error!(?finding, left_out, "stream not restored");
                restoration.add_finding(finding);
            }
        }
        restoration.done = page.next.is_none();
        restoration.token = page.next;
        Ok(())
    }

    /// The number of copied commits and the last plan. In a dry run, the number of missing commits.
    async fn restore_stream(&self, from: &Self, stream: &StreamId, write: bool) -> Result<(u64, Plan), StoreError> {
        let mut copied = 0;
        'again: for _ in 0..MAX_ROUNDS {
            let (theirs, ours) = try_join!(from.items(stream), self.items(stream))?;
            let plan = plan(stream, ours, theirs);
            if !write {
                return Ok((plan.missing.len() as u64, plan));
            }
            for missing in &plan.missing {
                let found = self.restore_item(missing.clone()).await?.map(without_snapshot);
                if found.is_some_and(|found| found != *missing) {
                    continue 'again;
                }
                copied += 1;
            }
            return Ok((copied, plan));
        }
        Err(StoreError::Unavailable("the stream changed during every attempt to restore it".into()))
    }

    /// The items of a stream without snapshots, by a consistent read.
    async fn items(&self, stream: &StreamId) -> Result<Items, StoreError> {
        let items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("stream_id = :stream")
            .expression_attribute_values(":stream", AttributeValue::S(stream.to_string()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(StoreError::unavailable)?;
        let by_version = items.into_iter().filter_map(|item| {
            let version = item.get("version")?.as_n().ok()?.parse().ok()?;
            Some((version, without_snapshot(item.into())))
        });
        Ok(by_version.collect())
    }
}

impl RestoreProgress {
    fn add_finding(&mut self, finding: Finding) {
        self.damaged += 1;
        if self.findings.len() < LISTED {
            self.findings.push(finding);
        }
    }
}

fn without_snapshot(mut item: Item) -> Item {
    drop(snapshot::detach(&mut item));
    item
}

/// Compares both histories from the first version for as long as they agree.
fn plan(stream: &StreamId, mut ours: Items, mut theirs: Items) -> Plan {
    let (mut missing, mut version) = (Vec::new(), 1);
    let stream_id = stream.clone();
    let finding = loop {
        let (own, other) = (ours.remove(&version), theirs.get(&version));
        let (item, ours_too) = match (&own, other) {
            (Some(own), Some(other)) if own != other => break Some(Finding::Different { stream_id, version }),
            (Some(own), _) => (own, true),
            (None, Some(other)) => (other, false),
            (None, None) if ours.is_empty() && theirs.is_empty() => break None,
            (None, None) => break Some(Finding::Missing { stream_id, version }),
        };
        let Ok(last) = StoredCommit::from_item(item.clone()).map(|commit| commit.last()) else {
            break Some(Finding::Malformed { stream_id, version });
        };
        // The whole commit must fit, not only its first version.
        if !ours_too && ours.range(version..=last).next().is_some() {
            break Some(Finding::Different { stream_id, version });
        }
        missing.extend(theirs.remove(&version).filter(|_| !ours_too));
        version = last + 1;
    };
    // The rest of theirs begins with the commit at which the histories differ.
    Plan { missing, left_out: theirs.len() as u64, finding }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Numbers, commit};

    /// The items of commits, given by first version and number of events.
    fn items(commits: &[(Version, u64)]) -> Items {
        commits.iter().map(|(first, events)| (*first, commit(*first, *events).to_item::<Numbers>().unwrap())).collect()
    }

    fn altered(items: &mut Items, version: Version) {
        let item = items.get_mut(&version).unwrap();
        item.insert("commit_id".into(), serde_dynamo::AttributeValue::S(uuid::Uuid::nil().to_string()));
    }

    /// The restored versions, the number left out, and the finding.
    fn planned(ours: Items, theirs: Items) -> (Vec<Version>, u64, Option<String>) {
        let plan = plan(&StreamId::new("numbers"), ours, theirs);
        let version = |item: Item| StoredCommit::from_item(item).unwrap().version;
        let finding = plan.finding.map(|finding| match finding {
            Finding::Different { version, .. } => format!("different at {version}"),
            Finding::Missing { version, .. } => format!("missing at {version}"),
            Finding::Malformed { version, .. } => format!("malformed at {version}"),
        });
        (plan.missing.into_iter().map(version).collect(), plan.left_out, finding)
    }

    #[test]
    fn missing_commits_are_restored_anywhere() {
        let whole = || items(&[(1, 1), (2, 2), (4, 1), (5, 1)]);
        for (ours, back) in [
            (items(&[]), vec![1, 2, 4, 5]),
            (items(&[(2, 2), (4, 1), (5, 1)]), vec![1]),
            (items(&[(1, 1), (4, 1)]), vec![2, 5]),
            (items(&[(1, 1), (2, 2)]), vec![4, 5]),
            (whole(), vec![]),
        ] {
            assert_eq!(planned(ours, whole()), (back, 0, None));
        }
        assert_eq!(
            planned(items(&[(1, 1), (3, 1)]), items(&[(1, 1), (2, 1)])),
            (vec![2], 0, None),
            "and then its successor"
        );
        assert_eq!(planned(whole(), items(&[(1, 1)])), (vec![], 0, None), "the copy is older");
    }

    #[test]
    fn where_the_histories_differ_the_own_one_is_kept() {
        let mut theirs = items(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        altered(&mut theirs, 2);
        let different = Some("different at 2".to_owned());
        assert_eq!(planned(items(&[(1, 1), (2, 1)]), theirs.clone()), (vec![], 3, different.clone()));
        assert_eq!(planned(items(&[(2, 1)]), theirs), (vec![1], 3, different), "earlier commits are");
    }

    #[test]
    fn an_overlapping_commit_is_left_out() {
        let theirs = || items(&[(1, 1), (2, 3)]);
        assert_eq!(planned(items(&[(1, 1), (3, 1)]), theirs()), (vec![], 1, Some("different at 2".into())));
        assert_eq!(planned(items(&[(1, 1), (2, 1), (3, 1)]), theirs()), (vec![], 1, Some("different at 2".into())));
    }

    #[test]
    fn nothing_is_restored_after_a_gap_in_both_tables() {
        let missing = Some("missing at 3".to_owned());
        assert_eq!(planned(items(&[(1, 1), (2, 1)]), items(&[(1, 1), (4, 1)])), (vec![], 1, missing.clone()));
        assert_eq!(planned(items(&[(1, 1), (4, 1)]), items(&[(1, 1), (2, 1)])), (vec![2], 0, missing));
        assert_eq!(planned(items(&[]), items(&[(2, 1)])), (vec![], 1, Some("missing at 1".into())));
    }

    #[test]
    fn an_invalid_item_is_reported_and_not_copied() {
        let junk = Items::from([(1, Item::default())]);
        assert_eq!(planned(items(&[]), junk.clone()), (vec![], 1, Some("malformed at 1".into())));
        assert_eq!(planned(junk, items(&[(2, 1)])), (vec![], 1, Some("malformed at 1".into())));
    }

    #[test]
    fn all_damaged_streams_are_counted_and_the_first_100_listed() {
        let mut restoration = RestoreProgress::default();
        let finding = |version| Finding::Missing { stream_id: StreamId::new("numbers"), version };
        (1..=250).for_each(|version| restoration.add_finding(finding(version)));
        assert_eq!(restoration.damaged, 250);
        assert_eq!(restoration.findings, (1..=100).map(finding).collect::<Vec<_>>());
    }
}
