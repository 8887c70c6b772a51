//! The totals of sales, for reading.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;

use super::day::{Day, Span};
use super::figure::Figures;
use super::model::Sales;

/// Each total is spread over so many items, so that a day on which much is sold is not one item's load.
const SHARDS: u8 = 16;
/// How often the shards are read before what they say together is taken for wrong.
const ATTEMPTS: usize = 3;

/// The table of totals. Cheap to clone.
///
/// Reads are eventually consistent, and the totals follow the events by a moment.
#[derive(Clone, Debug)]
pub struct SalesTotals {
    client: aws_sdk_dynamodb::Client,
    table: String,
    sales: Sales,
}

/// The sales of some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalesReport {
    /// Each of the days, those on which nothing happened too: what counts them or draws them need not fill gaps.
    pub days: Vec<(Day, Figures)>,
    /// All of them together.
    pub total: Figures,
}

/// There is no report.
#[derive(Debug, thiserror::Error)]
pub enum SalesError {
    /// DynamoDB did not answer, or not with a result; the SDK has retried already. The caller tries again later.
    #[error("the table of sales totals does not answer")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The total was not written by this program's projector, or has lost something since. The totals are to be rebuilt.
    #[error("the sales of {day} in the table of totals {why}")]
    Wrong {
        /// The day.
        day: Day,
        /// What is wrong.
        why: &'static str,
    },
}

impl SalesTotals {
    /// The totals in `table`.
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>, sales: Sales) -> Self {
        Self { client, table: table.into(), sales }
    }

    /// The sales of a span of days.
    ///
    /// An order that changes while the shards are read one after the other may be seen to leave a status and not to have
    /// come to it. Where less than nothing shows that, they are read again.
    ///
    /// # Errors
    /// See [`SalesError`].
    pub async fn report(&self, span: Span) -> Result<SalesReport, SalesError> {
        let mut attempt = 1;
        loop {
            let report = self.read(span).await?;
            let Some((day, _)) = report.days.iter().find(|(_, figures)| figures.is_torn()) else { return Ok(report) };
            if attempt == ATTEMPTS {
                return Err(SalesError::Wrong { day: *day, why: "are less than nothing" });
            }
            attempt += 1;
        }
    }

    async fn read(&self, span: Span) -> Result<SalesReport, SalesError> {
        let names: BTreeMap<String, Day> = span.days().map(|day| (self.sales.total(day), day)).collect();
        let mut days: BTreeMap<Day, Figures> = span.days().map(|day| (day, Figures::default())).collect();
        let shards = try_join_all((0..SHARDS).map(|shard| self.shard(shard, span))).await?;
        for item in shards.into_iter().flatten() {
            // The table may have totals of a currency that the deployment once had.
            let name = item.get("name").and_then(|name| name.as_s().ok());
            let Some(day) = name.and_then(|name| names.get(name)).copied() else { continue };
            let wrong = |why| SalesError::Wrong { day, why };
            let more = Figures::read(&item).ok_or_else(|| wrong("cannot be read"))?;
            let sum = days.entry(day).or_default();
            *sum = sum.checked_add(&more).ok_or_else(|| wrong("are more than can be counted"))?;
        }
        let mut total = Figures::default();
        for (day, figures) in &days {
            let why = "are more than can be counted";
            total = total.checked_add(figures).ok_or(SalesError::Wrong { day: *day, why })?;
        }
        Ok(SalesReport { days: days.into_iter().collect(), total })
    }

    /// What one shard has of the span.
    async fn shard(&self, shard: u8, span: Span) -> Result<Vec<HashMap<String, AttributeValue>>, SalesError> {
        let pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#shard = :shard AND #name BETWEEN :from AND :to")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":shard", AttributeValue::S(shard.to_string()))
            .expression_attribute_values(":from", AttributeValue::S(self.sales.total(span.from())))
            .expression_attribute_values(":to", AttributeValue::S(self.sales.total(span.to())))
            .into_paginator();
        let items = pages.items().send().try_collect().await;
        items.map_err(|error| SalesError::Unavailable(error.into()))
    }
}
