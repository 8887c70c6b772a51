//! A client of the API that records every exchange.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::stack::Stack;

/// A gateway gives up sooner.
const PATIENCE: Duration = Duration::from_secs(35);
/// The wait before a dead stack is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a careful client tries.
const ATTEMPTS: usize = 40;
/// The problems of a 503.
const TRY_AGAIN: [&str; 4] = ["outcome-unknown", "unavailable", "contended", "payment-unverified"];

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the routes")]
pub enum Act {
    Create,
    Pay,
    Ship,
    Deliver,
    Return,
    Cancel,
}

/// A command to the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What it is for.
    pub act: Act,
    /// The name of its caller.
    pub caller: &'static str,
    /// The order, but for a creation.
    pub order: Option<String>,
    /// The idempotency key.
    pub key: Option<String>,
    /// The body.
    pub body: Value,
}

/// A response.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, or null.
    pub body: Value,
    /// Whether it is that of an earlier request.
    pub replayed: bool,
}

/// A request, and what came of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// Its correlation id.
    pub correlation_id: String,
    /// When it was sent, since the start.
    pub sent: Duration,
    /// When the response was received.
    pub received: Duration,
    /// The response; without one, anything may have happened.
    pub answer: Option<Answer>,
}

/// An order that was read, of at least a version.
#[derive(Clone, Debug)]
pub struct Read {
    /// The order.
    pub order: String,
    /// The version.
    pub at_least: u64,
    /// The response.
    pub answer: Answer,
}

impl Request {
    /// The path.
    fn path(&self) -> String {
        let verb = match self.act {
            Act::Create => return "/orders".to_owned(),
            Act::Pay => "pay",
            Act::Ship => "ship",
            Act::Deliver => "deliver",
            Act::Return => "return",
            Act::Cancel => "cancel",
        };
        format!("/orders/{}/{verb}", self.order.as_deref().unwrap_or_default())
    }
}

impl Answer {
    /// The problem's name, or nothing.
    pub fn problem(&self) -> &str {
        let name = self.body["type"].as_str().unwrap_or_default();
        name.strip_prefix("urn:orders:problem:").unwrap_or_default()
    }

    /// Whether the service failed. The gateway's own response, when the function was killed, has no problem.
    pub fn is_internal_error(&self) -> bool {
        self.status >= 500 && !self.problem().is_empty() && !TRY_AGAIN.contains(&self.problem())
    }

    /// Whether another attempt could end otherwise.
    pub fn is_final(&self) -> bool {
        self.status < 500 && self.status != 429
    }
}

/// The client.
pub struct Client {
    http: reqwest::Client,
    stack: Arc<Stack>,
    begun: Instant,
    exchanges: Mutex<Vec<Exchange>>,
    reads: Mutex<Vec<Read>>,
}

impl Client {
    /// A client of the stack.
    pub fn new(stack: Arc<Stack>) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        Self { http, stack, begun: Instant::now(), exchanges: Mutex::default(), reads: Mutex::default() }
    }

    /// Sends a request once, and reads what it has changed.
    pub async fn send(&self, request: &Request) -> Option<Answer> {
        let answer = self.send_only(request).await?;
        if let (Some(order), Some(at_least)) = (answer.body["order_id"].as_str(), answer.body["version"].as_u64()) {
            let read = self.get("fulfilment", &format!("/orders/{order}?min_version={at_least}")).await;
            let read = read.map(|answer| Read { order: order.to_owned(), at_least, answer });
            self.reads.lock().unwrap().extend(read);
        }
        Some(answer)
    }

    /// Reads the newest orders of a caller. Each is a read of its order.
    pub async fn list(&self, caller: &str) {
        let path = format!("/users/{}/orders?limit=100", self.sub(caller));
        let Some(answer) = self.get(caller, &path).await else { return };
        let of = |order: &Value, answer| Read {
            order: order["order_id"].as_str().unwrap_or_default().to_owned(),
            at_least: 1,
            answer,
        };
        let listed = answer.body["orders"].as_array().into_iter().flatten();
        let mut reads: Vec<Read> =
            listed.map(|order| of(order, Answer { body: order.clone(), ..answer.clone() })).collect();
        if answer.status != 200 {
            reads.push(of(&Value::Null, answer));
        }
        self.reads.lock().unwrap().extend(reads);
    }

    async fn send_only(&self, request: &Request) -> Option<Answer> {
        let correlation_id = format!("chaos-{}", uuid::Uuid::new_v4());
        let mut headers = vec![("x-correlation-id", correlation_id.clone())];
        headers.extend(request.key.iter().map(|key| ("idempotency-key", format!("\"{key}\""))));
        let sent = self.begun.elapsed();
        let answer = self.call(Method::POST, request.caller, &request.path(), Some(&request.body), &headers).await;
        let (request, received) = (request.clone(), self.begun.elapsed());
        let exchange = Exchange { request, correlation_id, sent, received, answer: answer.clone() };
        self.exchanges.lock().unwrap().push(exchange);
        answer
    }

    /// Sends a request again and again until it is decided.
    pub async fn insist(&self, request: &Request) -> Option<Answer> {
        for attempt in 1..=ATTEMPTS {
            if let Some(answer) = self.send(request).await.filter(Answer::is_final) {
                return Some(answer);
            }
            sleep(PAUSE * u32::try_from(attempt.min(10)).unwrap_or(10)).await;
        }
        None
    }

    /// Reads.
    pub async fn get(&self, caller: &str, path: &str) -> Option<Answer> {
        self.call(Method::GET, caller, path, None, &[]).await
    }

    /// Reads until there is a response with status 200.
    pub async fn read(&self, caller: &str, path: &str) -> Value {
        for _ in 0..ATTEMPTS {
            if let Some(answer) = self.get(caller, path).await.filter(|answer| answer.status == 200) {
                return answer.body;
            }
            sleep(PAUSE * 5).await;
        }
        panic!("{path} cannot be read: {:?}", self.get(caller, path).await);
    }

    /// Posts to a route of the stack's own.
    pub async fn control(&self, path: &str, body: Value) -> Option<Value> {
        let answer = self.call(Method::POST, "admin", path, Some(&body), &[]).await?;
        (answer.status == 200).then_some(answer.body)
    }

    /// All exchanges so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap().clone()
    }

    /// All reads of orders so far.
    pub fn reads(&self) -> Vec<Read> {
        self.reads.lock().unwrap().clone()
    }

    /// The subject of a caller.
    pub fn sub(&self, caller: &str) -> String {
        self.stack.description()["users"][caller].as_str().expect("a caller").to_owned()
    }

    async fn call(
        &self,
        method: Method,
        caller: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, String)],
    ) -> Option<Answer> {
        let stack = self.stack.description();
        let url = format!("{}{path}", stack["url"].as_str().unwrap_or_default());
        let request = self.http.request(method, url).bearer_auth(stack["tokens"][caller].as_str().unwrap_or_default());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let request = if let Some(body) = body { request.json(body) } else { request };
        let response = request.send().await.ok()?;
        let (status, replayed) = (response.status().as_u16(), response.headers().contains_key("idempotency-replayed"));
        let text = response.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or(json!(text));
        Some(Answer { status, body, replayed })
    }
}
