//! The read models, which follow the event table's stream side by side.

use std::time::Duration;

use aws_lambda_events::dynamodb::Event;
use aws_lambda_events::streams::DynamoDbEventResponse;
use dynamodb_event_store::projection::{
    Backlog, BacklogError, CatchUpResult, ModelResult, Projected, Projection, ReadModelGroup,
};
use lambda_runtime::Context;
use orders_core::read_model::{OrderRows, Sales};
use serde::Serialize;

use crate::config::{Config, SalesTables};
use crate::deadline::deadline;
use crate::stream_batch;

/// What is left of the function's time when it stops catching up: for the page that it is at.
const RESERVE: Duration = Duration::from_secs(20);

/// The read models of this deployment.
#[derive(Debug)]
pub struct ReadModels {
    /// The rows of orders.
    pub orders: Projection<OrderRows>,
    /// What each order adds to the sales.
    pub sales: Projection<Sales>,
    side_by_side: ReadModelGroup,
    backlog: Backlog,
}

/// What a run through the backlog came to, by read model.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Caught {
    orders: CatchUpResult,
    sales: CatchUpResult,
}

impl ReadModels {
    /// On the tables that the configuration names, and a table for what is left behind.
    pub fn new(
        config: &Config,
        sales_tables: &SalesTables,
        backlog_table: impl Into<String>,
        client: aws_sdk_dynamodb::Client,
    ) -> Self {
        let backlog = Backlog::new(client.clone(), backlog_table);
        Self {
            orders: order_rows(config, client.clone(), &config.orders_table),
            sales: sales(config, sales_tables, client),
            side_by_side: ReadModelGroup::new(backlog.clone()),
            backlog,
        }
    }

    /// Has all read models take a batch. The answer names the record that Lambda is to go on from, if some of it has to
    /// come again.
    pub async fn project(&self, batch: Event) -> DynamoDbEventResponse {
        let records = stream_batch::records(batch);
        let orders = self.side_by_side.take(&self.orders, records.clone());
        let sales = self.side_by_side.take(&self.sales, records);
        let taken: [ModelResult; 2] = futures::join!(orders, sales).into();
        // The models see the same events: what stops one usually stops all of them, and is counted once.
        let most = |count: fn(&Projected) -> u64| taken.iter().map(|each| count(&each.projected)).max().unwrap_or(0);
        metrics::counter!("OrdersParked").increment(most(|projected| projected.parked));
        metrics::counter!("ProjectionRefused").increment(most(|projected| projected.refused));
        metrics::counter!("IntegrityViolations").increment(most(|projected| projected.violations));
        stream_batch::answer(self.side_by_side.settle(&taken).await.retry_from)
    }

    /// Catches up on what the read models have left behind, and counts what is still left.
    ///
    /// # Errors
    /// [`BacklogError`]: the next run goes on.
    pub async fn catch_up(&self, context: &Context) -> Result<Caught, BacklogError> {
        let until = deadline(context, RESERVE);
        let orders = self.backlog.catch_up(&self.orders, until);
        // What stops one of them does not stop the other half-way.
        let (orders, sales) = futures::join!(orders, self.backlog.catch_up(&self.sales, until));
        let (orders, sales) = (orders?, sales?);
        metrics::counter!("OrdersParked").increment(orders.parked.max(sales.parked));
        metrics::histogram!("ReadModelsBehind").record((orders.left + sales.left) as f64);
        Ok(Caught { orders, sales })
    }
}

/// The rows of orders, in a table.
pub fn order_rows(config: &Config, client: aws_sdk_dynamodb::Client, table: &str) -> Projection<OrderRows> {
    let events = config.event_store(client.clone());
    Projection::new(client, table, events, OrderRows)
}

/// What each order adds to the sales.
pub fn sales(config: &Config, tables: &SalesTables, client: aws_sdk_dynamodb::Client) -> Projection<Sales> {
    let (events, model) = (config.event_store(client.clone()), Sales { currency: config.currency });
    Projection::new(client, &tables.rows, events, model).with_totals(&tables.totals)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::emf;
    use crate::testing::{self, Shop, event};

    async fn answer(models: &ReadModels, batch: Value) -> Value {
        serde_json::to_value(models.project(serde_json::from_value(batch).unwrap()).await).unwrap()
    }

    #[tokio::test]
    async fn a_batch_becomes_rows_and_nothing_has_to_come_again() {
        let shop = Shop::open().await;
        let batch = event("project-orders");
        assert_eq!(answer(&shop.read_models(), batch.clone()).await, json!({ "batchItemFailures": [] }));
        for record in batch["Records"].as_array().unwrap() {
            let order_id = record["dynamodb"]["Keys"]["stream_id"]["S"].as_str().unwrap();
            assert!(shop.orders().get(order_id.parse().unwrap()).await.unwrap().is_some(), "{order_id}");
        }
    }

    #[tokio::test]
    async fn what_fails_for_now_comes_again_from_its_first_record_on() {
        let batch = event("project-orders");
        let first = batch["Records"][0]["dynamodb"]["SequenceNumber"].clone();
        let expected = json!({ "batchItemFailures": [{ "itemIdentifier": first }] });
        assert_eq!(answer(&testing::unreachable_read_models(), batch).await, expected);
    }

    /// The one test that counts: counters belong to the process.
    #[tokio::test]
    async fn parked_orders_and_altered_events_are_counted_by_function() {
        let collector = emf::init().unwrap();
        let shop = Shop::open().await;
        let mut batch = event("project-orders-poison");
        let mut altered = batch["Records"][0].clone();
        altered["eventName"] = "MODIFY".into();
        batch["Records"].as_array_mut().unwrap().push(altered);
        assert_eq!(answer(&shop.read_models(), batch).await, json!({ "batchItemFailures": [] }));
        let mut line = Vec::new();
        collector.flush(&mut line).unwrap();
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&line["OrdersParked"], &line["IntegrityViolations"]), (&json!(1), &json!(1)));
        assert_eq!(line["FunctionName"], "unknown");
        let described = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!((&described["Namespace"], &described["Dimensions"]), (&json!("Orders"), &json!([["FunctionName"]])));
    }
}
