//! Planned faults between a client and DynamoDB, and a record of all calls.
//!
//! [`Faults`] sits between a request and an [`Upstream`]. The proxy applies it to the network, in front of any
//! DynamoDB.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::call_log::{Call, Calls};
use crate::exchange::{Request, Response};
use crate::stale::History;

/// A fault of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It is executed, and the connection closes without a response.
    LoseResponse,
    /// It is executed, and no response ever comes.
    HangAfter,
    /// It is not executed, and the connection closes.
    LoseRequest,
    /// It is not executed, and no response ever comes.
    Hang,
    /// The connection closes at once, and it is executed after this delay.
    Late(Duration),
    /// It is not executed: `ProvisionedThroughputExceededException`.
    Throttle,
    /// It is not executed: `AccessDeniedException`, as for a missing permission.
    Deny,
    /// It is not executed: `InternalServerError`, status 500.
    Fail,
    /// It is executed, and the response is the same status 500.
    FailAfter,
    /// It is executed with this delay.
    Delay(Duration),
    /// An eventually consistent Query of an event table gets the result of this many commits ago; other calls are
    /// executed normally.
    Stale(usize),
    /// A Query's result lacks the item at this index, whatever the consistency; other calls are executed normally.
    Omit(usize),
    /// An eventually consistent BatchGetItem finds nothing; other calls are executed normally.
    Absent,
    /// A BatchGetItem is not executed and returns all its keys as unprocessed; other calls are executed normally.
    Unprocessed,
}

/// Executes the requests.
pub trait Upstream: Clone + Send + Sync + 'static {
    /// Executes a request; `None` if the connection broke.
    fn call(&self, request: Request) -> impl Future<Output = Option<Response>> + Send;
}

/// Decides about a call that has just arrived (its `status`, `error` and `units` are empty).
type Plan = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;
type Latency = Box<dyn FnMut() -> Duration + Send>;

struct Inner {
    plan: Plan,
    latency: Latency,
    calls: Vec<Call>,
    /// The number of calls before those in `calls`.
    taken: usize,
    history: History,
}

/// Planned faults and recorded calls. Clones share their state.
#[derive(Clone)]
pub struct Faults(Arc<Mutex<Inner>>);

impl Default for Faults {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            plan: Box::new(|_| None),
            latency: Box::new(|| Duration::ZERO),
            calls: Vec::new(),
            taken: 0,
            history: History::default(),
        })))
    }
}

impl Faults {
    /// Sets the plan that decides about each call.
    ///
    /// For randomness, let it own a `fastrand::Rng` with a seed that the test prints.
    pub fn plan(&self, plan: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.lock().plan = Box::new(plan);
    }

    /// Removes the plan.
    pub fn clear(&self) {
        self.plan(|_| None);
    }

    /// Sets the latency of each direction.
    pub fn latency(&self, one_way: impl FnMut() -> Duration + Send + 'static) {
        self.lock().latency = Box::new(one_way);
    }

