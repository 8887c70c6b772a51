//! Several read models on one stream, of which none holds up the others.

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

/// How long a model that fails is waited for, by having its batches given again; and how long it may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// Failures that lie further apart have nothing to do with each other.
const SPELL: Duration = Duration::from_secs(60);
/// How long a model that has failed for longer may take for a batch.
const PROBE: Duration = Duration::from_secs(1);

/// What several read models made of one batch.
///
/// While a model fails for a moment, the batch is given again, to all: each passes over what it has. A model that goes on
/// failing while another one does its work is no longer waited for: what it cannot do is noted in the [`Backlog`], and the
/// batch is done. While all fail, the batch is given again, since none is held up by another.
#[derive(Debug)]
pub struct ReadModelGroup {
    backlog: Backlog,
    /// The models that fail.
    failing: Mutex<BTreeMap<&'static str, Failing>>,
}

/// A model fails: since the first time, with no more than [`SPELL`] between two times.
#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    last: Instant,
}

/// What one model made of a batch.
#[derive(Debug)]
pub struct ModelResult {
    model: &'static str,
    /// How it went.
    pub projected: Projected,
    /// It has failed for so long that it is not waited for.
    given_up: bool,
}

/// What is left to do with a batch that several models took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupResult {
    /// The first record that is to be given again, with all that follow it; `None` if the batch is done.
    pub retry_from: Option<String>,
    /// Streams that were noted in the backlog.
    pub noted: u64,
}

impl ReadModelGroup {
    /// With a backlog for what is left behind.
    pub fn new(backlog: Backlog) -> Self {
        Self { backlog, failing: Mutex::default() }
    }

    /// Has a model take a batch.
    pub async fn take<M: ReadModel>(&self, projection: &Projection<M>, batch: Vec<StreamRecord>) -> ModelResult {
        let patience = if self.is_given_up(M::NAME) { PROBE } else { PATIENCE };
        let first = batch.first().map(|record| record.sequence_number.clone());
        let all = projection.streams_of(&batch);
        let projected = tokio::time::timeout(patience, projection.project(batch)).await.unwrap_or_else(|_| {
            tracing::warn!(model = M::NAME, "a batch took too long");
            Projected { retry_from: first, behind: all, ..Projected::default() }
        });
        let (mut failing, now) = (self.failing(), Instant::now());
        failing.retain(|_, failing| now.duration_since(failing.last) <= SPELL);
        if projected.retry_from.is_some() {
            failing.entry(M::NAME).or_insert(Failing { since: now, last: now }).last = now;
        }
        drop(failing);
        let given_up = projected.retry_from.is_some() && self.is_given_up(M::NAME);
        ModelResult { model: M::NAME, projected, given_up }
    }

    /// Settles a batch that all models have taken.
    pub async fn settle(&self, all: &[ModelResult]) -> GroupResult {
        let failed = || all.iter().filter(|taken| taken.projected.retry_from.is_some());
        // Sequence numbers are numbers in decimal (DynamoDB Streams API reference, `StreamRecord`).
        let earliest = failed().filter_map(|taken| taken.projected.retry_from.clone());
        let retry_from = earliest.min_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
        let held_up = failed().count() < all.len();
        if retry_from.is_none() || !held_up || failed().any(|taken| !taken.given_up) {
            return GroupResult { retry_from, noted: 0 };
        }
        let mut noted = 0;
        for ModelResult { model, projected, .. } in failed() {
            if let Err(error) = self.backlog.note(model, &projected.behind).await {
                tracing::error!(model, error = chain(&error), "what is behind could not be noted");
                return GroupResult { retry_from, noted };
            }
            noted += projected.behind.len() as u64;
        }
        GroupResult { retry_from: None, noted }
    }

    /// Whether a model has failed for so long that it is not waited for. Batches of another shard, which may be well, do not
    /// matter.
    fn is_given_up(&self, model: &str) -> bool {
        self.failing().get(model).is_some_and(|failing| failing.since.elapsed() >= PATIENCE)
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<&'static str, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
