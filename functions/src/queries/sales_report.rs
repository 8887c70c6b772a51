//! `sales-report`: the orders, the revenue and the refunds of each day of a range.

use dynamodb_event_store::projection::TotalsError;
use orders_core::domain::{Currency, InvalidField};
use orders_core::read_model::sales::{Day, Sales, SalesError, SalesTotals, Span};

use super::in_time;
use super::sales_forms::{csv, json};
use crate::accept;
use crate::answer::Answer;
use crate::caller::{Caller, Needs};
use crate::config::{self, Config, ConfigError};
use crate::parameters::Query;
use crate::problem::Problem;
use crate::request::Request;

/// Only administrators: the report shows the shop's whole business.
const NEEDS: Needs = Needs { own: None, any: &[] };

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
/// The available media types. The first is the default.
const FORMS: [&str; 2] = [JSON, CSV];

/// The totals of sales. Created once per container.
#[derive(Clone, Debug)]
pub struct Reports {
    totals: SalesTotals,
    currency: Currency,
    scope_prefix: String,
}

impl Reports {
    /// From the environment.
    ///
    /// # Errors
    /// It names no table.
    pub fn from_env(config: &Config, client: aws_sdk_dynamodb::Client) -> Result<Self, ConfigError> {
        Ok(Self::new(config, config::setting::<String>("SALES_TOTALS_TABLE")?, client))
    }

    /// On the table of totals.
    pub fn new(config: &Config, totals_table: impl Into<String>, client: aws_sdk_dynamodb::Client) -> Self {
        let (currency, scope_prefix) = (config.currency, config.scope_prefix.clone());
        Self { totals: SalesTotals::new(client, totals_table, Sales { currency }), currency, scope_prefix }
    }
}

/// Responds with the report in the media type that the caller prefers.
///
/// # Errors
/// 400 for invalid days or an invalid range; 406 when neither media type is accepted.
pub async fn handle(reports: &Reports, request: &Request) -> Result<Answer, Problem> {
    Caller::authorize(request, &reports.scope_prefix, NEEDS)?;
    let span = span(request)?;
    let form = accept::preferred(request.header("accept"), &FORMS).ok_or_else(|| Problem::not_acceptable(&FORMS))?;
    let report = in_time(request, reports.totals.report(span)).await?;
    let answer = match form {
        CSV => Answer::of(200, "text/csv; charset=utf-8; header=present", csv(&report, &reports.currency)),
        _ => Answer::of(200, JSON, json(span, &report, &reports.currency)?),
    };
    Ok(answer.with_header("vary", "accept"))
}

/// The requested days.
fn span(request: &Request) -> Result<Span, Problem> {
    let query = Query::parse(request, &["from", "to"])?;
    let day = |path: &str| {
        let day = query.text(path).unwrap_or_default().parse::<Day>();
        day.map_err(|error| InvalidField { path: path.into(), detail: error.to_string() })
    };
    match (day("from"), day("to")) {
        (Ok(from), Ok(to)) => Span::new(from, to).map_err(|error| Problem::invalid_field("to", error.to_string())),
        (from, to) => Err(Problem::invalid(&[from.err(), to.err()].into_iter().flatten().collect::<Vec<_>>())),
    }
}

