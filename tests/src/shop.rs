//! A running local stack, and a client of its API.

use std::num::NonZeroU32;

use aws_sdk_dynamodb::Client;
use chrono::TimeDelta;
use dynamodb_event_store::EventStore;
use dynamodb_testkit::proxy::Proxy;
use dynamodb_testkit::wait::until;
use orders_core::domain::{Item, Money, Order, OrderEvent};
use orders_core::read_model::{OrderView, Orders};
use orders_local::dynamodb::client_as;
use orders_local::iam::Denied;
use orders_local::lambda::binaries;
use orders_local::stack::Stack;
use orders_local::stack::StackOptions;
use orders_local::template::Template;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use service_clock::Timestamp;

use crate::commits::append;
use crate::database::{endpoint, external};
use crate::permissions::{self, Used};

/// A product.
pub const PRODUCT: &str = "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11";

/// The stack, and a client of its API.
pub struct Shop {
    /// The stack.
    pub stack: Stack,
    http: reqwest::Client,
    used: Used,
}

/// A response of the API.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: JSON, the text of a CSV document, or null if it is empty.
    pub body: Value,
}

impl Response {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The problem's name: its type without the common prefix.
    pub fn problem(&self) -> &str {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        self.body["type"].as_str().unwrap().strip_prefix("urn:orders:problem:").unwrap()
    }

