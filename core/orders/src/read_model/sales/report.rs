//! The totals of sales, for reading.

use std::time::Duration;

use tokio::time::sleep;

use super::day::{Day, Span};
use super::figure::Figures;
use super::model::Sales;
use dynamodb_event_store::projection::{Totals, TotalsError};

/// How often the shards are read before what they say together is taken for wrong.
const ATTEMPTS: usize = 3;
/// How long a report waits before it reads them again.
const PAUSE: Duration = Duration::from_millis(50);

/// The table of totals. Cheap to clone.
///
/// A first read is eventually consistent, and the totals follow the events by a moment.
#[derive(Clone, Debug)]
pub struct SalesTotals {
    totals: Totals,
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
    /// The table could not be read.
    #[error(transparent)]
    Totals(#[from] TotalsError),
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
        Self { totals: Totals::new(client, table), sales }
    }

    /// The sales of a span of days.
    ///
    /// An order that changes while the shards are read one after the other may be seen to leave a status and not to have
    /// come to it. Where less than nothing shows that, they are read again, strongly: a strong read that begins after the
    /// first one sees all that the first one saw.
    ///
    /// # Errors
    /// See [`SalesError`].
    pub async fn report(&self, span: Span) -> Result<SalesReport, SalesError> {
        let mut attempt = 1;
        loop {
            let report = self.read(span, attempt > 1).await?;
            let Some((day, _)) = report.days.iter().find(|(_, figures)| figures.is_torn()) else { return Ok(report) };
            if attempt == ATTEMPTS {
                return Err(SalesError::Wrong { day: *day, why: "are less than nothing" });
            }
            attempt += 1;
            sleep(PAUSE).await;
        }
    }

    async fn read(&self, span: Span, consistent: bool) -> Result<SalesReport, SalesError> {
        let (first, last) = (self.sales.total(span.from()), self.sales.total(span.to()));
        let totals = self.totals.between(&first, &last, consistent).await?;
        // The table may have totals of a currency that the deployment once had.
        let figures = |day| {
            totals.get(&self.sales.total(day)).map_or_else(Figures::default, |total| Figures::of(&total.counters))
        };
        let days: Vec<_> = span.days().map(|day| (day, figures(day))).collect();
        let mut total = Figures::default();
        for (day, figures) in &days {
            let why = "are more than can be counted";
            total = total.checked_add(figures).ok_or(SalesError::Wrong { day: *day, why })?;
        }
        Ok(SalesReport { days, total })
    }
}