impl From<SalesError> for Problem {
    fn from(error: SalesError) -> Self {
        match error {
            SalesError::Totals(TotalsError::Unavailable(_)) => Self::unavailable(error),
            SalesError::Totals(TotalsError::Damaged { .. }) | SalesError::Wrong { .. } => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dynamodb_testkit::faults::Fault;
    use orders_core::domain::Status;
    use orders_core::read_model::sales::Figure;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, Shop, ask, body, problem, with_header};

    async fn report(shop: &Shop, scopes: &str, query: &str, accept: &str) -> Answer {
        let event = with_header(ask("admin", scopes, "", query), "accept", accept);
        testing::answer(async |request| handle(&shop.reports(), request).await, event).await
    }

    async fn json_of(shop: &Shop, query: &str) -> Value {
        let answer = report(shop, "orders:admin", query, "application/json").await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        body(&answer)
    }

    /// Two days of sales over some shards, and what lies around them.
    async fn shop() -> Shop {
        let shop = Shop::open().await;
        shop.sell(0, "2026-11-27#EUR", &[("paid", 1), ("paid_amount", 1_999)]).await;
        shop.sell(15, "2026-11-27#EUR", &[("paid", 1), ("paid_amount", 2_001)]).await;
        shop.sell(3, "2026-11-27#EUR", &[("payments", 2), ("payments_amount", 4_000)]).await;
        // One came in the shard 4, and left in the shard 5.
        shop.sell(4, "2026-11-28#EUR", &[("pending", 1), ("pending_amount", 50)]).await;
        shop.sell(5, "2026-11-28#EUR", &[("pending", -1), ("pending_amount", -50)]).await;
        shop.sell(5, "2026-11-28#EUR", &[("cancelled", 1), ("cancelled_amount", 50)]).await;
        shop.sell(5, "2026-11-28#EUR", &[("refunds_due", 1), ("refunds_due_amount", 1_999)]).await;
        shop.sell(9, "2026-11-28#EUR", &[("refunds", 1), ("refunds_amount", 1_999)]).await;
        for elsewhere in ["2026-11-26#EUR", "2026-11-30#EUR", "2026-11-27#JPY", "2026-11-28#USD"] {
            shop.sell(0, elsewhere, &[("paid", 7), ("payments_amount", 7)]).await;
        }
        shop
    }

    #[tokio::test]
    async fn the_shards_of_each_day_are_added_up_exactly_and_days_without_sales_are_there() {
        let answer = json_of(&shop().await, "from=2026-11-27&to=2026-11-29").await;
        let none = json!({"count": 0, "amount": 0});
        let tally = |count: i32, amount: Value| json!({"count": count, "amount": amount});
        let nothing = json!({
            "orders": Status::ALL.map(|status| (status.as_str(), &none)).into_iter().collect::<BTreeMap<_, _>>(),
            "payments": none, "refunds_due": none, "refunds": none, "revenue": 0,
        });
        let with = |day: Option<&str>, changes: &[(&str, Value)]| {
            let mut figures = nothing.clone();
            figures.as_object_mut().unwrap().extend(day.map(|day| ("day".to_owned(), json!(day))));
            for (pointer, value) in changes {
                *figures.pointer_mut(pointer).unwrap() = value.clone();
            }
            figures
        };
        let first =
            [("/orders/paid", tally(2, json!(40))), ("/payments", tally(2, json!(40))), ("/revenue", json!(40))];
        let second = [
            ("/orders/cancelled", tally(1, json!(0.5))),
            ("/refunds_due", tally(1, json!(19.99))),
            ("/refunds", tally(1, json!(19.99))),
            ("/revenue", json!(-19.99)),
        ];
        let both = [&first[..], &second[..3], &[("/revenue", json!(20.01))]].concat();
        assert_eq!(
            answer,
            json!({
                "from": "2026-11-27", "to": "2026-11-29", "currency": "EUR",
                "days": [with(Some("2026-11-27"), &first), with(Some("2026-11-28"), &second), with(Some("2026-11-29"), &[])],
                "total": with(None, &both),
            })
        );
    }

    #[tokio::test]
    async fn the_report_is_also_available_as_csv() {
        let shop = shop().await;
        let answer = report(&shop, "orders:admin", "from=2026-11-27&to=2026-11-29", "text/csv").await;
        assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
        assert_eq!((answer.header("vary"), answer.header("cache-control")), (Some("accept"), Some("no-store")));
        let line = |day: &str, sold: &[(&str, &str)], revenue: &str| {
            let sold: BTreeMap<_, _> = sold.iter().copied().collect();
            let cells = Figure::ALL.map(|figure| sold.get(figure.name()).copied().unwrap_or("0,0.00"));
            format!("{day},EUR,{},{revenue}\r\n", cells.join(","))
        };
        let names = Figure::ALL.map(|figure| format!("{0},{0}_amount", figure.name())).join(",");
        let lines = [
            format!("day,currency,{names},revenue\r\n"),
            line("2026-11-27", &[("paid", "2,40.00"), ("payments", "2,40.00")], "40.00"),
            line(
                "2026-11-28",
                &[("cancelled", "1,0.50"), ("refunds_due", "1,19.99"), ("refunds", "1,19.99")],
                "-19.99",
            ),
            line("2026-11-29", &[], "0.00"),
        ];
        assert_eq!(answer.body(), lines.concat());
    }

    #[tokio::test]
    async fn sums_that_no_double_holds_are_exact() {
        let shop = Shop::open().await;
        for shard in 0..16 {
            shop.sell(shard, "2026-11-28#EUR", &[("payments", 1), ("payments_amount", 1_000_000_000_000_000_001)])
                .await;
        }
        for (accept, sum) in [(JSON, "\"revenue\":160000000000000000.16}"), (CSV, ",160000000000000000.16\r\n")] {
            let answer = report(&shop, "orders:admin", "from=2026-11-28&to=2026-11-28", accept).await;
            assert!(answer.body().contains(sum), "{}", answer.body());
        }
    }

    #[tokio::test]
    async fn the_accept_header_selects_the_media_type() {
        let shop = Shop::open().await;
        for (accept, expected) in [
            ("*/*", JSON),
            ("", JSON),
            ("text/*", CSV),
            ("text/csv;q=0.9, application/json;q=0.8", CSV),
            ("nonsense, */*;q=0.1", JSON),
        ] {
            let answer = report(&shop, "orders:admin", "from=2026-11-28&to=2026-11-28", accept).await;
            assert!(answer.header("content-type").unwrap().starts_with(expected), "{accept}: {answer:?}");
        }
        for accept in ["text/html", "application/xml, image/*;q=0.5", "*/*;q=0"] {
            let answer = report(&shop, "orders:admin", "from=2026-11-28&to=2026-11-28", accept).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (406, "not-acceptable"), "{accept}");
            assert!(body(&answer)["detail"].as_str().unwrap().contains("application/json, text/csv"));
        }
    }

