//! The event table's stream, batch by batch, into the rows of the order table.

use std::collections::BTreeMap;

use futures::StreamExt;
use serde_dynamo::{AttributeValue, Item};

use super::error::{Cause, ProjectionError};
use crate::domain::event::OrderEvent;
use crate::domain::ids::OrderId;
use crate::domain::state::Order;
use crate::error::chain;
use dynamodb_event_store::client::is_refused;
use dynamodb_event_store::{Change, Commit, CommitError, EventStore, StreamRecord, Version};

/// How many orders of a batch are written at once.
const IN_FLIGHT: usize = 24;

/// Keeps the rows of orders, from the records of the event table's stream. Cheap to clone.
///
/// The order of records is not relied on, nor that each comes once, nor that it comes at all: a row is written on
/// condition of its version, skips what it has, and catches up from the event store on what it lacks.
#[derive(Clone, Debug)]
pub struct Projector {
    pub(super) client: aws_sdk_dynamodb::Client,
    pub(super) table: String,
    pub(super) events: EventStore<Order>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projected {
    /// The first record that is to be given again, with all that follow it; `None` if the batch is done.
    pub retry_from: Option<String>,
    /// How many orders of the batch have an event that stopped their row.
    pub parked: u64,
    /// How many orders DynamoDB refuses to have projected, whole or in part: somebody has to mend the deployment.
    pub refused: u64,
    /// How many records tell that a stored event was altered or deleted, or is none of an order.
    pub violations: u64,
}

/// The records of one order in a batch.
#[derive(Default)]
struct Received {
    /// The place in the batch of the first of them.
    earliest: usize,
    /// What each holds, by the version of its first event. A record that comes twice is here once.
    commits: BTreeMap<Version, Result<Commit<OrderEvent>, CommitError>>,
}

impl Received {
    /// How far a row has to be for an obstacle at `version` not to matter: past it if it was received, and past all
    /// that was received if it lies before.
    fn needed(&self, version: Version) -> Version {
        let all = self.commits.last_key_value().map_or(version, |(last, _)| *last);
        if self.commits.range(..=version).next().is_some() { version } else { all }
    }
}

impl Projector {
    /// A projector from `events` to the order table `table`.
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>, events: EventStore<Order>) -> Self {
        Self { client, table: table.into(), events }
    }

    /// Projects a batch: each order with one write, if nothing is missing; many orders at once.
    ///
    /// What can never be projected parks its order and counts as done, so that the other orders go on; what fails for
    /// now is to be given again.
    pub async fn project(&self, batch: Vec<StreamRecord>) -> Projected {
        let mut projected = Projected::default();
        let mut orders: BTreeMap<OrderId, Received> = BTreeMap::new();
        let mut sequence_numbers = Vec::with_capacity(batch.len());
        for (place, record) in batch.into_iter().enumerate() {
            sequence_numbers.push(record.sequence_number);
            match (place_of(&record.keys), record.change) {
                (Some((order_id, version)), Change::Inserted(image)) => {
                    let received = orders
                        .entry(order_id)
                        .or_insert_with(|| Received { earliest: place, commits: BTreeMap::new() });
                    received.commits.insert(version, Commit::from_item::<Order>(image));
                }
                (_, change) => {
                    projected.violations += 1;
                    let what = match change {
                        Change::Inserted(_) => "an item was added that is not of an order",
                        Change::Modified => "a stored event was altered",
                        Change::Removed => "a stored event was deleted",
                    };
                    tracing::error!(keys = ?record.keys, "{what}");
                }
            }
        }
        let ends = futures::stream::iter(orders).map(|(order_id, received)| async move {
            let earliest = received.earliest;
            (earliest, self.project_order(order_id, received).await)
        });
        let ends: Vec<_> = ends.buffer_unordered(IN_FLIGHT).collect().await;
        projected.parked = ends.iter().filter(|(_, end)| matches!(end, Ok(End::Parked { .. }))).count() as u64;
        let refused = |end: &Result<End, Failed>| {
            matches!(end, Ok(End::Parked { refused: true }) | Err(Failed { refused: true }))
        };
        projected.refused = ends.iter().filter(|(_, end)| refused(end)).count() as u64;
        let failed = ends.iter().filter(|(_, end)| end.is_err()).map(|(earliest, _)| *earliest).min();
        projected.retry_from = failed.map(|place| sequence_numbers.swap_remove(place));
        projected
    }

    async fn project_order(&self, order_id: OrderId, mut received: Received) -> Result<End, Failed> {
        loop {
            let Err(error) = self.follow_all(order_id, &received).await else { return Ok(End::Projected) };
            let error = match error {
                ProjectionError::Unprojectable { version, reason, source } => {
                    let past = received.needed(version);
                    match self.park(order_id, version, reason, past).await {
                        Ok(true) => {
                            let error = chain(&*source);
                            tracing::error!(%order_id, version, reason, error, "order parked");
                            return Ok(End::Parked { refused: is_refused(&*source) });
                        }
                        // A program that can read it was here before: what comes after it may still be missing.
                        Ok(false) => {
                            received.commits.retain(|first, _| *first > past);
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                error @ ProjectionError::Unavailable(_) => error,
            };
            let refused = is_refused(&error);
            match refused {
                true => tracing::error!(%order_id, error = chain(&error), "order not projected: DynamoDB refuses it"),
                false => tracing::warn!(%order_id, error = chain(&error), "order not projected for now"),
            }
            return Err(Failed { refused });
        }
    }

    /// Follows the commits in the order of their versions, as far as they can be read. Before one that cannot, the row
    /// gets everything that comes before it.
    async fn follow_all(&self, order_id: OrderId, received: &Received) -> Result<(), ProjectionError> {
        let readable: Vec<_> = received.commits.values().map_while(|commit| commit.as_ref().ok()).cloned().collect();
        for run in readable.chunk_by(|commit, next| commit.last() + 1 == next.first) {
            self.follow(order_id, run).await?;
        }
        let mut obstacles =
            received.commits.iter().filter_map(|(version, commit)| Some((*version, commit.as_ref().err()?)));
        let Some((version, error)) = obstacles.next() else { return Ok(()) };
        let unreadable = |source| Err(ProjectionError::unreadable(error.version().max(version), source));
        if readable.last().map_or(0, Commit::last) + 1 < version {
            match self.heal(order_id, version - 1).await {
                // The row is parked where it stands: others are not to wait until somebody has mended the deployment,
                // and a repair makes up for what it lacks.
                Err(error) if is_refused(&error) => return unreadable(Cause::from(error)),
                healed => healed?,
            }
        }
        unreadable(chain(error).into())
    }
}

/// How an order's part of a batch ended well.
enum End {
    Projected,
    Parked {
        /// DynamoDB refuses to have the row brought up to the event.
        refused: bool,
    },
}

/// An order's part of a batch is to be given again.
struct Failed {
    /// Not before somebody has mended the deployment.
    refused: bool,
}

/// The order and the version that a commit's key names.
fn place_of(keys: &Item) -> Option<(OrderId, Version)> {
    let (AttributeValue::S(stream), AttributeValue::N(version)) = (keys.get("stream_id")?, keys.get("version")?) else {
        return None;
    };
    let order_id: OrderId = stream.parse().ok()?;
    // Streams have one spelling; any other one is another stream.
    (order_id.to_string() == *stream).then_some(())?;
    Some((order_id, version.parse().ok().filter(|version| *version > 0)?))
}
