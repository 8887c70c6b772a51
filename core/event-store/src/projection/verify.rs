//! Comparing rows with the events that they should come from. Nothing is changed.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::error::ProjectionError;
use super::follow::row_of;
use super::projector::Projector;
use super::row::{self, RowItem};
use super::streams::{OrderStream, OrderStreams};
use crate::domain::ids::OrderId;
use crate::error::chain;
use dynamodb_event_store::{Place, Segment, StoreError, Version};

/// The most items that one `BatchGetItem` answers (DynamoDB API reference).
const BATCH: usize = 100;
/// The most differences that an answer lists; the log has all.
const LISTED: usize = 100;
/// How many suspects are looked at at once.
const IN_FLIGHT: usize = 32;
/// How long the projector may take to follow an event.
const PROJECTION_TIME: Duration = Duration::from_secs(2);

/// Where a verification of a segment stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Everything up to here is done; the next run goes on after it. None at the start, and when `done`.
    pub token: Option<Reached>,
    /// The whole segment is done.
    pub done: bool,
    /// Orders compared, in all runs so far.
    pub orders: u64,
    /// Orders whose row is not what their events make.
    pub different: u64,
    /// The first of the differences.
    #[serde(deserialize_with = "strict_json::tagged")]
    pub differences: Vec<Difference>,
}

/// How far a verification has come: first through the events, then through the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// Up to this commit.
    Events(Place),
    /// Through all events, and up to this row, if it has begun with the rows.
    Rows(Option<String>),
}

/// A row that is not what its events make. `repair` mends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum Difference {
    /// There is no row.
    Missing {
        /// The order.
        order_id: OrderId,
    },
    /// The row has another version.
    Version {
        /// The order.
        order_id: OrderId,
        /// The row's version, if it has one.
        row: Option<Version>,
        /// The version of the newest event.
        events: Version,
    },
    /// The row has the right version, and other attributes.
    Attributes {
        /// The order.
        order_id: OrderId,
        /// Those that differ, are missing or should not be there.
        attributes: BTreeSet<String>,
    },
    /// There is a row, but no event of such an order. `repair` does not delete it; a rebuild after a restore does.
    Orphan {
        /// The row's key.
        order_id: String,
    },
    /// No row can be made of the events: the row, if there is one, stands still.
    Unprojectable {
        /// The order.
        order_id: OrderId,
        /// The event that is in the way.
        version: Version,
    },
}

