//! What lies outside of the functions' processes, and the calls to it: tables, bus and payment provider.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use orders_core::payments::{Claim, PaymentProvider, Verdict, VerifyError};
use orders_core::publication;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::action::Action;
use super::bounds::{self, Bounds};
use super::bus::Bus;
use super::provider::{Provider, Word};
use super::step::Fault;
use super::tables::{Response, Tables, cancelled_transaction};

/// How long the provider's client waits.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(2);

/// All that outlives a process. Clones are the same.
#[derive(Clone)]
pub struct Network(Arc<Mutex<Outside>>);

/// The clients of the processes.
pub struct Clients {
    /// Of the tables.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Of the bus.
    pub eventbridge: aws_sdk_eventbridge::Client,
}

/// The services.
pub struct Outside {
    /// DynamoDB.
    pub tables: Tables,
    /// EventBridge.
    pub bus: Bus,
    /// The payment provider.
    pub provider: Provider,
    /// How often invocations exceeded bounds of their attempts.
    pub bounds: Bounds,
}

impl Network {
    /// Empty tables, an empty bus, and a provider that knows no payment.
    pub fn new(row_limit: usize) -> Self {
        let (tables, bus, provider) = (Tables::new(row_limit), Bus::default(), Provider::default());
        Self(Arc::new(Mutex::new(Outside { tables, bus, provider, bounds: Bounds::default() })))
    }

    /// The services.
    pub fn outside(&self) -> MutexGuard<'_, Outside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clients as functions have them.
    pub fn clients(&self) -> Clients {
        Clients { dynamodb: self.dynamodb(), eventbridge: self.eventbridge() }
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .endpoint_url("http://simulation")
            .http_client(self.http())
            // Clients share a retry budget by default; runs must not depend on each other.
            .retry_partition(RetryPartition::new(uuid::Uuid::new_v4().to_string()));
        aws_sdk_dynamodb::Client::from_conf(dynamodb_event_store::client::for_requests(config).build())
    }

    fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        let config = aws_sdk_eventbridge::Config::builder()
            .behavior_version(aws_sdk_eventbridge::config::BehaviorVersion::latest())
            .region(aws_sdk_eventbridge::config::Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .endpoint_url("http://simulation")
            .http_client(self.http())
            .retry_partition(RetryPartition::new(uuid::Uuid::new_v4().to_string()));
        aws_sdk_eventbridge::Client::from_conf(publication::for_requests(config).build())
    }

    fn http(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }

    fn execute(&self, target: &str, request: &Value, fault: Option<Fault>) -> Response {
        let outside = &mut *self.outside();
        let stale = if let Some(Fault::Stale(commits)) = fault { usize::from(commits) } else { 0 };
        match target.split_once('.') {
            Some(("DynamoDB_20120810", operation)) => outside.tables.execute(operation, request, stale),
            Some((_, operation)) => outside.bus.execute(operation, request, fault == Some(Fault::Partial)),
            None => panic!("the request has no target"),
        }
    }

    async fn call(self, action: Arc<Action>, fault: Option<Fault>, target: String, request: Value) -> Option<Response> {
        action.latency().await;
        let response = match fault {
            Some(Fault::CrashBefore) => match action.crash().await {},
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::LoseRequest) => None,
            Some(Fault::Throttle) => {
                Some(error(400, "ProvisionedThroughputExceededException", "The throughput was exceeded."))
            }
            Some(Fault::Fail) => Some(error(500, "InternalServerError", "The request failed.")),
            Some(Fault::Slow(millis)) => {
                sleep(Duration::from_millis(millis.into())).await;
                Some(self.execute(&target, &request, None))
            }
            Some(Fault::Conflict) if target.ends_with("TransactWriteItems") => {
                let actions = request["TransactItems"].as_array().map_or(0, Vec::len);
                Some(cancelled_transaction(&vec![json!({"Code": "TransactionConflict"}); actions]))
            }
            Some(Fault::Late(millis)) => {
                let (network, request) = (self.clone(), request.clone());
                tokio::spawn(async move {
                    sleep(Duration::from_millis(millis.into())).await;
                    network.execute(&target, &request, None);
                });
                None
            }
            fault => {
                let response = self.execute(&target, &request, fault);
                match fault {
                    Some(Fault::CrashAfter) => match action.crash().await {},
                    Some(Fault::HangAfter) => std::future::pending().await,
                    Some(Fault::LoseResponse) => None,
                    Some(Fault::FailAfter) => Some(error(500, "InternalServerError", "The request failed.")),
                    _ => Some(response),
                }
            }
        };
        if let Some((bound, most, row)) = response.as_ref().and_then(|response| bounds::overtaken(&request, response)) {
            let exceeded = action.lose(row) == most;
            self.outside().bounds.count(bound, exceeded);
        }
        action.latency().await;
        response
    }
}

fn error(status: u16, kind: &str, message: &str) -> Response {
    (status, json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": message}))
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

impl HttpConnector for Network {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let action = Action::current();
        let fault = action.next_call();
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let answered = self.clone().call(action, fault, target, body);
        HttpConnectorFuture::new(async move {
            let lost = || ConnectorError::io("the connection closed".into());
            let (status, body) = answered.await.ok_or_else(lost)?;
            Ok(HttpResponse::new(status.try_into().map_err(|_| lost())?, SdkBody::from(body.to_string())))
        })
    }
}

impl PaymentProvider for Network {
    async fn verify(&self, claim: &Claim) -> Result<Verdict, VerifyError> {
        let action = Action::current();
        let fault = action.next_call();
        action.latency().await;
        let lost = || VerifyError::Unanswered("the connection closed".into());
        match fault {
            Some(Fault::CrashBefore) => match action.crash().await {},
            Some(Fault::LoseRequest | Fault::Throttle | Fault::Fail) => return Err(lost()),
            Some(Fault::Slow(millis)) => sleep(Duration::from_millis(millis.into())).await,
            _ => {}
        }
        let word = self.outside().provider.verify(claim);
        action.latency().await;
        match fault {
            Some(Fault::CrashAfter) => match action.crash().await {},
            Some(Fault::LoseResponse) => return Err(lost()),
            Some(Fault::Hang | Fault::HangAfter) => {
                sleep(PROVIDER_TIMEOUT).await;
                return Err(lost());
            }
            _ => {}
        }
        match word {
            Word::Said(said) => said,
            Word::Silence => {
                sleep(PROVIDER_TIMEOUT).await;
                Err(lost())
            }
        }
    }
}
