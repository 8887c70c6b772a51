//! Totals: sums over rows, in a table of their own.
//!
//! The attribute `counted` of a row holds its contributions to totals. Every write of such a row changes the totals in
//! the same transaction, on condition that the row counted what was read. So the totals are exactly the sum over all
//! rows, and each event counts once.
//!
//! A total is sharded over several items. A transaction writes to a random shard, so that a total over all rows takes
//! more writes than one item could. A reader adds the shards up.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ScalarAttributeType, Update};
use futures::future::try_join_all;

use super::counts::Counters;
use super::model::RowItem;
use crate::table::keyed_table;

/// The number of shards of a total.
const SHARDS: u8 = 16;
/// The attribute that counts the transactions of an item.
pub(super) const CHANGES: &str = "changes";

/// A table of totals, for reading. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Totals {
    client: Client,
    table: String,
}

/// The totals could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TotalsError {
    /// DynamoDB did not respond or responded with an error, after the SDK's retries. Retry later.
    #[error("the table of totals is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// Something else wrote to the table; it needs manual inspection.
    #[error("shard {shard} of the total {name} holds {attribute}, which is not an integer")]
    Damaged {
        /// The shard.
        shard: String,
        /// The total.
        name: String,
        /// The attribute.
        attribute: String,
    },
}

impl TotalsError {
    /// The damaged total.
    fn total(&self) -> Option<&str> {
        match self {
            Self::Damaged { name, .. } => Some(name),
            Self::Unavailable(_) => None,
        }
    }
}

/// A total at one point in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Its counters; those that are 0 are omitted.
    pub counters: Counters,
    /// The number of transactions. While it stays the same, so does the total.
    pub changes: u64,
    pub(super) changes_of_first_shard: u64,
}

impl Totals {
    /// The totals in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// All totals by a consistent read; of damaged ones only the names.
    pub(super) async fn all(&self) -> Result<(BTreeMap<String, Total>, BTreeSet<String>), TotalsError> {
        let (mut totals, mut damaged) = (BTreeMap::new(), BTreeSet::new());
        for (shard, items) in self.shards("\u{1}", "\u{10FFFF}", true).await?.into_iter().enumerate() {
            for item in items {
                match add(&mut totals, shard, item) {
                    Err(error @ TotalsError::Damaged { .. }) => {
                        tracing::error!(%error, "damaged total skipped");
                        damaged.extend(error.total().map(str::to_owned));
                    }
                    added => added?,
                }
            }
        }
        totals.retain(|name, _| !damaged.contains(name));
        Ok((totals, damaged))
    }

    /// The totals with names from `first` to `last`, in order. Totals that were never counted are omitted.
    ///
    /// Costs 16 concurrent queries, one per shard, and one more page per megabyte; half of that for an eventually
    /// consistent read.
    ///
    /// # Errors
    /// See [`TotalsError`].
    pub async fn between(
        &self,
        first: &str,
        last: &str,
        consistent: bool,
    ) -> Result<BTreeMap<String, Total>, TotalsError> {
        let mut totals: BTreeMap<String, Total> = BTreeMap::new();
        for (shard, items) in self.shards(first, last, consistent).await?.into_iter().enumerate() {
            items.into_iter().try_for_each(|item| add(&mut totals, shard, item))?;
        }
        Ok(totals)
    }

    async fn shards(&self, first: &str, last: &str, consistent: bool) -> Result<Vec<Vec<RowItem>>, TotalsError> {
        try_join_all((0..SHARDS).map(|shard| self.shard(shard, first, last, consistent))).await
    }

    async fn shard(&self, shard: u8, first: &str, last: &str, consistent: bool) -> Result<Vec<RowItem>, TotalsError> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#shard = :shard AND #name BETWEEN :first AND :last")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":shard", text(&shard.to_string()))
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(last))
            .consistent_read(consistent);
        let pages = query.into_paginator().items().send();
        pages.try_collect().await.map_err(|error| TotalsError::Unavailable(error.into()))
    }
}

/// Adds an item of a shard to its total.
fn add(totals: &mut BTreeMap<String, Total>, shard: usize, item: RowItem) -> Result<(), TotalsError> {
    let (name, counters, changes) = read(item)?;
    let total = totals.entry(name).or_default();
    for (counter, n) in counters {
        let sum = total.counters.entry(counter).or_default();
        *sum = sum.saturating_add(n);
    }
    total.counters.retain(|_, n| *n != 0);
    total.changes = total.changes.saturating_add(changes);
    if shard == 0 {
        total.changes_of_first_shard = changes;
    }
    Ok(())
}

/// Parses an item of a shard: the name, the counters, and the number of changes.
fn read(mut item: RowItem) -> Result<(String, Counters, u64), TotalsError> {
    let mut text = |attribute: &str| match item.remove(attribute) {
        Some(AttributeValue::S(text)) => text,
        _ => "?".into(),
    };
    let (shard, name) = (text("shard"), text("name"));
    let number = |(attribute, value): (String, AttributeValue)| match value.as_n().ok().and_then(|n| n.parse().ok()) {
        Some(n) => Ok((attribute, n)),
        None => Err(TotalsError::Damaged { shard: shard.clone(), name: name.clone(), attribute }),
    };
    let mut counters = item.into_iter().map(number).collect::<Result<Counters, _>>()?;
    let changes = counters.remove(CHANGES).and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
    Ok((name, counters, changes))
}

/// Whether the names are valid: neither empty nor reserved.
pub(super) fn is_writable((total, counters): (&String, &Counters)) -> bool {
    !total.is_empty() && counters.keys().all(|counter| !["", "shard", "name", CHANGES].contains(&counter.as_str()))
}

/// A random shard.
pub(super) fn any_shard() -> u8 {
    fastrand::u8(..SHARDS)
}

/// The update that adds to the counters of a total in one shard.
pub(super) fn addition(table: &str, shard: u8, total: &str, counters: &Counters) -> Result<Update, BuildError> {
    let mut update = Update::builder()
        .table_name(table)
        .key("shard", AttributeValue::S(shard.to_string()))
        .key("name", AttributeValue::S(total.to_owned()));
    let all = counters.iter().map(|(counter, n)| (counter.as_str(), *n)).chain([(CHANGES, 1)]);
    let mut add = Vec::new();
    for (place, (counter, n)) in all.enumerate() {
        add.push(format!("#{place} :{place}"));
        update = update
            .expression_attribute_names(format!("#{place}"), counter)
            .expression_attribute_values(format!(":{place}"), AttributeValue::N(n.to_string()));
    }
    update.update_expression(format!("ADD {}", add.join(","))).build()
}

/// The request that creates a table of totals, to be sent as it is or with more settings.
///
/// The key is `shard` (S) and `name` (S), billed on demand.
///
/// # Errors
/// The SDK rejects the definition; this version never does.
pub fn create_totals_table(client: &Client, name: impl Into<String>) -> Result<CreateTableFluentBuilder, BuildError> {
    let text = |name| (name, ScalarAttributeType::S);
    Ok(keyed_table(client, text("shard"), text("name"))?.table_name(name))
}
