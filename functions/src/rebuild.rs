//! `rebuild-orders`: makes rows anew, of one order or of a segment of all.

use std::time::Duration;

use lambda_runtime::{Context, Diagnostic};
use orders_core::event_store::{EventStore, Segment, Version};
use orders_core::order::{Order, OrderId};
use orders_core::read_model::{Progress, ProjectionError, Projector, RebuildError, Verification, VerifyError};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::deadline::deadline;
use crate::failure;

/// What is kept of the function's time to answer.
const RESERVE: Duration = Duration::from_secs(2);

/// What is to be rebuilt. Give the answer's `progress` back until it is `done`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Rebuild {
    /// The row of one order: repair it, and unpark it.
    Order(OneOrder),
    /// The rows of a segment.
    Segment(OneSegment<Progress>),
}

/// One order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneOrder {
    /// The order.
    pub order_id: OrderId,
}

/// One segment of the event table, and how far it is done.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OneSegment<P> {
    /// Which, from 0.
    pub segment: u32,
    /// Of how many.
    pub total_segments: u32,
    /// The table to write, if it is not the one that is read from: a new one for a changed form of rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The answer of the run before; none in the first.
    #[serde(default = "Option::default")]
    pub progress: Option<P>,
}

/// The answer: for a segment what to give to the next run.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Rebuilt {
    /// One order's row is at this version; none if the order has no events.
    Order {
        /// The order.
        order_id: OrderId,
        /// The row's version now.
        version: Option<Version>,
    },
    /// How far the segment is done.
    Segment(OneSegment<Progress>),
}

/// A run that did not come to an end. What it wrote holds; the same run again is safe.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such segment.
    #[error("segment {segment} of {total_segments}: there are 1 to 1,000,000 segments, and they count from 0")]
    NoSuchSegment {
        /// Which was asked for.
        segment: u32,
        /// Of how many.
        total_segments: u32,
    },
    /// The order could not be repaired.
    #[error(transparent)]
    Repair(#[from] ProjectionError),
    /// The segment could not be rebuilt.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The segment could not be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl From<RunError> for Diagnostic {
    fn from(error: RunError) -> Self {
        failure::diagnostic("RunError", &error)
    }
}

/// Rebuilds and verifies rows.
#[derive(Clone, Debug)]
pub struct Maintenance {
    client: aws_sdk_dynamodb::Client,
    events: EventStore<Order>,
    orders_table: String,
}

impl Maintenance {
    /// On the tables that the configuration names.
    pub fn new(config: &Config, client: aws_sdk_dynamodb::Client) -> Self {
        let events = EventStore::new(client.clone(), &config.order_events_table, config.snapshot_every);
        Self { client, events, orders_table: config.orders_table.clone() }
    }

    /// Repairs an order, or goes on with a segment as far as the function's time suffices.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn rebuild(&self, rebuild: Rebuild, context: &Context) -> Result<Rebuilt, RunError> {
        match rebuild {
            Rebuild::Order(OneOrder { order_id }) => {
                let version = self.projector(None).repair(order_id).await?;
                tracing::info!(%order_id, version, "order repaired");
                Ok(Rebuilt::Order { order_id, version })
            }
            Rebuild::Segment(mut run) => {
                let (segment, deadline) = (run.check()?, deadline(context, RESERVE));
                let progress = run.progress.take().unwrap_or_default();
                let progress = self.projector(run.table.as_deref()).rebuild(segment, progress, deadline).await?;
                tracing::info!(?segment, ?progress, "segment rebuilt so far");
                Ok(Rebuilt::Segment(OneSegment { progress: Some(progress), ..run }))
            }
        }
    }

    /// Compares the rows of a segment with their events, as far as the function's time suffices.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn verify(
        &self,
        mut run: OneSegment<Verification>,
        context: &Context,
    ) -> Result<OneSegment<Verification>, RunError> {
        let (segment, deadline) = (run.check()?, deadline(context, RESERVE));
        let verification = run.progress.take().unwrap_or_default();
        let verification = self.projector(run.table.as_deref()).verify(segment, verification, deadline).await?;
        tracing::info!(?segment, orders = verification.orders, different = verification.different, "segment verified");
        Ok(OneSegment { progress: Some(verification), ..run })
    }

    fn projector(&self, table: Option<&str>) -> Projector {
        Projector::new(self.client.clone(), table.unwrap_or(&self.orders_table), self.events.clone())
    }
}

impl<P> OneSegment<P> {
    fn check(&self) -> Result<Segment, RunError> {
        let Self { segment, total_segments, .. } = *self;
        match segment < total_segments && total_segments <= 1_000_000 {
            true => Ok(Segment { segment, total_segments }),
            false => Err(RunError::NoSuchSegment { segment, total_segments }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(event: Value) -> Result<Rebuild, String> {
        serde_json::from_value(event).map_err(|error| error.to_string())
    }

    #[test]
    fn an_order_or_a_segment_can_be_asked_for() {
        let order_id = "0190a1b2-0000-7000-8000-000000000001";
        assert!(matches!(read(json!({ "order_id": order_id })), Ok(Rebuild::Order(_))));
        let first = read(json!({ "segment": 0, "total_segments": 4 }));
        assert!(matches!(first, Ok(Rebuild::Segment(OneSegment { progress: None, table: None, .. }))), "{first:?}");
        for event in [json!({}), json!({ "order_id": "seven" }), json!({ "segment": -1, "total_segments": 4 })] {
            assert!(read(event.clone()).is_err(), "{event}");
        }
    }

    #[test]
    fn the_answer_is_what_the_next_run_takes() {
        let progress = Progress { orders: 7, ..Progress::default() };
        let answer =
            Rebuilt::Segment(OneSegment { segment: 1, total_segments: 4, table: None, progress: Some(progress) });
        let next = read(serde_json::to_value(&answer).unwrap());
        assert!(
            matches!(next, Ok(Rebuild::Segment(OneSegment { progress: Some(Progress { orders: 7, .. }), .. }))),
            "{next:?}"
        );
    }

    #[test]
    fn a_segment_that_cannot_be_is_refused() {
        for (segment, total_segments) in [(0, 0), (4, 4), (0, 1_000_001)] {
            let run = OneSegment::<Progress> { segment, total_segments, table: None, progress: None };
            assert!(matches!(run.check(), Err(RunError::NoSuchSegment { .. })), "{segment} of {total_segments}");
        }
        let last = OneSegment::<Progress> { segment: 3, total_segments: 4, table: None, progress: None };
        assert_eq!(last.check().unwrap(), Segment { segment: 3, total_segments: 4 });
    }
}
