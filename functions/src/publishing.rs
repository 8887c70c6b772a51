//! `publish-events`: publishes the event table's stream on the event bus.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_lambda_events::dynamodb::Event;
use aws_lambda_events::streams::DynamoDbEventResponse;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::Builder;
use lambda_runtime::Context;
use orders_core::publication::{self, Envelopes, EventBridge, EventBus, Publisher, Relay};

use crate::config::{self, Config};
use crate::deadline::deadline;
use crate::stream_batch;
use crate::telemetry::{self, SdkCalls};

/// Time reserved at the end of an invocation: for a request in flight and the response.
const RESERVE: Duration = Duration::from_secs(10);

/// The publisher to this deployment's bus.
///
/// # Errors
/// The environment names no bus, or the bus cannot be used. The function must not start: events for a missing bus would be
/// lost.
pub async fn publisher() -> Result<Publisher<EventBridge>, lambda_runtime::Error> {
    let environment = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let config = publication::for_requests(Builder::from(&environment)).interceptor(SdkCalls).build();
    let client = Client::from_conf(config);
    Ok(Publisher::new(EventBridge::open(client, config::setting::<String>("EVENT_BUS_NAME")?).await?))
}

/// The relay to this deployment's bus.
///
/// # Errors
/// Those of [`publisher`].
pub async fn relay(config: &Config) -> Result<Relay<EventBridge>, lambda_runtime::Error> {
    let api_url = config::setting::<String>("API_URL")?.trim_end_matches('/').to_owned();
    let envelopes = Envelopes { currency: config.currency, api_url };
    Ok(Relay { envelopes, publisher: publisher().await?, spans: telemetry::commit_span })
}

/// Publishes a batch. The response names the first record that Lambda must retry, if any.
pub async fn handle(relay: &Relay<impl EventBus>, batch: Event, context: &Context) -> DynamoDbEventResponse {
    let records = stream_batch::records(batch);
    let oldest = stream_batch::oldest(&records);
    let relayed = relay.relay(records, deadline(context, RESERVE)).await;
    metrics::counter!("EventsUnpublished").increment(relayed.unpublished);
    stream_batch::response("PublicationLag", oldest, relayed.retry_from)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Bus, context, event};

    async fn publish(bus: &Bus) -> Value {
        let batch = serde_json::from_value(event("publish-events")).unwrap();
        serde_json::to_value(handle(&bus.relay(), batch, &context()).await).unwrap()
    }

    #[tokio::test]
    async fn every_event_of_a_batch_reaches_the_bus() {
        let bus = Bus::default();
        assert_eq!(publish(&bus).await, json!({ "batchItemFailures": [] }));
        let names: Vec<String> = bus.taken().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["OrderCreated", "OrderCreated", "OrderPaid", "OrderPaid", "OrderCancelled", "OrderRefundDue"]
        );
    }

    #[tokio::test]
    async fn a_batch_is_retried_when_the_bus_is_down() {
        let bus = Bus::default();
        bus.down.store(true, Ordering::Relaxed);
        let first = event("publish-events")["Records"][0]["dynamodb"]["SequenceNumber"].clone();
        assert_eq!(publish(&bus).await, json!({ "batchItemFailures": [{ "itemIdentifier": first }] }));
    }
}
