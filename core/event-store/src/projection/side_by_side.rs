//! Several read models on one stream that do not delay each other.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Projection;
use super::backlog::Backlog;
use super::batch::Projected;
use super::model::ReadModel;
use crate::error::chain;
use crate::stream_record::StreamRecord;

/// How long a failing model is retried with its batches, and its timeout per batch.
const RETRY_TIME: Duration = Duration::from_secs(10);
/// Failures further apart are unrelated.
const FAILURE_GAP: Duration = Duration::from_secs(60);
/// The timeout per batch for a model that has failed for longer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Projects batches to several read models.
///
/// While a model fails briefly, the batch is retried for all; each skips what it has. If it keeps failing while another
/// model succeeds, its streams are recorded in the [`Backlog`] and the batch is done. While all models fail, the batch
/// is retried.
#[derive(Debug)]
pub struct ReadModelGroup {
    backlog: Backlog,
    /// The failing models.
    failing: Mutex<BTreeMap<&'static str, Failing>>,
}

/// A model that fails, with at most [`FAILURE_GAP`] between two failures.
#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    last: Instant,
}

/// The result of one model for a batch.
#[derive(Debug)]
pub struct ModelResult {
    model: &'static str,
    /// The projection's result.
    pub projected: Projected,
    /// Whether it has failed for so long that the batch is not retried for it.
    skipped: bool,
}

/// The result of a batch for all models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupResult {
    /// The first record to retry, with all that follow; `None` if the batch is done.
    pub retry_from: Option<String>,
    /// Streams recorded in the backlog.
    pub noted: u64,
}

impl ReadModelGroup {
    /// A group with this backlog.
    pub fn new(backlog: Backlog) -> Self {
        Self { backlog, failing: Mutex::default() }
    }

    /// Projects a batch to one model.
    pub async fn project<M: ReadModel>(&self, projection: &Projection<M>, batch: Vec<StreamRecord>) -> ModelResult {
        let timeout = if self.is_skipped(M::NAME) { PROBE_TIMEOUT } else { RETRY_TIME };
        let first = batch.first().map(|record| record.sequence_number.clone());
        let all = projection.streams_of(&batch);
        let projected = tokio::time::timeout(timeout, projection.project(batch)).await.unwrap_or_else(|_| {
            tracing::warn!(model = M::NAME, "projecting a batch timed out");
            Projected { retry_from: first, behind: all, ..Projected::default() }
        });
        let (mut failing, now) = (self.failing(), Instant::now());
        failing.retain(|_, failing| now.duration_since(failing.last) <= FAILURE_GAP);
        if projected.retry_from.is_some() {
            failing.entry(M::NAME).or_insert(Failing { since: now, last: now }).last = now;
        }
        drop(failing);
        let skipped = projected.retry_from.is_some() && self.is_skipped(M::NAME);
        ModelResult { model: M::NAME, projected, skipped }
    }

    /// Combines the results of all models.
    pub async fn combine(&self, results: &[ModelResult]) -> GroupResult {
        let failed = || results.iter().filter(|result| result.projected.retry_from.is_some());
        // Sequence numbers are decimal numbers (DynamoDB Streams API reference, `StreamRecord`).
        let earliest = failed().filter_map(|result| result.projected.retry_from.clone());
        let retry_from = earliest.min_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
        let held_up = failed().count() < results.len();
        if retry_from.is_none() || !held_up || failed().any(|result| !result.skipped) {
            return GroupResult { retry_from, noted: 0 };
        }
        let mut noted = 0;
        for ModelResult { model, projected, .. } in failed() {
            if let Err(error) = self.backlog.record(model, &projected.behind).await {
                tracing::error!(model, error = chain(&error), "the backlog could not be recorded");
                return GroupResult { retry_from, noted };
            }
            noted += projected.behind.len() as u64;
        }
        GroupResult { retry_from: None, noted }
    }

    /// Whether a model has failed for so long that batches are not retried for it. Successful batches of other shards
    /// do not reset this.
    fn is_skipped(&self, model: &str) -> bool {
        self.failing().get(model).is_some_and(|failing| failing.since.elapsed() >= RETRY_TIME)
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<&'static str, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
