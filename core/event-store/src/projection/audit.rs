//! Holding totals against the rows that they are the sum of.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use super::Projection;
use super::counts::{Counters, Counts};
use super::error::ProjectionError;
use super::model::{COUNTED, ReadModel};
use super::totals::{CHANGES, Totals, addition};
use super::transaction::Transactions;
use crate::scan::Segment;
use crate::stream_id::StreamId;

/// Where a comparison of totals with rows stands.
///
/// All rows are read, strongly, and what they count is added up. A total that no transaction has changed from before the
/// first row was read until after the last has to be that sum. The others are being written, and are left for another time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// How often each total had changed when it began.
    changes: BTreeMap<String, u64>,
    /// What the rows count, as far as they were read.
    counted: Counts,
    /// The last row that was read.
    after: Option<StreamId>,
}

/// How a comparison of totals with rows ended.
#[derive(Debug, Default)]
pub(super) struct Audited {
    /// Totals that are not the sum of what the rows count.
    pub wrong: Vec<WrongTotal>,
    /// Totals that changed meanwhile.
    pub unsettled: u64,
}

/// A total that is not the sum of what the rows count.
#[derive(Debug)]
pub(super) struct WrongTotal {
    pub name: String,
    /// The sum of what the rows count.
    pub rows: Counters,
    /// What the total says.
    pub total: Counters,
    /// How often the shard had changed that a correction goes to.
    changes: u64,
}

impl<M: ReadModel> Projection<M> {
    /// The table of totals, for the segment that looks at them; none if that is another one, or if the rows do not count.
    pub(super) fn audited_totals(&self, segment: Segment) -> Option<Totals> {
        let totals = self.totals.as_ref().filter(|_| segment.is_first())?;
        Some(Totals::new(self.client.clone(), totals.table()))
    }

    pub(super) async fn begin_audit(&self, totals: &Totals) -> Result<Audit, ProjectionError> {
        let all = totals.all().await.map_err(ProjectionError::unavailable)?;
        let changes = all.into_iter().map(|(name, total)| (name, total.changes)).collect();
        Ok(Audit { changes, ..Audit::default() })
    }

    /// Reads some more rows; after the last, the totals.
    pub(super) async fn audit(
        &self,
        totals: &Totals,
        mut audit: Audit,
    ) -> Result<Result<Audited, Audit>, ProjectionError> {
        let page = self.rows_page(Segment::WHOLE, audit.after.take(), Some(COUNTED), true).await?;
        for row in &page.rows {
            match Counts::read(row.get(COUNTED)) {
                Ok(counts) => audit.counted.add_all(&counts),
                Err(error) => tracing::error!(model = M::NAME, %error, "a row was left out of the sum"),
            }
        }
        if page.next.is_some() {
            return Ok(Err(Audit { after: page.next, ..audit }));
        }
        let mut now = totals.all().await.map_err(ProjectionError::unavailable)?;
        let mut rows: BTreeMap<_, _> =
            audit.counted.totals().map(|(name, each)| (name.clone(), each.clone())).collect();
        let names: BTreeSet<String> = now.keys().chain(rows.keys()).cloned().collect();
        let mut audited = Audited::default();
        for name in names {
            let (total, rows) = (now.remove(&name).unwrap_or_default(), rows.remove(&name).unwrap_or_default());
            if total.changes != audit.changes.get(&name).copied().unwrap_or_default() {
                audited.unsettled += 1;
            } else if total.counters != rows {
                let changes = total.changes_of_first_shard;
                audited.wrong.push(WrongTotal { name, rows, total: total.counters, changes });
            }
        }
        Ok(Ok(audited))
    }
}

impl Transactions {
    /// Adds what a total lacks, unless somebody has corrected it meanwhile. True if that was done.
    ///
    /// What it lacks does not depend on what else is counted in the meantime.
    pub(super) async fn correct(
        &self,
        client: &aws_sdk_dynamodb::Client,
        wrong: &WrongTotal,
    ) -> Result<bool, ProjectionError> {
        let mut lack = Counts::default();
        wrong.rows.iter().for_each(|(counter, n)| lack.add(&wrong.name, counter, *n));
        wrong.total.iter().for_each(|(counter, n)| lack.add(&wrong.name, counter, n.saturating_neg()));
        let Some((name, counters)) = lack.totals().next() else { return Ok(false) };
        let addition = addition(self.table(), 0, name, counters).map_err(ProjectionError::unavailable)?;
        let request = client
            .update_item()
            .table_name(addition.table_name)
            .set_key(Some(addition.key))
            .update_expression(addition.update_expression)
            .set_expression_attribute_names(addition.expression_attribute_names)
            .set_expression_attribute_values(addition.expression_attribute_values)
            .expression_attribute_names("#changes", CHANGES);
        let request = match wrong.changes {
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
