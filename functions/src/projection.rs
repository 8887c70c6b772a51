//! Following the event table's stream.

use aws_lambda_events::dynamodb::Event;
use aws_lambda_events::streams::DynamoDbEventResponse;
use dynamodb_event_store::projection::Projection;
use orders_core::read_model::OrderRows;

use crate::config::Config;
use crate::stream_batch;

/// The projector of this deployment.
pub fn projector(config: &Config, client: aws_sdk_dynamodb::Client) -> Projection<OrderRows> {
    let events = config.event_store(client.clone());
    Projection::new(client, &config.orders_table, events, OrderRows)
}

/// Projects a batch. The answer names the record that Lambda is to go on from, if some of it has to come again.
pub async fn handle(projector: &Projection<OrderRows>, batch: Event) -> DynamoDbEventResponse {
    let projected = projector.project(stream_batch::records(batch)).await;
    metrics::counter!("OrdersParked").increment(projected.parked);
    metrics::counter!("ProjectionRefused").increment(projected.refused);
    metrics::counter!("IntegrityViolations").increment(projected.violations);
    stream_batch::answer(projected.retry_from)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::emf;
    use crate::testing::{self, Shop, event};

    async fn answer(projector: &Projection<OrderRows>, batch: Value) -> Value {
        serde_json::to_value(handle(projector, serde_json::from_value(batch).unwrap()).await).unwrap()
    }

    #[tokio::test]
    async fn a_batch_becomes_rows_and_nothing_has_to_come_again() {
        let shop = Shop::open().await;
        let batch = event("project-orders");
        assert_eq!(answer(&shop.projector(), batch.clone()).await, json!({ "batchItemFailures": [] }));
        for record in batch["Records"].as_array().unwrap() {
            let order_id = record["dynamodb"]["Keys"]["stream_id"]["S"].as_str().unwrap();
            assert!(shop.orders().get(order_id.parse().unwrap()).await.unwrap().is_some(), "{order_id}");
        }
    }

    #[tokio::test]
    async fn what_fails_for_now_comes_again_from_its_first_record_on() {
        let batch = event("project-orders");
        let first = batch["Records"][0]["dynamodb"]["SequenceNumber"].clone();
        let projector = testing::unreachable_projector();
        let expected = json!({ "batchItemFailures": [{ "itemIdentifier": first }] });
        assert_eq!(answer(&projector, batch).await, expected);
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
        assert_eq!(answer(&shop.projector(), batch).await, json!({ "batchItemFailures": [] }));
        let mut line = Vec::new();
        collector.flush(&mut line).unwrap();
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&line["OrdersParked"], &line["IntegrityViolations"]), (&json!(1), &json!(1)));
        assert_eq!(line["FunctionName"], "unknown");
        let described = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!((&described["Namespace"], &described["Dimensions"]), (&json!("Orders"), &json!([["FunctionName"]])));
    }
}
