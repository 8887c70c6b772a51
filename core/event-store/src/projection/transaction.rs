//! Writing rows that count together with their totals.
//!
//! A row and its totals change in one `TransactWriteItems`, so the totals are always the sum of the rows' counts. The
//! rows of a batch share transactions, which then write the totals once for many rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, Delete, Put, TransactWriteItem, Update};
use tokio::sync::oneshot;

use super::counts::Counters;
use super::error::ProjectionError;
use super::state::{RowState, on_condition};
use super::totals;
use super::write::{Action, RowWrite, Written, not_written};

/// The most actions of a transaction (DynamoDB API reference, `TransactWriteItems`).
const MAX_ACTIONS: usize = 100;
/// The most rows per transaction: a cancelled one is charged for all of them.
const MAX_ROWS: usize = 25;
/// How often a transaction is tried that conflicts with others on the same totals.
const MAX_ATTEMPTS: u32 = 8;
/// The longest wait before the second attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// A queue of rows to be written. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Transactions {
    table: String,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<QueuedWrite>>,
    /// Held by the task that writes for all.
    writer: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct QueuedWrite {
    write: RowWrite,
    answer: oneshot::Sender<Written>,
}

/// None of several rows was written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the transaction of rows and totals failed")]
struct TransactionFailed(#[source] Arc<SdkError<TransactWriteItemsError>>);

impl Transactions {
    /// With totals in this table.
    pub fn new(table: String) -> Self {
        Self { table, queue: Arc::default() }
    }

    /// The table of the totals.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Writes a row and its totals, together with other rows in the queue.
    pub async fn commit(&self, client: &Client, write: RowWrite) -> Written {
        let refused = match write.counts.totals().len() {
            MAX_ACTIONS.. => Some("the row changes more totals than a transaction can"),
            _ if !write.counts.totals().all(totals::is_writable) => Some("a total or counter has an invalid name"),
            _ => None,
        };
        if let Some(reason) = refused {
            return Err(ProjectionError::unprojectable(write.version, reason, reason));
        }
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push_back(QueuedWrite { write, answer });
        // Lets the other rows of the batch enter the queue.
        tokio::task::yield_now().await;
        let _writer = self.queue.writer.lock().await;
        loop {
            match answered.try_recv() {
                Ok(written) => return written,
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(ProjectionError::unavailable("the task that wrote the row was cancelled"));
                }
                Err(oneshot::error::TryRecvError::Empty) => self.run(client, self.next_group()).await,
            }
        }
    }

    /// The next rows that fit into a transaction, at least one.
    fn next_group(&self) -> Vec<QueuedWrite> {
        let mut waiting = self.waiting();
        let (mut group, mut totals): (Vec<QueuedWrite>, _) = (Vec::new(), BTreeSet::new());
        while let Some(next) = waiting.pop_front() {
            // Its caller was cancelled and will retry.
            if next.answer.is_closed() {
                continue;
            }
            let twice = group.iter().any(|other| other.write.key == next.write.key);
            totals.extend(next.write.counts.totals().map(|(name, _)| name.clone()));
            if !group.is_empty() && (twice || group.len() + 1 + totals.len() > MAX_ACTIONS) {
                waiting.push_front(next);
                break;
            }
            group.push(next);
            if group.len() == MAX_ROWS {
                break;
            }
        }
        group
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<QueuedWrite>> {
        self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the rows of a group and reports the result of each.
    async fn run(&self, client: &Client, mut group: Vec<QueuedWrite>) {
        let (mut wait, mut cancelled) = (FIRST_WAIT, String::new());
        for _ in 0..MAX_ATTEMPTS {
            if group.is_empty() {
                return;
            }
            let actions = match self.actions(&group) {
                Ok(actions) => actions,
                Err(error) => return fail_all(group, |_| ProjectionError::unavailable(error.to_string())),
            };
            let Err(error) = client.transact_write_items().set_transact_items(Some(actions)).send().await else {
                return group.into_iter().for_each(|row| row.answer(Ok(None)));
            };
            let before = group.len();
            group = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(exception)) => {
                    cancelled = exception.message().unwrap_or_default().to_owned();
                    without_failed(group, exception.cancellation_reasons())
                }
                // One invalid row must not fail the others.
                Some(invalid) if invalid.code() == Some("ValidationException") => {
                    let message = invalid.message().map(str::to_owned);
                    let error = TransactionFailed(error.into());
                    if before == 1 {
                        return fail_all(group, |row| {
                            not_written(row.version, true, message.as_deref(), error.clone().into())
                        });
                    }
                    for row in group {
                        Box::pin(self.run(client, vec![row])).await;
                    }
                    return;
                }
                _ => {
                    let error = TransactionFailed(error.into());
                    return fail_all(group, |_| ProjectionError::unavailable(error.clone()));
                }
            };
            if group.len() == before {
                tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
                wait *= 2;
            }
        }
        fail_all(group, |_| {
            ProjectionError::unavailable(format!("every attempt of the transaction was cancelled: {cancelled}"))
        });
    }

    /// The rows in order, then the totals.
    fn actions(&self, group: &[QueuedWrite]) -> Result<Vec<TransactWriteItem>, BuildError> {
        let mut totals: BTreeMap<&String, Counters> = BTreeMap::new();
        let mut actions = Vec::with_capacity(group.len() + 1);
        for QueuedWrite { write, .. } in group {
            for (name, counters) in write.counts.totals() {
                let total = totals.entry(name).or_default();
                for (counter, n) in counters {
                    let sum = total.entry(counter.clone()).or_default();
                    *sum = sum.saturating_add(*n);
                }
            }
            actions.push(write.to_action()?);
        }
        let shard = totals::any_shard();
        // An unchanged total is written as well, to show the audit that its rows have changed.
        for (total, mut counters) in totals {
            counters.retain(|_, n| *n != 0);
            let update = totals::addition(&self.table, shard, total, &counters)?;
            actions.push(TransactWriteItem::builder().update(update).build());
        }
        Ok(actions)
    }
}

