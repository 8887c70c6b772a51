//! A DynamoDB without a network: a client whose requests go through [`Faults`] to an engine in the same task.
//!
//! On tokio's paused clock everything is decided by the seeds of the faults and of the test: thousands of interleavings
//! take seconds, time-outs take no time, and a run can be repeated exactly.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::exchange::{Answer, Request};
use crate::faults::{Faults, Upstream};
use crate::proxy::attempt;

/// An event table, and what stands before it.
pub struct Simulation {
    /// What happens to the calls, and what they were.
    pub faults: Faults,
    engine: Engine,
}

impl Simulation {
    /// The name of the table.
    pub const TABLE: &str = "events";

    /// Starts with an empty table.
    pub fn start() -> Self {
        let engine = Database::memory().expect("an engine");
        let table = json!({
            "TableName": Self::TABLE,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "stream_id", "AttributeType": "S"},
                {"AttributeName": "version", "AttributeType": "N"},
            ],
            "KeySchema": [
                {"AttributeName": "stream_id", "KeyType": "HASH"},
                {"AttributeName": "version", "KeyType": "RANGE"},
            ],
        });
        let table = serde_json::from_value(table).expect("a request for a table");
        engine.create_table(table).expect("an engine that makes tables");
        Self { faults: Faults::default(), engine: Engine(engine) }
    }

    /// A client as functions have it, with faults.
    pub fn client(&self) -> Client {
        client(self.faults.clone(), self.engine.clone())
    }

    /// A client of the same table without faults, whose calls are not counted.
    pub fn plain_client(&self) -> Client {
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
        // Clients share a budget of retries by default; a run must not depend on the runs beside it.
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
        // On a task of its own, since what was sent is done even if the client does not wait for it.
        let carried = tokio::spawn(async move {
            let header = |name: &str| request.headers().get(name).unwrap_or_default();
            let (target, attempt) = (header("x-amz-target").to_owned(), attempt(header("amz-sdk-request")));
            let body = serde_json::from_slice(request.body().bytes()?).ok()?;
            faults.carry(Request { target, attempt, body }, &engine).await
        });
        HttpConnectorFuture::new(async move {
            let lost = || ConnectorError::io("the connection closed".into());
            let Answer { status, body } = carried.await.ok().flatten().ok_or_else(lost)?;
            let status = status.try_into().map_err(|_| lost())?;
            Ok(HttpResponse::new(status, SdkBody::from(body)))
        })
    }
}

#[derive(Clone)]
struct Engine(Database);

impl Upstream for Engine {
    async fn call(&self, request: Request) -> Option<Answer> {
        let body = request.body;
        let answer = match request.target.rsplit('.').next()? {
            "PutItem" => run(body, |request| self.0.put_item(request)),
            "DeleteItem" => run(body, |request| self.0.delete_item(request)),
            "Query" => run(body, |request| self.0.query(request)),
            "GetItem" => run(body, |request| self.0.get_item(request)),
            "UpdateItem" => run(body, |request| self.0.update_item(request)),
            "CreateTable" => run(body, |request| self.0.create_table(request)),
            "DescribeTable" => run(body, |request| self.0.describe_table(request)),
            other => panic!("the simulation does not know {other}"),
        };
        Some(match answer {
            Ok(body) => Answer { status: 200, body },
            Err(error) => Answer { status: error.status_code(), body: error.to_json().into_bytes() },
        })
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: serde_json::Value,
    operation: impl Fn(Q) -> Result<A, DynoxideError>,
) -> Result<Vec<u8>, DynoxideError> {
    let request = serde_json::from_value(body).expect("a request that the engine understands");
    Ok(serde_json::to_vec(&operation(request)?).expect("an answer that serialises"))
}