    /// The order's version.
    pub fn version(&self) -> u64 {
        self.body["version"].as_u64().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Asserts the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Shop {
    /// Starts a stack.
    pub async fn open() -> Self {
        Self::open_with(&[]).await
    }

    /// Starts a stack with other values for parameters of the template.
    pub async fn open_with(parameters: &[(&str, &str)]) -> Self {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self::open_as(|options| options.reading.parameters.extend(parameters)).await
    }

    /// Starts a stack with changed options.
    pub async fn open_as(change: impl FnOnce(&mut StackOptions)) -> Self {
        let mut options = StackOptions::new(binaries::build().await.unwrap());
        options.dynamodb = external();
        options.reading.prefix = format!("test-{}-", uuid::Uuid::new_v4());
        options.reading.parameters.insert("BreakGlassRole".into(), "break-glass".into());
        options.without_permission = permissions::left_out();
        let used = Used::observing(&mut options);
        change(&mut options);
        Self { stack: Stack::start(options).await.unwrap(), http: reqwest::Client::new(), used }
    }

    /// Starts a stack with changed options, in which a proxy for faults stands between the gate and the database of these
    /// functions; of all functions when none is named.
    pub async fn open_behind_proxy(functions: &[&str], change: impl FnOnce(&mut StackOptions)) -> (Self, Proxy) {
        let proxy = Proxy::start(endpoint());
        let shop = Self::open_as(|options| {
            options.dynamodb = Some(endpoint());
            let template = Template::load(&options.template, &options.reading).unwrap();
            let all = || template.functions.iter().map(|function| function.logical_id.clone());
            let named = functions.iter().map(|name| (*name).to_owned()).chain(all().filter(|_| functions.is_empty()));
            options.dynamodb_of = named.map(|function| (function, proxy.endpoint().to_owned())).collect();
            change(options);
        });
        (shop.await, proxy)
    }

    /// Stops the stack.
    pub async fn close(self) {
        self.stack.shutdown().await;
    }

    /// The calls of functions that their policies did not allow. A test that expects some takes them; others fail at the end.
    pub fn take_denied(&self) -> Vec<Denied> {
        self.used.take_denied()
    }

    /// A client of the database with the role that may alter stored events.
    pub fn break_glass(&self) -> Client {
        client_as(self.stack.dynamodb(), &self.stack.template().parameters["BreakGlassRole"])
    }

    /// The subject of a ready token.
    pub fn sub(&self, caller: &str) -> &'static str {
        orders_local::gateway::tokens::CALLERS.iter().find(|known| known.name == caller).unwrap().sub
    }

    /// The name of a table in DynamoDB.
    pub fn table(&self, logical_id: &str) -> &str {
        &self.stack.template().table(logical_id).unwrap().name
    }

    /// The event store of the orders.
    pub fn events(&self) -> EventStore<Order> {
        EventStore::with_client(self.stack.client(), self.table("OrderEvents"), NonZeroU32::new(14).unwrap())
    }

    /// Invokes a function, and returns its response.
    pub async fn invoke(&self, function: &str, event: &Value) -> Value {
        let response = self.stack.invoke(function, event.to_string().into()).await.unwrap();
        serde_json::from_slice(&response.unwrap_or_else(|error| panic!("{function}: {error}"))).unwrap()
    }

    /// Invokes a function with its own response until it is done, and returns its progress.
    pub async fn invoke_to_the_end(&self, function: &str, mut run: Value) -> Value {
        loop {
            run = self.invoke(function, &run).await;
            if run["progress"]["done"] == true {
                return run["progress"].take();
            }
        }
    }

    fn builder(&self, method: Method, caller: &str, path: &str, headers: &[(&str, &str)]) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.stack.url()));
        let request = request.bearer_auth(&self.stack.tokens()[caller]);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    /// Sends a GET request.
    pub async fn get(&self, caller: &str, path: &str) -> Response {
        Self::send(self.builder(Method::GET, caller, path, &[])).await
    }

    /// Sends a request without a body, with this method and these headers.
    pub async fn request(&self, method: &str, caller: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        Self::send(self.builder(method.parse().unwrap(), caller, path, headers)).await
    }

    /// Sends a request with this token, or with an empty one.
    pub async fn request_as(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Response {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.stack.url()));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        Self::send(if let Some(body) = body { request.json(&body) } else { request }).await
    }

    /// Posts JSON.
    pub async fn post(&self, caller: &str, path: &str, body: Value) -> Response {
        self.post_with(caller, path, body, &[]).await
    }

    /// Posts JSON with these headers.
    pub async fn post_with(&self, caller: &str, path: &str, body: Value, headers: &[(&str, &str)]) -> Response {
        Self::send(self.builder(Method::POST, caller, path, headers).json(&body)).await
    }

    /// Puts JSON.
    pub async fn put(&self, caller: &str, path: &str, body: Value) -> Response {
        Self::send(self.builder(Method::PUT, caller, path, &[]).json(&body)).await
    }

    /// Posts any body.
    pub async fn post_raw(&self, caller: &str, path: &str, body: String, headers: &[(&str, &str)]) -> Response {
        Self::send(self.builder(Method::POST, caller, path, headers).body(body)).await
    }

    async fn send(request: RequestBuilder) -> Response {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let is_csv =
            headers.get("content-type").is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/csv"));
        let body = match text.as_str() {
            "" => Value::Null,
            text if is_csv => text.into(),
            text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}")),
        };
        Response { status, headers, body }
    }

    /// Creates an order for the customer: two lines that cost 44.98 together.
    pub async fn create(&self) -> String {
        let created = self.post("storefront", "/orders", self.basket()).await.expect(201);
        created.body["order_id"].as_str().unwrap().to_owned()
    }

    /// Stores an order of the customer that was created that many hours ago.
    pub async fn create_hours_ago(&self, hours: i64) -> String {
        let (order_id, then) = (uuid::Uuid::new_v4().to_string(), Timestamp::now() - TimeDelta::hours(hours));
        let created = OrderEvent::OrderCreated {
            order_id: order_id.parse().unwrap(),
            user_id: self.sub("customer").to_owned().try_into().unwrap(),
            items: vec![Item { product_id: PRODUCT.parse().unwrap(), quantity: 1, price: Money(4498) }],
            total: Money(4498),
            created_at: then,
        };
        append(&self.events(), order_id.parse().unwrap(), vec![created]).await;
        order_id
    }

    /// The body that creates such an order.
    pub fn basket(&self) -> Value {
        json!({
            "user_id": self.sub("customer"),
            "items": [
                { "product_id": PRODUCT, "quantity": 2, "price": 19.99 },
                { "product_id": PRODUCT, "quantity": 1, "price": 5 },
            ],
        })
    }

    /// Pays an order as its owner.
    pub async fn pay(&self, order_id: &str) -> Response {
        self.pay_with(order_id, &format!("pay-{order_id}")).await
    }

    /// Pays an order as its owner, with this payment.
    pub async fn pay_with(&self, order_id: &str, payment_id: &str) -> Response {
        let body = json!({ "payment_id": payment_id, "amount": 44.98 });
        self.post("customer", &format!("/orders/{order_id}/pay"), body).await
    }

    /// Ships an order.
    pub async fn ship(&self, order_id: &str) -> Response {
        self.post("fulfilment", &format!("/orders/{order_id}/ship"), json!({ "tracking_number": "TRK-1" })).await
    }

    /// Delivers an order.
    pub async fn deliver(&self, order_id: &str) -> Response {
        self.post("fulfilment", &format!("/orders/{order_id}/deliver"), json!({})).await
    }

    /// Cancels an order as this caller.
    pub async fn cancel(&self, caller: &str, order_id: &str) -> Response {
        self.post(caller, &format!("/orders/{order_id}/cancel"), json!({ "reason": "changed my mind" })).await
    }

    /// The order's row as the projector wrote it.
    pub async fn row(&self, order_id: &str) -> Option<OrderView> {
        let rows = Orders::new(self.stack.client(), self.table("Orders"));
        rows.get(order_id.parse().unwrap()).await.unwrap()
    }

    /// Waits until the row is at a version.
    pub async fn projected(&self, order_id: &str, version: u64) {
        let what = format!("version {version} of the row of {order_id}");
        until(&what, async || self.row(order_id).await.is_some_and(|row| row.version >= version)).await;
    }
}
