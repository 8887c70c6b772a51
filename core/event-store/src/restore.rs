//! Putting back what the event table has lost, from another table that still has it.

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
/// How often a stream may turn out to be other than it just was.
const MAX_ROUNDS: usize = 8;
/// The most findings that an answer lists; the log has all.
const LISTED: usize = 100;

/// How far a restoration of a segment is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreProgress {
    /// Everything up to here is done; the next run goes on after it. None at the start, and when `done`.
    pub token: Option<CommitPosition>,
    /// The whole segment is done.
    pub done: bool,
    /// Streams compared, in all runs so far.
    pub streams: u64,
    /// Commits that the event table lacked: put there, unless the run only looks.
    pub copied: u64,
    /// What the other table has of the damaged streams from where they part, and is not copied.
    pub left_out: u64,
    /// Streams that are not as the other table has them, and need a person.
    pub damaged: u64,
    /// The first of those.
    #[serde(deserialize_with = "strict_json::tagged")]
    pub findings: Vec<Finding>,
}

/// Why a stream was not restored further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The tables have different commits here. The event table keeps its own, and gets nothing of the other table that
    /// comes after it: that was decided on another history.
    Different {
        /// The stream.
        stream_id: StreamId,
        /// Where they part.
        version: Version,
    },
    /// Neither table has the commit here, but one of them has a later one.
    Missing {
        /// The stream.
        stream_id: StreamId,
        /// Where it should be.
        version: Version,
    },
    /// An item that is not a commit.
    Malformed {
        /// The stream.
        stream_id: StreamId,
        /// Where.
        version: Version,
    },
}

/// The items of a stream, by the versions of their first events.
type Items = BTreeMap<Version, Item>;

/// What is to be done about a stream.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    missing: Vec<Item>,
    left_out: u64,
    finding: Option<Finding>,
}

impl<A: Aggregate> EventStore<A> {
    /// Copies the commits of a segment of the table `from` that this store's table lacks, from where `restoration` stands
    /// until the segment ends, a page does after the deadline, or something fails after the first page. With `write` false
    /// it only looks.
    ///
    /// It only ever adds a commit after the one before it, on condition that nothing is there, so it may be repeated, may
    /// be stopped anywhere, and is safe beside writers. Items are copied as they are, whether this program can read their
    /// events or not, but without snapshots: these follow from the events.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], in the first page; start again from the last answer.
    pub async fn restore(
        &self,
        from: &str,
        segment: Segment,
        mut restoration: RestoreProgress,
        write: bool,
        deadline: Instant,
    ) -> Result<RestoreProgress, StoreError> {
        let from = Self { table: from.to_owned(), ..self.clone() };
        let mut moved = false;
        loop {
            let before = restoration.clone();
            match self.restore_page(&from, segment, &mut restoration, write).await {
                // What was done before it is not to be done again.
                Err(error) if moved => {
                    tracing::warn!(error = chain(&error), "the restoration breaks off");
                    return Ok(before);
                }
                end => end?,
            }
            moved = true;
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
        // A stream is done whole, so what of it lies in the next page has been.
        let done = restoration.token.as_ref().map(|place| &place.stream_id);
        let streams = streams.iter().filter(|stream| Some(*stream) != done);
        let ends = stream::iter(streams).map(|stream| self.restore_stream(from, stream, write)).buffered(IN_FLIGHT);
        for (copied, Plan { left_out, finding, .. }) in ends.try_collect::<Vec<_>>().await? {
            restoration.streams += 1;
            restoration.copied += copied;
            restoration.left_out += left_out;
            if let Some(finding) = finding {
                tracing::error!(?finding, left_out, "stream not restored");
                restoration.tell(finding);
            }
        }
        restoration.done = page.next.is_none();
        restoration.token = page.next;
        Ok(())
    }

    /// Answers how many commits were copied, and the last plan. If the run only looks, these are the missing ones.
    async fn restore_stream(&self, from: &Self, stream: &StreamId, write: bool) -> Result<(u64, Plan), StoreError> {
        let mut copied = 0;
        'again: for _ in 0..MAX_ROUNDS {
            let (theirs, ours) = try_join!(from.items(stream), self.items(stream))?;
            let plan = plan(stream, ours, theirs);
            if !write {
                return Ok((plan.missing.len() as u64, plan));
            }
            for missing in &plan.missing {
                let found = self.put_back(missing.clone()).await?.map(without_snapshot);
                if found.is_some_and(|found| found != *missing) {
                    continue 'again;
                }
                copied += 1;
            }
            return Ok((copied, plan));
        }
        Err(StoreError::Unavailable("others wrote the stream between all attempts".into()))
    }

