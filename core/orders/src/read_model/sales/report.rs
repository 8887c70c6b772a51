//! Reading the totals of sales.

use std::time::Duration;

use tokio::time::sleep;

use super::day::{Day, Span};
use super::figure::Figures;
use super::model::Sales;
use dynamodb_event_store::projection::{Totals, TotalsError};

/// How often the shards are read before inconsistent totals are an error.
const ATTEMPTS: usize = 3;
/// The pause before they are read again.
const PAUSE: Duration = Duration::from_millis(50);

/// The table of totals. Cheap to clone.
///
/// The first read is eventually consistent, and the totals follow the events by a moment.
#[derive(Clone, Debug)]
pub struct SalesTotals {
    totals: Totals,
    sales: Sales,
}

/// The sales of some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalesReport {
    /// All days of the span, including days without sales.
    pub days: Vec<(Day, Figures)>,
    /// All of them together.
    pub total: Figures,
}

/// The report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SalesError {
    /// The table could not be read.
    #[error(transparent)]
    Totals(#[from] TotalsError),
    /// The totals are inconsistent, and have to be rebuilt.
    #[error("the sales totals of {day} {why}")]
    Wrong {
        /// The day.
        day: Day,
        /// The reason.
        why: &'static str,
    },
}

impl SalesTotals {
    /// The totals in `table`.
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>, sales: Sales) -> Self {
        Self { totals: Totals::new(client, table), sales }
    }

    /// The sales of a span of days.
    ///
    /// The shards are read one after the other, so the change of an order's status may be seen in one and missed in
    /// another. If that makes a figure negative, they are read again with consistent reads, which see at least what the
    /// first reads saw.
    ///
    /// # Errors
    /// See [`SalesError`].
    pub async fn report(&self, span: Span) -> Result<SalesReport, SalesError> {
        let mut attempt = 1;
        loop {
            let report = self.read(span, attempt > 1).await?;
            let Some((day, _)) = report.days.iter().find(|(_, figures)| figures.has_negative()) else {
                return Ok(report);
            };
            if attempt == ATTEMPTS {
                return Err(SalesError::Wrong { day: *day, why: "are negative" });
            }
            attempt += 1;
            sleep(PAUSE).await;
        }
    }

    async fn read(&self, span: Span, consistent: bool) -> Result<SalesReport, SalesError> {
        let (first, last) = (self.sales.total(span.from()), self.sales.total(span.to()));
        let totals = self.totals.between(&first, &last, consistent).await?;
        // The table may have totals of a currency that was configured before.
        let figures = |day| {
            totals.get(&self.sales.total(day)).map_or_else(Figures::default, |total| Figures::of(&total.counters))
        };
        let days: Vec<_> = span.days().map(|day| (day, figures(day))).collect();
        let mut total = Figures::default();
        for (day, figures) in &days {
            let why = "overflow";
            total = total.checked_add(figures).ok_or(SalesError::Wrong { day: *day, why })?;
        }
        Ok(SalesReport { days, total })
    }
}