    #[tokio::test]
    async fn invalid_days_and_ranges_are_rejected_with_their_field() {
        let shop = Shop::open().await;
        for (query, paths) in [
            ("", &["from", "to"][..]),
            ("from=2026-11-28", &["to"]),
            ("to=2026-11-28", &["from"]),
            ("from=&to=", &["from", "to"]),
            ("from=2026-11-31&to=2026-12-01", &["from"]),
            ("from=2026-11-01&to=2026-1-2", &["to"]),
            ("from=2026-11-01&to=today", &["to"]),
            ("from=2026-11-01T00:00:00Z&to=2026-11-02", &["from"]),
            ("from=2026-11-28&to=2026-11-27", &["to"]),
            ("from=2016-11-28&to=2026-11-28", &["to"]),
            ("from=2025-11-28&to=2026-11-29", &["to"]),
            ("from=2026-11-28&to=2026-11-28&from=2026-11-28", &["from"]),
            ("from=2026-11-28&to=2026-11-28&currency=EUR", &["currency"]),
        ] {
            let answer = report(&shop, "orders:admin", query, "text/csv").await;
            assert_eq!(
                (answer.status(), answer.header("content-type")),
                (400, Some("application/problem+json")),
                "{query}"
            );
            let problem = body(&answer);
            let named = problem["errors"].as_array().unwrap().iter().map(|error| error["path"].as_str());
            assert_eq!(
                named.collect::<Vec<_>>(),
                paths.iter().map(|path| Some(*path)).collect::<Vec<_>>(),
                "{query}: {}",
                answer.body()
            );
        }
        let year = json_of(&shop, "from=2025-11-28&to=2026-11-28").await;
        assert_eq!(year["days"].as_array().unwrap().len(), 366);
    }

    #[tokio::test]
    async fn only_administrators_get_the_report() {
        let shop = Shop::open().await;
        for scopes in ["orders:read orders:write", "orders:fulfil", "orders:checkout", ""] {
            let answer = report(&shop, scopes, "from=2026-11-28&to=2026-11-28", "*/*").await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (403, "forbidden"), "{scopes}");
        }
    }

    #[tokio::test]
    async fn every_page_of_a_shard_is_read() {
        let shop = Shop::open().await;
        // DynamoDB ends a page at 1 MB.
        for day in 10..15 {
            let total = format!("2026-11-{day}#EUR");
            shop.sell_nothing(2, &total, 300_000).await;
            shop.sell(2, &total, &[("paid", 1)]).await;
        }
        assert_eq!(json_of(&shop, "from=2026-11-01&to=2026-11-30").await["total"]["orders"]["paid"]["count"], 5);
    }

    #[tokio::test]
    async fn a_negative_total_is_read_again_and_never_shown() {
        let shop = Shop::open_with_faults().await;
        shop.sell(4, "2026-11-28#EUR", &[("pending", -1)]).await;
        let answer = report(&shop, "orders:admin", "from=2026-11-28&to=2026-11-28", "*/*").await;
        assert_eq!((answer.status(), problem(&answer).as_str()), (500, "internal"), "{}", answer.body());
        let queries = shop.faults().take_calls().of("Query").filter(|call| call.attempt == 1);
        let strong = queries.filter(|call| call.body["ConsistentRead"] == true);
        assert_eq!((queries.count(), strong.count()), (3 * 16, 2 * 16), "strongly, all but the first time");
    }

    #[tokio::test]
    async fn an_order_that_moves_from_shard_to_shard_while_they_are_read_is_counted_once() {
        let shop = Shop::open_with_faults().await;
        shop.sell(4, "2026-11-28#EUR", &[("pending", 1)]).await;
        shop.sell(5, "2026-11-28#EUR", &[("pending", -1), ("paid", 1)]).await;
        let mut unread = true;
        // The shard 4 is read before the order is created.
        shop.faults().plan(move |call| {
            let early = call.body["ExpressionAttributeValues"][":shard"]["S"] == "4" && std::mem::take(&mut unread);
            early.then_some(Fault::Omit(0))
        });
        let orders = &json_of(&shop, "from=2026-11-28&to=2026-11-28").await["total"]["orders"];
        assert_eq!((&orders["pending"]["count"], &orders["paid"]["count"]), (&json!(0), &json!(1)));
    }

    #[tokio::test]
    async fn invalid_totals_are_500() {
        let shop = Shop::open().await;
        shop.damage_sales(4, "2026-11-28#EUR").await;
        let answer = report(&shop, "orders:admin", "from=2026-11-28&to=2026-11-28", "*/*").await;
        assert_eq!((answer.status(), problem(&answer).as_str()), (500, "internal"), "{}", answer.body());
    }

    #[tokio::test]
    async fn unavailable_totals_are_503() {
        let shop = Shop::open_with_faults().await;
        shop.faults().plan(|call| call.table.contains("SalesTotals").then_some(Fault::Fail));
        let answer = report(&shop, "orders:admin", "from=2026-11-28&to=2026-11-28", "*/*").await;
        assert_eq!((answer.status(), problem(&answer).as_str()), (503, "unavailable"), "{}", answer.body());
    }
}