    /// The calls since the last time, in order of arrival. Calls in flight are included without a response.
    pub fn take_calls(&self) -> Calls {
        let mut inner = self.lock();
        inner.taken += inner.calls.len();
        Calls(std::mem::take(&mut inner.calls))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forwards a request; `None` if the connection is to close without a response.
    pub async fn forward(&self, mut request: Request, upstream: &impl Upstream) -> Option<Response> {
        let (fault, index) = self.record_call(&mut request);
        self.wait_latency().await;
        let execute = async |request: Request| {
            let response = upstream.call(request.clone()).await;
            self.record_response(index, &request, response.as_ref());
            response
        };
        let response = match fault {
            None => execute(request).await,
            Some(Fault::LoseResponse) => {
                execute(request).await;
                None
            }
            Some(Fault::HangAfter) => {
                execute(request).await;
                std::future::pending().await
            }
            Some(Fault::LoseRequest) => None,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Late(delay)) => {
                let (this, upstream) = (self.clone(), upstream.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let response = upstream.call(request.clone()).await;
                    this.record_response(index, &request, response.as_ref());
                });
                None
            }
            Some(Fault::Throttle) => Some(error(
                400,
                "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                "The level of configured provisioned throughput for the table was exceeded.",
            )),
            Some(Fault::Deny) => Some(denied("the caller is not authorized to perform this")),
            Some(Fault::Fail) => Some(internal_error()),
            Some(Fault::FailAfter) => {
                execute(request).await;
                Some(internal_error())
            }
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay / 2).await;
                let response = execute(request).await;
                tokio::time::sleep(delay / 2).await;
                response
            }
            Some(Fault::Stale(commits)) => {
                let view = self.lock().history.make_stale(&mut request, commits);
                execute(request).await.map(|response| view.hide(response))
            }
            Some(Fault::Omit(index)) => execute(request).await.map(|response| omit(response, index)),
            Some(Fault::Absent) if is_batch_get(&request) && !request.body.to_string().contains(CONSISTENT) => {
                Some(batch(json!({}), json!({})))
            }
            Some(Fault::Unprocessed) if is_batch_get(&request) => {
                Some(batch(json!({}), request.body["RequestItems"].clone()))
            }
            Some(Fault::Absent | Fault::Unprocessed) => execute(request).await,
        };
        self.wait_latency().await;
        response
    }

    async fn wait_latency(&self) {
        let latency = (self.lock().latency)();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    /// Records the call, requests its cost, and decides about it.
    fn record_call(&self, request: &mut Request) -> (Option<Fault>, usize) {
        let operation = request.target.rsplit('.').next().unwrap_or_default().to_owned();
        let table = table(&request.body).unwrap_or_default().to_owned();
        let body = request.body.clone();
        if COSTED.contains(&operation.as_str()) && body["ReturnConsumedCapacity"].is_null() {
            request.body["ReturnConsumedCapacity"] = "TOTAL".into();
        }
        let call = Call { operation, table, attempt: request.attempt, status: None, error: None, units: 0.0, body };
        let mut inner = self.lock();
        let fault = (inner.plan)(&call);
        inner.calls.push(call);
        (fault, inner.taken + inner.calls.len() - 1)
    }

    fn record_response(&self, index: usize, request: &Request, response: Option<&Response>) {
        let Some(response) = response else { return };
        let mut inner = self.lock();
        if response.status == 200 {
            inner.history.learn(request);
        }
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        // The calls may have been taken while this one was in flight.
        let index = index.checked_sub(inner.taken);
        let Some(call) = index.and_then(|index| inner.calls.get_mut(index)) else { return };
        call.status = Some(response.status);
        call.error = body["__type"].as_str().and_then(|name| name.rsplit('#').next()).map(str::to_owned);
        call.units = units(&body["ConsumedCapacity"]);
    }
}

const COSTED: [&str; 10] = [
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "GetItem",
    "Query",
    "Scan",
    "BatchGetItem",
    "BatchWriteItem",
    "TransactGetItems",
    "TransactWriteItems",
];

/// The table of a request, if it is only one.
fn table(body: &Value) -> Option<&str> {
    let of_actions = body["TransactItems"].as_array().into_iter().flatten().filter_map(Value::as_object);
    let of_actions = of_actions.flat_map(|action| action.values()).filter_map(|action| action["TableName"].as_str());
    let of_batch = body["RequestItems"].as_object().into_iter().flat_map(|tables| tables.keys().map(String::as_str));
    let mut named = body["TableName"].as_str().into_iter().chain(of_actions).chain(of_batch);
    let table = named.next()?;
    named.all(|other| other == table).then_some(table)
}

fn units(capacity: &Value) -> f64 {
    match capacity {
        Value::Array(tables) => tables.iter().map(units).sum(),
        capacity => capacity["CapacityUnits"].as_f64().unwrap_or(0.0),
    }
}

const CONSISTENT: &str = "\"ConsistentRead\":true";

fn is_batch_get(request: &Request) -> bool {
    request.target.ends_with(".BatchGetItem")
}

fn batch(responses: Value, unprocessed: Value) -> Response {
    let body = json!({"Responses": responses, "UnprocessedKeys": unprocessed});
    Response { status: 200, body: body.to_string().into_bytes() }
}

fn error(status: u16, name: &str, message: &str) -> Response {
    Response { status, body: json!({"__type": name, "message": message}).to_string().into_bytes() }
}

/// DynamoDB's response to a missing permission.
pub fn denied(message: &str) -> Response {
    error(400, "com.amazon.coral.service#AccessDeniedException", message)
}

fn internal_error() -> Response {
    error(500, "com.amazonaws.dynamodb.v20120810#InternalServerError", "The request failed for an internal reason.")
}

fn omit(mut response: Response, index: usize) -> Response {
    if let Ok(mut body) = serde_json::from_slice::<Value>(&response.body)
        && let Some(items) = body["Items"].as_array_mut().filter(|items| index < items.len())
    {
        items.remove(index);
        body["Count"] = body["Items"].as_array().map_or(0, Vec::len).into();
        response.body = body.to_string().into_bytes();
    }
    response
}