impl RowWrite {
    fn to_action(&self) -> Result<TransactWriteItem, BuildError> {
        let Self { table, key, action, condition, .. } = self;
        let (item, key, condition) = (TransactWriteItem::builder(), Some(key.clone()), condition.clone());
        let item = match action {
            Action::Put(row) => {
                let put = Put::builder().table_name(table).set_item(Some(row.clone()));
                item.put(on_condition!(put, condition).build()?)
            }
            Action::Update(update) => {
                let request = Update::builder().table_name(table).set_key(key).update_expression(update);
                item.update(on_condition!(request, condition).build()?)
            }
            Action::Delete => {
                let delete = Delete::builder().table_name(table).set_key(key);
                item.delete(on_condition!(delete, condition).build()?)
            }
        };
        Ok(item.build())
    }
}

impl QueuedWrite {
    /// Reports the result; its receiver may be gone.
    fn answer(self, written: Written) {
        drop(self.answer.send(written));
    }
}

fn fail_all(group: Vec<QueuedWrite>, error: impl Fn(&RowWrite) -> ProjectionError) {
    for row in group {
        let error = error(&row.write);
        row.answer(Err(error));
    }
}

/// Reports the errors of the rows that cancelled a transaction, and returns the others to retry.
fn without_failed(group: Vec<QueuedWrite>, reasons: &[CancellationReason]) -> Vec<QueuedWrite> {
    let mut rest = Vec::new();
    let mut reasons = reasons.iter();
    for row in group {
        let Some(reason) = reasons.next() else {
            rest.push(row);
            continue;
        };
        match reason.code() {
            Some("ConditionalCheckFailed") => {
                let found = RowState::of(reason.item().cloned());
                row.answer(Ok(Some(found)));
            }
            Some("ValidationError" | "ItemCollectionSizeLimitExceeded") => {
                let message = reason.message().unwrap_or("the row is invalid");
                let error = not_written(row.write.version, true, Some(message), message.into());
                row.answer(Err(error));
            }
            _ => rest.push(row),
        }
    }
    rest
}
