//! The read models, which are projected together from the event table's stream.

use std::time::Duration;

use aws_lambda_events::dynamodb::Event;
use aws_lambda_events::streams::DynamoDbEventResponse;
use dynamodb_event_store::projection::{
    Backlog, BacklogError, CatchUpResult, ModelResult, Projected, Projection, ReadModelGroup,
};
use lambda_runtime::Context;
use orders_core::domain::{Currency, Status};
use orders_core::error::chain;
use orders_core::read_model::sales::{Day, Figure, SalesTotals};
use orders_core::read_model::{OrderRows, Sales};
use serde::Serialize;
use service_clock::Timestamp;

use crate::config::{Config, SalesTables};
use crate::deadline::deadline;
use crate::{stream_batch, telemetry};

/// Time reserved at the end of a catch-up run, for the current page.
const RESERVE: Duration = Duration::from_secs(20);

/// The read models of this deployment.
#[derive(Debug)]
pub struct ReadModels {
    /// The rows of orders.
    pub orders: Projection<OrderRows>,
    /// The contribution of each order to the sales.
    pub sales: Projection<Sales>,
    totals: SalesTotals,
    currency: Currency,
    side_by_side: ReadModelGroup,
    backlog: Backlog,
}

/// The result of a catch-up run, by read model.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CaughtUp {
    orders: CatchUpResult,
    sales: CatchUpResult,
}

impl ReadModels {
    /// On the tables that the configuration names, and the backlog's table.
    pub fn new(
        config: &Config,
        sales_tables: &SalesTables,
        backlog_table: impl Into<String>,
        client: aws_sdk_dynamodb::Client,
    ) -> Self {
        let backlog = Backlog::new(client.clone(), backlog_table);
        Self {
            orders: order_rows(config, client.clone(), &config.orders_table),
            totals: SalesTotals::new(client.clone(), &sales_tables.totals, Sales { currency: config.currency }),
            sales: sales(config, sales_tables, client),
            currency: config.currency,
            side_by_side: ReadModelGroup::new(backlog.clone()),
            backlog,
        }
    }

    /// Projects a batch into all read models. The response names the first record that Lambda must retry, if any.
    pub async fn project(&self, batch: Event) -> DynamoDbEventResponse {
        let records = stream_batch::records(batch);
        let oldest = stream_batch::oldest(&records);
        let orders = self.side_by_side.project(&self.orders, records.clone());
        let sales = self.side_by_side.project(&self.sales, records);
        let results: [ModelResult; 2] = futures::join!(orders, sales).into();
        // The models see the same events: what stops one usually stops all, and is counted once.
        let most = |count: fn(&Projected) -> u64| results.iter().map(|each| count(&each.projected)).max().unwrap_or(0);
        metrics::counter!("OrdersParked").increment(most(|projected| projected.parked));
        metrics::counter!("ProjectionRefused").increment(most(|projected| projected.rejected));
        metrics::counter!("IntegrityViolations").increment(most(|projected| projected.violations));
        let combined = self.side_by_side.combine(&results).await;
        stream_batch::response("ProjectionLag", oldest, combined.retry_from)
    }

    /// Works through the backlog of the read models, and counts what is left. Then it records the sales of the day.
    ///
    /// # Errors
    /// [`BacklogError`]: the next run continues.
    pub async fn catch_up(&self, context: &Context) -> Result<CaughtUp, BacklogError> {
        let until = deadline(context, RESERVE);
        let orders = self.backlog.catch_up(&self.orders, until);
        // An error of one must not cancel the other.
        let (orders, sales) = futures::join!(orders, self.backlog.catch_up(&self.sales, until));
        let (orders, sales) = (orders?, sales?);
        metrics::counter!("OrdersParked").increment(orders.parked.max(sales.parked));
        metrics::histogram!("ReadModelsBehind").record((orders.left + sales.left) as f64);
        self.measure_sales().await;
        Ok(CaughtUp { orders, sales })
    }