    /// The items of a stream, read strongly, without their snapshots.
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
    fn tell(&mut self, finding: Finding) {
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

/// Walks both histories from the first version on for as long as they are one.
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
        // It must fit in, not only begin where nothing is.
        if !ours_too && ours.range(version..=last).next().is_some() {
            break Some(Finding::Different { stream_id, version });
        }
        missing.extend(theirs.remove(&version).filter(|_| !ours_too));
        version = last + 1;
    };
    // What is left of theirs begins with the commit at which the histories part.
    Plan { missing, left_out: theirs.len() as u64, finding }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Numbers, commit};

    /// The items of commits: the version of the first event of each, and how many it has.
    fn items(commits: &[(Version, u64)]) -> Items {
        commits.iter().map(|(first, events)| (*first, commit(*first, *events).to_item::<Numbers>().unwrap())).collect()
    }

    fn altered(items: &mut Items, version: Version) {
        let item = items.get_mut(&version).unwrap();
        item.insert("commit_id".into(), serde_dynamo::AttributeValue::S(uuid::Uuid::nil().to_string()));
    }

    /// The versions that are put back, how many are left out, and what is found where.
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
    fn what_is_missing_is_put_back_wherever_it_was() {
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
        assert_eq!(planned(items(&[(1, 1), (3, 1)]), items(&[(1, 1), (2, 1)])), (vec![2], 0, None), "and goes on");
        assert_eq!(planned(whole(), items(&[(1, 1)])), (vec![], 0, None), "the copy is older");
    }

    #[test]
    fn where_the_histories_part_the_tables_own_is_kept_and_nothing_after_it_is_taken() {
        let mut theirs = items(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        altered(&mut theirs, 2);
        let different = Some("different at 2".to_owned());
        assert_eq!(planned(items(&[(1, 1), (2, 1)]), theirs.clone()), (vec![], 3, different.clone()));
        assert_eq!(planned(items(&[(2, 1)]), theirs), (vec![1], 3, different), "what comes before is");
    }

    #[test]
    fn a_commit_that_would_lie_over_another_one_is_left_out() {
        let theirs = || items(&[(1, 1), (2, 3)]);
        assert_eq!(planned(items(&[(1, 1), (3, 1)]), theirs()), (vec![], 1, Some("different at 2".into())));
        assert_eq!(planned(items(&[(1, 1), (2, 1), (3, 1)]), theirs()), (vec![], 1, Some("different at 2".into())));
    }

    #[test]
    fn a_hole_that_neither_fills_is_named_and_nothing_is_put_behind_it() {
        let missing = Some("missing at 3".to_owned());
        assert_eq!(planned(items(&[(1, 1), (2, 1)]), items(&[(1, 1), (4, 1)])), (vec![], 1, missing.clone()));
        assert_eq!(planned(items(&[(1, 1), (4, 1)]), items(&[(1, 1), (2, 1)])), (vec![2], 0, missing));
        assert_eq!(planned(items(&[]), items(&[(2, 1)])), (vec![], 1, Some("missing at 1".into())));
    }

    #[test]
    fn what_is_no_commit_is_named_and_not_copied() {
        let junk = Items::from([(1, Item::default())]);
        assert_eq!(planned(items(&[]), junk.clone()), (vec![], 1, Some("malformed at 1".into())));
        assert_eq!(planned(junk, items(&[(2, 1)])), (vec![], 1, Some("malformed at 1".into())));
    }

    #[test]
    fn all_damaged_streams_are_counted_and_the_first_100_are_listed() {
        let mut restoration = RestoreProgress::default();
        let finding = |version| Finding::Missing { stream_id: StreamId::new("numbers"), version };
        (1..=250).for_each(|version| restoration.tell(finding(version)));
        assert_eq!(restoration.damaged, 250);
        assert_eq!(restoration.findings, (1..=100).map(finding).collect::<Vec<_>>());
    }
}
