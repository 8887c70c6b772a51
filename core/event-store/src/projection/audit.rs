//! Auditing totals against the sum of their rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tokio::time::{Instant, sleep};

use super::Projection;
use super::counts::{Counters, Counts};
use super::error::ProjectionError;
use super::model::{COUNTED, ReadModel};
use super::totals::{CHANGES, Total, Totals, addition};
use super::transaction::Transactions;
use crate::scan::Segment;

/// How long the parts of a transaction may become visible one after the other.
const COMMIT_TIME: Duration = Duration::from_secs(2);

/// The result of an audit.
#[derive(Debug, Default)]
pub(super) struct Audited {
    /// Totals that differ from the sum of the rows' counts.
    pub wrong: Vec<WrongTotal>,
    /// Totals that were not compared: they changed meanwhile, cannot be read, or the deadline passed.
    pub unsettled: u64,
}

/// A total that differs from the sum of the rows' counts.
#[derive(Debug)]
pub(super) struct WrongTotal {
    pub name: String,
    /// The sum of the rows' counts.
    pub rows: Counters,
    /// The stored total.
    pub total: Total,
}

impl<M: ReadModel> Projection<M> {
    /// The totals, in the segment that audits them; `None` in others, or if the rows do not count.
    pub(super) fn audited_totals(&self, segment: Segment) -> Option<Totals> {
        let totals = self.totals.as_ref().filter(|_| segment.is_first())?;
        Some(Totals::new(self.client.clone(), totals.table()))
    }

    /// Compares all totals with all rows in one run, which holds a few hundred bytes per total.
    ///
    /// It sums up the counts of all rows by a consistent read. A total that no transaction has changed from before the
    /// first row was read until after the last must equal that sum. The others are being written and are left for
    /// another run.
    pub(super) async fn audit(&self, totals: &Totals, deadline: Instant) -> Result<Audited, ProjectionError> {
        let (before, _) = totals.all().await.map_err(ProjectionError::unavailable)?;
        sleep(COMMIT_TIME).await;
        let Some(rows) = self.sum_of_rows(deadline).await? else {
            return Ok(Audited { unsettled: before.len() as u64, ..Audited::default() });
        };
        let (now, damaged) = totals.all().await.map_err(ProjectionError::unavailable)?;
        let mut audited = compare(&before, &rows, now, &damaged);
        if !audited.wrong.is_empty() {
            // A total that has changed by now was being written when the last row was read.
            sleep(COMMIT_TIME).await;
            let (later, _) = totals.all().await.map_err(ProjectionError::unavailable)?;
            let changed =
                |wrong: &WrongTotal| later.get(&wrong.name).is_some_and(|total| total.changes != wrong.total.changes);
            let found = audited.wrong.len();
            audited.wrong.retain(|wrong| !changed(wrong));
            audited.unsettled += (found - audited.wrong.len()) as u64;
        }
        Ok(audited)
    }

    /// The sum of all rows' counts; `None` if the deadline passed first.
    async fn sum_of_rows(&self, deadline: Instant) -> Result<Option<Counts>, ProjectionError> {
        let (mut sum, mut after) = (Counts::default(), None);
        loop {
            let page = self.rows_page(Segment::WHOLE, after, &[M::KEY, COUNTED], true).await?;
            for row in &page.rows {
                match Counts::read(row.get(COUNTED)) {
                    Ok(counts) => sum.add_all(&counts),
                    Err(error) => {
                        let stream_id = Self::stream_of(row).map(|stream| stream.to_string());
                        tracing::error!(model = M::NAME, stream_id, %error, "a row could not be added to the sum");
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(Some(sum));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }
}

fn compare(
    before: &BTreeMap<String, Total>,
    rows: &Counts,
    mut now: BTreeMap<String, Total>,
    damaged: &BTreeSet<String>,
) -> Audited {
    let mut rows: BTreeMap<_, _> = rows.totals().map(|(name, counters)| (name.clone(), counters.clone())).collect();
    let names: BTreeSet<String> =
        now.keys().chain(rows.keys()).filter(|name| !damaged.contains(*name)).cloned().collect();
    let mut audited = Audited { unsettled: damaged.len() as u64, ..Audited::default() };
    for name in names {
        let (total, rows) = (now.remove(&name).unwrap_or_default(), rows.remove(&name).unwrap_or_default());
        if total.changes != before.get(&name).map_or(0, |total| total.changes) {
            audited.unsettled += 1;
        } else if total.counters != rows {
            audited.wrong.push(WrongTotal { name, rows, total });
        }
    }
    audited
}

impl Transactions {
    /// Adds the difference to a total, unless it was corrected concurrently. Returns whether it did. The difference
    /// does not depend on what is counted meanwhile.
    pub(super) async fn correct(
        &self,
        client: &aws_sdk_dynamodb::Client,
        wrong: &WrongTotal,
    ) -> Result<bool, ProjectionError> {
        let mut missing = wrong.rows.clone();
        for (counter, n) in &wrong.total.counters {
            let difference = missing.entry(counter.clone()).or_default();
            *difference = difference.saturating_sub(*n);
        }
        missing.retain(|_, n| *n != 0);
        let addition = addition(self.table(), 0, &wrong.name, &missing).map_err(ProjectionError::unavailable)?;
        let request = client
            .update_item()
            .table_name(addition.table_name)
            .set_key(Some(addition.key))
            .update_expression(addition.update_expression)
            .set_expression_attribute_names(addition.expression_attribute_names)
            .set_expression_attribute_values(addition.expression_attribute_values)
            .expression_attribute_names("#changes", CHANGES);
        let request = match wrong.total.changes_of_first_shard {
            0 => request.condition_expression("attribute_not_exists(#changes)"),
            changes => request
                .condition_expression("#changes = :changes")
                .expression_attribute_values(":changes", AttributeValue::N(changes.to_string())),
        };
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(ProjectionError::unavailable(error)),
        }
    }
}