/// A verification that could not go on. The progress before it holds.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The event table could not be read.
    #[error(transparent)]
    Events(#[from] StoreError),
    /// An order's events could not be read.
    #[error(transparent)]
    Order(#[from] ProjectionError),
    /// The rows could not be read.
    #[error("the order table does not answer")]
    Rows(#[source] Box<dyn Error + Send + Sync>),
}

impl Projector {
    /// Compares the rows of a segment's orders with their events, and looks for rows without events, from where
    /// `verification` stands until the segment ends, a page does after the deadline, or something fails after the first
    /// page. What differs is read once more, strongly, after the
    /// projector has had time: a row that is only about to be written is no difference.
    ///
    /// # Errors
    /// See [`VerifyError`], in the first page; start again from the last answer.
    pub async fn verify(
        &self,
        segment: Segment,
        mut verification: Verification,
        deadline: Instant,
    ) -> Result<Verification, VerifyError> {
        let mut moved = false;
        loop {
            let before = verification.clone();
            let token = match verification.token.clone() {
                Some(Reached::Rows(after)) => self.next_orphans(segment, after, &mut verification).await,
                Some(Reached::Events(place)) => self.next_orders(segment, Some(place), &mut verification).await,
                None => self.next_orders(segment, None, &mut verification).await,
            };
            let token = match token {
                // What was done before it is not to be done again.
                Err(error) if moved => {
                    tracing::warn!(error = chain(&error), "the verification breaks off");
                    return Ok(before);
                }
                token => token?,
            };
            moved = true;
            verification.done = token.is_none();
            verification.token = token;
            if verification.done || Instant::now() >= deadline {
                return Ok(verification);
            }
        }
    }

    /// Compares the orders of some pages, at least one of them.
    async fn next_orders(
        &self,
        segment: Segment,
        after: Option<Place>,
        verification: &mut Verification,
    ) -> Result<Option<Reached>, VerifyError> {
        let mut orders = OrderStreams::after(&self.events, segment, after);
        while let Some(complete) = orders.next_page().await? {
            let batches = complete.chunks(BATCH).map(|orders| self.suspects(orders));
            let suspects: Vec<OrderId> = try_join_all(batches).await?.into_iter().flatten().collect();
            if !suspects.is_empty() {
                sleep(PROJECTION_TIME).await;
            }
            let differences = stream::iter(suspects).map(|order_id| self.difference(order_id)).buffered(IN_FLIGHT);
            for difference in differences.try_collect::<Vec<_>>().await?.into_iter().flatten() {
                verification.tell(difference);
            }
            verification.orders += complete.len() as u64;
            if let Some(last) = complete.last() {
                return Ok(Some(Reached::Events(last.end.clone())));
            }
        }
        Ok(Some(Reached::Rows(None)))
    }

    /// Looks for rows without events in one page.
    async fn next_orphans(
        &self,
        segment: Segment,
        after: Option<String>,
        verification: &mut Verification,
    ) -> Result<Option<Reached>, VerifyError> {
        let page = self.orphans(segment, after).await?;
        for order_id in page.orphans {
            verification.tell(Difference::Orphan { order_id });
        }
        Ok(page.next.map(|order_id| Reached::Rows(Some(order_id))))
    }

    /// The orders among these whose row is not what the scanned events make.
    async fn suspects(&self, orders: &[OrderStream]) -> Result<Vec<OrderId>, VerifyError> {
        let rows = self.rows(orders).await?;
        let same = |order: &&OrderStream| match &order.commits {
            Ok(commits) => row_of(order.order_id, commits)
                .is_ok_and(|row| row.map(|(_, row)| row).as_ref() == rows.get(&order.order_id.to_string())),
            Err(_) => false,
        };
        Ok(orders.iter().filter(|order| !same(order)).map(|order| order.order_id).collect())
    }

    async fn rows(&self, orders: &[OrderStream]) -> Result<HashMap<String, RowItem>, VerifyError> {
        let mut rows = HashMap::new();
        let mut keys: Vec<RowItem> = orders.iter().map(|order| [row::key(order.order_id)].into()).collect();
        while !keys.is_empty() {
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).build();
            let wanted = wanted.map_err(|error| VerifyError::Rows(error.into()))?;
            let answer = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
            let answer = answer.map_err(|error| VerifyError::Rows(error.into()))?;
            for row in answer.responses.unwrap_or_default().into_values().flatten() {
                let order_id = row.get("order_id").and_then(|id| id.as_s().ok()).cloned();
                rows.extend(order_id.map(|order_id| (order_id, row)));
            }
            let mut left = answer.unprocessed_keys.unwrap_or_default();
            keys = left.remove(&self.table).map(|left| left.keys).unwrap_or_default();
        }
        Ok(rows)
    }

    /// The difference between one order's row and its events, both read strongly.
    async fn difference(&self, order_id: OrderId) -> Result<Option<Difference>, VerifyError> {
        // The row first: the events read after it are not older, and a row that is behind by then was behind before.
        let row = self.read_row(order_id).await?;
        let (events, expected) = match self.fold(order_id).await {
            Ok(folded) => folded.unzip(),
            Err(ProjectionError::Unprojectable { version, .. }) => {
                return Ok(Some(Difference::Unprojectable { order_id, version }));
            }
            Err(error) => return Err(error.into()),
        };
        let (Some(events), Some(expected)) = (events, expected) else { return Ok(None) };
        let Some(row) = row else { return Ok(Some(Difference::Missing { order_id })) };
        let version = row.get("version").and_then(|version| version.as_n().ok()?.parse().ok());
        if version != Some(events) {
            return Ok(Some(Difference::Version { order_id, row: version, events }));
        }
        let attributes = differing(&row, &expected);
        Ok(Some(Difference::Attributes { order_id, attributes }).filter(|_| row != expected))
    }
}

impl Verification {
    fn tell(&mut self, difference: Difference) {
        tracing::warn!(?difference, "row differs from its events");
        self.different += 1;
        if self.differences.len() < LISTED {
            self.differences.push(difference);
        }
    }
}

/// The names of the attributes that two rows do not share.
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
    fn all_differences_are_counted_and_the_first_100_are_listed() {
        let mut verification = Verification::default();
        for n in 0..250 {
            let order_id = OrderId(uuid::Uuid::from_u128(n));
            verification.tell(Difference::Version { order_id, row: None, events: 1 });
        }
        assert_eq!((verification.different, verification.differences.len()), (250, LISTED));
    }

    #[test]
    fn attributes_that_differ_are_named_whichever_side_they_are_on() {
        let row = |pairs: &[(&str, &str)]| -> RowItem {
            pairs.iter().map(|(name, value)| ((*name).into(), AttributeValue::S((*value).into()))).collect()
        };
        let damaged = row(&[("same", "1"), ("changed", "1"), ("added", "1")]);
        let expected = row(&[("same", "1"), ("changed", "2"), ("lost", "1")]);
        assert_eq!(differing(&damaged, &expected), ["added", "changed", "lost"].map(String::from).into());
        assert!(differing(&expected, &expected).is_empty());
    }
}
