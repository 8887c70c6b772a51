//! The media types of a sales report.

use orders_core::domain::{Currency, Status};
use orders_core::read_model::sales::{Day, Figure, Figures, SalesReport, Span, Tally};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::problem::Problem;

/// The report as a table (RFC 4180): a line of names, and one for each day. No field needs quotes.
pub(super) fn csv(report: &SalesReport, currency: &Currency) -> String {
    let mut names = vec!["day".to_owned(), "currency".to_owned()];
    names.extend(Figure::ALL.into_iter().flat_map(|figure| [figure.name().to_owned(), figure.amount_name()]));
    names.push("revenue".to_owned());
    let days = report.days.iter().map(|(day, figures)| {
        let mut fields = vec![day.to_string(), currency.code().to_owned()];
        for figure in Figure::ALL {
            let Tally { count, amount } = figures[figure];
            fields.extend([count.to_string(), currency.to_decimal(amount)]);
        }
        fields.push(currency.to_decimal(figures.revenue()));
        fields
    });
    std::iter::once(names).chain(days).map(|fields| fields.join(",") + "\r\n").collect()
}

#[derive(Serialize)]
struct Report {
    from: Day,
    to: Day,
    currency: &'static str,
    days: Vec<DayFigures>,
    total: ShownFigures,
}

#[derive(Serialize)]
struct DayFigures {
    day: Day,
    #[serde(flatten)]
    figures: ShownFigures,
}

#[derive(Serialize)]
struct ShownFigures {
    #[serde(serialize_with = "by_status")]
    orders: [(Status, ShownTally); Status::ALL.len()],
    payments: ShownTally,
    refunds_due: ShownTally,
    refunds: ShownTally,
    revenue: Box<RawValue>,
}

fn by_status<S: Serializer>(orders: &[(Status, ShownTally)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(orders.iter().map(|(status, tally)| (status, tally)))
}

#[derive(Serialize)]
struct ShownTally {
    count: i128,
    amount: Box<RawValue>,
}

/// The report in JSON.
pub(super) fn json(span: Span, report: &SalesReport, currency: &Currency) -> Result<String, Problem> {
    let days = report.days.iter().map(|(day, figures)| DayFigures { day: *day, figures: shown(figures, currency) });
    let report = Report {
        from: span.from(),
        to: span.to(),
        currency: currency.code(),
        days: days.collect(),
        total: shown(&report.total, currency),
    };
    serde_json::to_string(&report).map_err(Problem::internal)
}

fn shown(figures: &Figures, currency: &Currency) -> ShownFigures {
    let tally =
        |figure: Figure| ShownTally { count: figures[figure].count, amount: number(figures[figure].amount, currency) };
    ShownFigures {
        orders: Status::ALL.map(|status| (status, tally(Figure::Orders(status)))),
        payments: tally(Figure::Payments),
        refunds_due: tally(Figure::RefundsDue),
        refunds: tally(Figure::Refunds),
        revenue: number(figures.revenue(), currency),
    }
}

/// A sum as a JSON number, as amounts are written elsewhere: without needless decimals. Sums may have more digits than a
/// double holds, so it is made of the text.
fn number(amount: i128, currency: &Currency) -> Box<RawValue> {
    let text = currency.to_decimal(amount);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    #[expect(clippy::expect_used, reason = "digits, with a sign and a point where they belong, are JSON")]
    RawValue::from_string(text.to_owned()).expect("a decimal is a number")
}
