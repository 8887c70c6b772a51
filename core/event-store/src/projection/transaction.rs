//! Rows that count, written together with the totals that they count in.
//!
//! Each row and the totals change in one `TransactWriteItems`, so whatever is lost, repeated or cut off, the totals are the
//! sum of what the rows count. The rows of a batch share transactions: the totals are then written once for many rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use tokio::sync::oneshot;

use super::counts::Counters;
use super::error::ProjectionError;
use super::state::{Condition, RowState};
use super::totals;
use super::write::{Action, RowWrite, Written, not_written};

/// The most actions of a transaction (DynamoDB API reference, `TransactWriteItems`).
const MAX_ACTIONS: usize = 100;
/// The most rows that share a transaction: one that is cancelled is paid for all of them.
const MAX_ROWS: usize = 25;
/// How often a transaction that met others on the same totals is tried.
const MAX_ATTEMPTS: u32 = 8;
/// The longest wait before the second attempt; each one after may be twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// The rows that wait to be written, in the order in which they came. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Transactions {
    table: String,
    line: Arc<Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<VecDeque<Waiting>>,
    /// Held by the one who writes for all.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    write: RowWrite,
    answer: oneshot::Sender<Written>,
}

/// Why none of several rows was written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the transaction of rows and totals was not made")]
struct NotMade(#[source] Arc<SdkError<TransactWriteItemsError>>);

impl Transactions {
    /// With totals in this table.
    pub fn new(table: String) -> Self {
        Self { table, line: Arc::default() }
    }

    /// The table of the totals.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Writes a row and its totals, together with the others that wait.
    pub async fn commit(&self, client: &Client, write: RowWrite) -> Written {
        let refused = match write.counts.totals().len() {
            MAX_ACTIONS.. => Some("it changes more totals than a transaction may"),
            _ if !write.counts.totals().all(totals::is_writable) => {
                Some("a total or counter has a name that cannot be")
            }
            _ => None,
        };
        if let Some(reason) = refused {
            return Err(ProjectionError::unprojectable(write.version, reason, reason));
        }
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push_back(Waiting { write, answer });
        // The other rows of the batch get in line first.
        tokio::task::yield_now().await;
        let _turn = self.line.turn.lock().await;
        loop {
            match answered.try_recv() {
                Ok(written) => return written,
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(ProjectionError::unavailable("whoever wrote the row for others as well was stopped"));
                }
                Err(oneshot::error::TryRecvError::Empty) => self.run(client, self.next_group()).await,
            }
        }
    }

    /// The rows that come next and fit into a transaction: the first that waits at least.
    fn next_group(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let (mut group, mut totals): (Vec<Waiting>, _) = (Vec::new(), BTreeSet::new());
        while let Some(next) = waiting.pop_front() {
            // Whoever waited for it has gone, and has it given again.
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

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.line.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the rows of a group, and answers each.
    async fn run(&self, client: &Client, mut group: Vec<Waiting>) {
        let (mut wait, mut cancelled) = (FIRST_WAIT, String::new());
        for _ in 0..MAX_ATTEMPTS {
            if group.is_empty() {
                return;
            }
            let actions = match self.actions(&group) {
                Ok(actions) => actions,
                Err(error) => return answer_all(group, |_| ProjectionError::unavailable(error.to_string())),
            };
            let Err(error) = client.transact_write_items().set_transact_items(Some(actions)).send().await else {
                return group.into_iter().for_each(|row| row.answer(Ok(None)));
            };
            let before = group.len();
            group = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(exception)) => {
                    cancelled = exception.message().unwrap_or_default().to_owned();
                    sort_out(group, exception.cancellation_reasons())
                }
                // What is invalid about one of them is not the others' affair.
                Some(invalid) if invalid.code() == Some("ValidationException") => {
                    let message = invalid.message().map(str::to_owned);
                    let error = NotMade(error.into());
                    if before == 1 {
                        return answer_all(group, |row| {
                            not_written(row.version, true, message.as_deref(), error.clone().into())
                        });
                    }
                    for row in group {
                        Box::pin(self.run(client, vec![row])).await;
                    }
                    return;
                }
                _ => {
                    let error = NotMade(error.into());
                    return answer_all(group, |_| ProjectionError::unavailable(error.clone()));
                }
            };
            if group.len() == before {
                tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
                wait *= 2;
            }
        }
        answer_all(group, |_| ProjectionError::unavailable(format!("every transaction was cancelled: {cancelled}")));
    }

    /// The rows first, in their order, then the totals.
    fn actions(&self, group: &[Waiting]) -> Result<Vec<TransactWriteItem>, BuildError> {
        let mut totals: BTreeMap<&String, Counters> = BTreeMap::new();
        let mut actions = Vec::with_capacity(group.len() + 1);
        for Waiting { write, .. } in group {
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
        // A total whose counters stay as they are is written all the same: it tells that rows have changed under it.
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
        let Self { table, key, action, condition: Condition { text: condition, names, values }, .. } = self;
        let (names, values) = (Some(names.clone()), Some(values.clone()).filter(|values| !values.is_empty()));
        let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
        let item = TransactWriteItem::builder();
        Ok(match action {
            Action::Put(row) => {
                let put = Put::builder().table_name(table).set_item(Some(row.clone())).condition_expression(condition);
                let put = put.set_expression_attribute_names(names).set_expression_attribute_values(values);
                item.put(put.return_values_on_condition_check_failure(all_old).build()?)
            }
            Action::Update(update) => {
                let request = Update::builder().table_name(table).set_key(Some(key.clone())).update_expression(update);
                let request = request.condition_expression(condition).set_expression_attribute_names(names);
                let request = request.set_expression_attribute_values(values);
                item.update(request.return_values_on_condition_check_failure(all_old).build()?)
            }
            Action::Delete => {
                let delete =
                    Delete::builder().table_name(table).set_key(Some(key.clone())).condition_expression(condition);
                let delete = delete.set_expression_attribute_names(names).set_expression_attribute_values(values);
                item.delete(delete.return_values_on_condition_check_failure(all_old).build()?)
            }
        }
        .build())
    }
}

impl Waiting {
    /// Whoever asked may have gone by now.
    fn answer(self, written: Written) {
        drop(self.answer.send(written));
    }
}

fn answer_all(group: Vec<Waiting>, error: impl Fn(&RowWrite) -> ProjectionError) {
    for row in group {
        let error = error(&row.write);
        row.answer(Err(error));
    }
}

/// Answers the rows that a transaction was cancelled for; the others can be tried again without them.
fn sort_out(group: Vec<Waiting>, reasons: &[CancellationReason]) -> Vec<Waiting> {
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