    /// Records the orders that were created today, by status, with their totals, and the day's revenue. Amounts are in major
    /// units.
    async fn measure_sales(&self) {
        let today = Day::of(Timestamp::now());
        let report = match self.totals.report(today.into()).await {
            Ok(report) => report,
            Err(error) => return tracing::error!(error = chain(&error), "sales not measured"),
        };
        let amount = |minor_units| self.currency.to_decimal(minor_units).parse::<f64>().unwrap_or(f64::NAN);
        for status in Status::ALL {
            let tally = report.total[Figure::Orders(status)];
            metrics::histogram!("OrdersToday", "Status" => status.as_str()).record(tally.count as f64);
            metrics::histogram!("AmountToday", "Status" => status.as_str()).record(amount(tally.amount));
        }
        metrics::histogram!("RevenueToday").record(amount(report.total.revenue()));
    }
}

/// The rows of orders, in a table.
pub fn order_rows(config: &Config, client: aws_sdk_dynamodb::Client, table: &str) -> Projection<OrderRows> {
    let events = config.event_store(client.clone());
    Projection::new(client, table, events, OrderRows).with_spans(telemetry::commit_span)
}

/// The contribution of each order to the sales.
pub fn sales(config: &Config, tables: &SalesTables, client: aws_sdk_dynamodb::Client) -> Projection<Sales> {
    let (events, model) = (config.event_store(client.clone()), Sales { currency: config.currency });
    let projection = Projection::new(client, &tables.rows, events, model).with_totals(&tables.totals);
    projection.with_spans(telemetry::commit_span)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::emf;
    use crate::testing::{self, Shop, event};

    async fn project(models: &ReadModels, batch: Value) -> Value {
        serde_json::to_value(models.project(serde_json::from_value(batch).unwrap()).await).unwrap()
    }

    #[tokio::test]
    async fn a_batch_becomes_rows_and_needs_no_retry() {
        let shop = Shop::open().await;
        let batch = event("project-orders");
        assert_eq!(project(&shop.read_models(), batch.clone()).await, json!({ "batchItemFailures": [] }));
        for record in batch["Records"].as_array().unwrap() {
            let order_id = record["dynamodb"]["Keys"]["stream_id"]["S"].as_str().unwrap();
            assert!(shop.orders().get(order_id.parse().unwrap()).await.unwrap().is_some(), "{order_id}");
        }
    }

    #[tokio::test]
    async fn a_transient_failure_is_retried_from_its_first_record() {
        let batch = event("project-orders");
        let first = batch["Records"][0]["dynamodb"]["SequenceNumber"].clone();
        let expected = json!({ "batchItemFailures": [{ "itemIdentifier": first }] });
        assert_eq!(project(&testing::unreachable_read_models(), batch).await, expected);
    }

    /// The only test of counters, since the process shares them.
    #[tokio::test]
    async fn parked_orders_and_altered_events_are_counted_by_function() {
        let collector = emf::init().unwrap();
        let shop = Shop::open().await;
        let mut batch = event("project-orders-poison");
        let mut altered = batch["Records"][0].clone();
        altered["eventName"] = "MODIFY".into();
        batch["Records"].as_array_mut().unwrap().push(altered);
        assert_eq!(project(&shop.read_models(), batch).await, json!({ "batchItemFailures": [] }));
        let mut line = Vec::new();
        collector.flush(&mut line).unwrap();
        // Other tests of this process may add metrics with other dimensions, on lines of their own.
        let lines = String::from_utf8(line).unwrap();
        let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let line = lines.find(|line| line["OrdersParked"].is_number()).unwrap();
        assert_eq!((&line["OrdersParked"], &line["IntegrityViolations"]), (&json!(1), &json!(1)));
        assert_eq!(line["FunctionName"], "unknown");
        let described = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!((&described["Namespace"], &described["Dimensions"]), (&json!("Orders"), &json!([["FunctionName"]])));
    }
}
