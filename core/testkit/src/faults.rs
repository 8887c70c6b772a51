//! Faults between a client and DynamoDB, by a plan, and the record of all calls.
//!
//! [`Faults`] stands between a request and an [`Upstream`]. The proxy puts it on a socket, before any DynamoDB.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::call_log::{Call, Calls};
use crate::exchange::{Response, Request};
use crate::stale::History;

/// What may happen to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It is done, and the connection closes without an answer.
    LoseResponse,
    /// It is done, and the answer never comes.
    HangAfter,
    /// It is not done, and the connection closes.
    LoseRequest,
    /// It is not done, and no answer ever comes.
    Hang,
    /// The connection closes at once, and it is done that much later.
    Late(Duration),
    /// It is not done: `ProvisionedThroughputExceededException`.
    Throttle,
    /// It is not done: `AccessDeniedException`, as for a permission that is missing.
    Deny,
    /// It is not done: `InternalServerError`, status 500.
    Fail,
    /// It is done, and the answer is the same status 500.
    FailAfter,
    /// It is done and answered that much later.
    Delay(Duration),
    /// An eventually consistent Query of an event table is answered as it was that many commits of the stream ago; any
    /// other call is done as usual.
    Stale(usize),
    /// A Query's answer lacks the item at this index, whatever the consistency; any other call is done as usual.
    Omit(usize),
}

/// What does the requests in the end.
pub trait Upstream: Clone + Send + Sync + 'static {
    /// Does one request; none if the connection broke.
    fn call(&self, request: Request) -> impl Future<Output = Option<Response>> + Send;
}

/// Decides about a call that has just arrived (so its `status`, `error` and `units` are empty).
type Plan = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;
type Latency = Box<dyn FnMut() -> Duration + Send>;

struct Inner {
    plan: Plan,
    latency: Latency,
    calls: Vec<Call>,
    /// How many calls were there before those in `calls`.
    taken: usize,
    history: History,
}

/// The faults to come and the calls that were. Clones are the same one.
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
    /// From now on, `plan` says what happens to each call.
    ///
    /// For chance, let it own a `fastrand::Rng` with a seed that the test prints.
    pub fn plan(&self, plan: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.lock().plan = Box::new(plan);
    }

    /// From now on, calls are done as they come.
    pub fn clear(&self) {
        self.plan(|_| None);
    }

    /// From now on, each way takes that long: to the database, and back again.
    pub fn latency(&self, one_way: impl FnMut() -> Duration + Send + 'static) {
        self.lock().latency = Box::new(one_way);
    }

    /// The calls since the last time, in the order in which they came. What is still under way is in it too, without
    /// the database's answer.
    pub fn take_calls(&self) -> Calls {
        let mut inner = self.lock();
        inner.taken += inner.calls.len();
        Calls(std::mem::take(&mut inner.calls))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a request through; none if the connection is to close without an answer.
    pub async fn carry(&self, mut request: Request, upstream: &impl Upstream) -> Option<Response> {
        let (fault, index) = self.arrived(&mut request);
        self.travel().await;
        let done = async |request: Request| {
            let answer = upstream.call(request.clone()).await;
            self.answered(index, &request, answer.as_ref());
            answer
        };
        let answer = match fault {
            None => done(request).await,
            Some(Fault::LoseResponse) => {
                done(request).await;
                None
            }
            Some(Fault::HangAfter) => {
                done(request).await;
                std::future::pending().await
            }
            Some(Fault::LoseRequest) => None,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Late(delay)) => {
                let (this, upstream) = (self.clone(), upstream.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let answer = upstream.call(request.clone()).await;
                    this.answered(index, &request, answer.as_ref());
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
                done(request).await;
                Some(internal_error())
            }
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay / 2).await;
                let answer = done(request).await;
                tokio::time::sleep(delay / 2).await;
                answer
            }
            Some(Fault::Stale(commits)) => {
                let view = self.lock().history.make_stale(&mut request, commits);
                done(request).await.map(|answer| view.hide(answer))
            }
            Some(Fault::Omit(index)) => done(request).await.map(|answer| omit(answer, index)),
        };
        self.travel().await;
        answer
    }

    async fn travel(&self) {
        let latency = (self.lock().latency)();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    /// Writes the call down, asks for its cost, and decides about it.
    fn arrived(&self, request: &mut Request) -> (Option<Fault>, usize) {
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

    fn answered(&self, index: usize, request: &Request, answer: Option<&Response>) {
        let Some(answer) = answer else { return };
        let mut inner = self.lock();
        if answer.status == 200 {
            inner.history.learn(request);
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        // The calls may have been taken while this one was under way.
        let index = index.checked_sub(inner.taken);
        let Some(call) = index.and_then(|index| inner.calls.get_mut(index)) else { return };
        call.status = Some(answer.status);
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

/// The one table that a request is about.
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

fn error(status: u16, name: &str, message: &str) -> Response {
    Response { status, body: json!({"__type": name, "message": message}).to_string().into_bytes() }
}

/// What DynamoDB answers to whoever lacks a permission.
pub fn denied(message: &str) -> Response {
    error(400, "com.amazon.coral.service#AccessDeniedException", message)
}

fn internal_error() -> Response {
    error(500, "com.amazonaws.dynamodb.v20120810#InternalServerError", "The request failed for an internal reason.")
}

fn omit(mut answer: Response, index: usize) -> Response {
    if let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body)
        && let Some(items) = body["Items"].as_array_mut().filter(|items| index < items.len())
    {
        items.remove(index);
        body["Count"] = body["Items"].as_array().map_or(0, Vec::len).into();
        answer.body = body.to_string().into_bytes();
    }
    answer
}
