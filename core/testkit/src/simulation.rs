//! A DynamoDB without a network: requests pass through [`Faults`] to an engine in the same process.
//!
//! On tokio's paused clock a run is determined by the seeds of the faults and the test: thousands of interleavings take
//! seconds, timeouts take no time, and a run can be repeated exactly.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

use crate::engine::Engine;
use crate::exchange::{Request, Response};
use crate::faults::Faults;
use crate::proxy::attempt;

/// A database with its faults.
pub struct Simulation {
    /// The faults and the recorded calls.
    pub faults: Faults,
    engine: Engine,
}

impl Simulation {
    /// The name of the event table.
    pub const TABLE: &str = "events";

    /// Starts with an empty event table.
    pub fn start() -> Self {
        Self::without_tables().with_table(Self::TABLE, &[("stream_id", "S"), ("version", "N")])
    }

    /// Starts without tables.
    pub fn without_tables() -> Self {
        Self { faults: Faults::default(), engine: Engine::start() }
    }

    /// Adds a table. `key` lists the key attributes and their types (`S`, `N`, `B`): the hash key and optionally the
    /// range key.
    #[must_use]
    pub fn with_table(self, name: &str, key: &[(&str, &str)]) -> Self {
        self.engine.create_table(name, key);
        self
    }

    /// A client as functions use it, with faults.
    pub fn client(&self) -> Client {
        client(self.faults.clone(), self.engine.clone())
    }

    /// A client without faults, whose calls are not recorded.
    pub fn client_without_faults(&self) -> Client {
        client(Faults::default(), self.engine.clone())
    }
}

fn client(faults: Faults, engine: Engine) -> Client {
    let connector = SharedHttpConnector::new(Connector { faults, engine });
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url("http://simulation")
        .http_client(http_client_fn(move |_, _| connector.clone()))
        // Clients share a retry budget by default; runs must not depend on each other.
        .retry_partition(RetryPartition::new(uuid::Uuid::new_v4().to_string()));
    Client::from_conf(dynamodb_event_store::client::for_requests(config).build())
}

#[derive(Clone)]
struct Connector {
    faults: Faults,
    engine: Engine,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { faults, engine } = self.clone();
        // In a task of its own, because it is executed even if the client does not wait for it.
        let forwarded = tokio::spawn(async move {
            let header = |name: &str| request.headers().get(name).unwrap_or_default();
            let (target, attempt) = (header("x-amz-target").to_owned(), attempt(header("amz-sdk-request")));
            let body = serde_json::from_slice(request.body().bytes()?).ok()?;
            faults.forward(Request { target, attempt, body }, &engine).await
        });
        HttpConnectorFuture::new(async move {
            let lost = || ConnectorError::io("the connection closed".into());
            let Response { status, body } = forwarded.await.ok().flatten().ok_or_else(lost)?;
            let status = status.try_into().map_err(|_| lost())?;
            Ok(HttpResponse::new(status, SdkBody::from(body)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::error::ProvideErrorMetadata;
    use aws_sdk_dynamodb::types::{
        AttributeValue, ConditionCheck, Delete, KeysAndAttributes, Put, PutRequest, TimeToLiveSpecification,
        TransactWriteItem, WriteRequest,
    };

    use super::*;

    fn id(id: &str) -> HashMap<String, AttributeValue> {
        HashMap::from([("id".to_owned(), AttributeValue::S(id.to_owned()))])
    }

    fn two_tables() -> Simulation {
        Simulation::without_tables().with_table("left", &[("id", "S")]).with_table("right", &[("id", "S")])
    }

    fn put(table: &str, item: &str) -> TransactWriteItem {
        let put = Put::builder().table_name(table).set_item(Some(id(item))).build().unwrap();
        TransactWriteItem::builder().put(put).build()
    }

    async fn ids(client: &Client, table: &str) -> Vec<String> {
        let found = client.scan().table_name(table).send().await.unwrap();
        let mut ids: Vec<_> = found.items().iter().map(|item| item["id"].as_s().unwrap().clone()).collect();
        ids.sort();
        ids
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_on_two_tables_is_atomic() {
        let simulation = two_tables();
        let client = simulation.client();
        let both = client.transact_write_items().transact_items(put("left", "a")).transact_items(put("right", "b"));
        both.send().await.unwrap();
        let calls = simulation.faults.take_calls();
        assert_eq!((calls.0[0].table.as_str(), calls.units()), ("", 4.0), "transactions cost twice as much");

        let absent = ConditionCheck::builder().table_name("left").set_key(Some(id("a")));
        let absent = absent.condition_expression("attribute_not_exists(id)").build().unwrap();
        let absent = TransactWriteItem::builder().condition_check(absent).build();
        let delete = Delete::builder().table_name("right").set_key(Some(id("b"))).build().unwrap();
        let delete = TransactWriteItem::builder().delete(delete).build();
        let cancelled = client.transact_write_items().transact_items(absent).transact_items(delete).send().await;
        let cancelled = cancelled.unwrap_err().into_service_error();
        assert!(cancelled.is_transaction_canceled_exception(), "{cancelled:?}");
        assert_eq!(simulation.faults.take_calls().0[0].error.as_deref(), Some("TransactionCanceledException"));
        assert_eq!((ids(&client, "left").await, ids(&client, "right").await), (vec!["a".into()], vec!["b".into()]));
    }

    #[tokio::test(start_paused = true)]
    async fn batches_and_table_operations_work() {
        let simulation = two_tables();
        let client = simulation.client();
        let put = |item| PutRequest::builder().set_item(Some(id(item))).build().unwrap();
        let puts = ["a", "b"].map(|item| WriteRequest::builder().put_request(put(item)).build());
        client.batch_write_item().request_items("left", puts.to_vec()).send().await.unwrap();
        let keys = KeysAndAttributes::builder().keys(id("a")).keys(id("c")).consistent_read(true).build().unwrap();
        let found = client.batch_get_item().request_items("left", keys).send().await.unwrap();
        assert_eq!(found.responses.unwrap()["left"], [id("a")]);
        assert!(simulation.faults.take_calls().0.iter().all(|call| call.table == "left" && call.units > 0.0));

        let expiry = TimeToLiveSpecification::builder().enabled(true).attribute_name("until").build().unwrap();
        client.update_time_to_live().table_name("left").time_to_live_specification(expiry).send().await.unwrap();
        client.delete_table().table_name("left").send().await.unwrap();
        assert_eq!(client.list_tables().send().await.unwrap().table_names(), ["right"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_operation_is_an_error_as_in_dynamodb() {
        let error = two_tables().client().list_backups().send().await.unwrap_err();
        assert_eq!(error.code(), Some("UnknownOperationException"));
    }
}
