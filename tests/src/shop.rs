//! A running stack, and its clients.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use orders_local::binaries;
use orders_local::database::Database;
use orders_local::options::StackOptions;
use orders_local::stack::Stack;
use orders_local::template::Template;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::permissions::Permissions;
use dynamodb_testkit::proxy::Proxy;

/// How long the read model may take to follow a write.
pub const PROJECTION: Duration = Duration::from_secs(1);
/// How long a condition may take that is not timed itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A product.
pub const PRODUCT: &str = "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11";

/// The stack, and a client of its API.
pub struct Shop {
    /// The stack.
    pub stack: Stack,
    http: reqwest::Client,
    _gate: Gate,
}

/// Between the functions and their database: what their policies do not allow is refused, as AWS does.
struct Gate {
    _proxy: Option<Proxy>,
    _database: Option<Database>,
}

impl Gate {
    /// Puts one there, unless the options have the functions call something else already.
    fn before(options: &mut StackOptions) -> Self {
        if options.environment.contains_key(DYNAMODB) {
            return Self { _proxy: None, _database: None };
        }
        let database = options.dynamodb.is_none().then(|| Database::start(&options.storage()).unwrap());
        if let Some(database) = &database {
            options.dynamodb = Some(database.endpoint().to_owned());
        }
        let template = Template::load(&options.template, &options.reading).unwrap();
        let proxy = Proxy::with_interceptor(options.dynamodb.clone().unwrap(), Permissions::of(&template).guard());
        options.environment.insert(DYNAMODB.to_owned(), proxy.endpoint().to_owned());
        for function in &template.functions {
            let own = options.function_environment.entry(function.logical_id.clone()).or_default();
            own.insert("AWS_ACCESS_KEY_ID".to_owned(), function.logical_id.clone());
        }
        Self { _proxy: Some(proxy), _database: database }
    }
}

/// Where functions find DynamoDB.
const DYNAMODB: &str = "AWS_ENDPOINT_URL_DYNAMODB";

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null if there is none. A table is a text.
    pub body: Value,
}

impl Answer {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The problem's name, without what stands before it in the type.
    pub fn problem(&self) -> &str {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        self.body["type"].as_str().unwrap().strip_prefix("urn:orders:problem:").unwrap()
    }

    /// The order's version.
    pub fn version(&self) -> u64 {
        self.body["version"].as_u64().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The same, once it has that status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// Where the functions' binaries are.
pub async fn binaries() -> PathBuf {
    static BINARIES: OnceCell<PathBuf> = OnceCell::const_new();
    BINARIES.get_or_init(async || binaries::build().await.unwrap()).await.clone()
}

impl Shop {
    /// Opens one.
    pub async fn open() -> Self {
        Self::open_with(&[]).await
    }

    /// Opens one with other values for parameters of the template.
    pub async fn open_with(parameters: &[(&str, &str)]) -> Self {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self::open_as(|options| options.reading.parameters.extend(parameters)).await
    }

    /// Opens one whose options are changed so.
    pub async fn open_as(change: impl FnOnce(&mut StackOptions)) -> Self {
        let mut options = StackOptions::new(binaries().await);
        options.dynamodb = std::env::var("DYNAMODB_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        options.reading.prefix = format!("test-{}-", uuid::Uuid::new_v4());
        change(&mut options);
        let gate = Gate::before(&mut options);
        Self { stack: Stack::start(options).await.unwrap(), http: reqwest::Client::new(), _gate: gate }
    }

    /// Closes it.
    pub async fn close(self) {
        self.stack.shutdown().await;
    }

    /// The subject of a ready token.
    pub fn sub(&self, caller: &str) -> &'static str {
        orders_local::tokens::CALLERS.iter().find(|known| known.name == caller).unwrap().sub
    }

    /// Asks for something.
    pub async fn get(&self, caller: &str, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.stack.url()));
        Self::send(request.bearer_auth(&self.stack.tokens()[caller])).await
    }

    /// Asks for something in this way, with these headers.
    pub async fn ask(&self, method: &str, caller: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.stack.url()));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Self::send(request.bearer_auth(&self.stack.tokens()[caller])).await
    }

    /// Sends JSON.
    pub async fn post(&self, caller: &str, path: &str, body: Value) -> Answer {
        self.post_with(caller, path, body, &[]).await
    }

    /// Sends JSON with these headers.
    pub async fn post_with(&self, caller: &str, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        self.post_raw(caller, path, body.to_string(), &[headers, &[("content-type", "application/json")]].concat())
            .await
    }

    /// Puts JSON somewhere.
    pub async fn put(&self, caller: &str, path: &str, body: Value) -> Answer {
        let request = self.http.put(format!("{}{path}", self.stack.url())).bearer_auth(&self.stack.tokens()[caller]);
        Self::send(request.json(&body)).await
    }

    /// A body of any kind.
    pub async fn post_raw(&self, caller: &str, path: &str, body: String, headers: &[(&str, &str)]) -> Answer {
        let request = self.http.post(format!("{}{path}", self.stack.url())).bearer_auth(&self.stack.tokens()[caller]);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Self::send(request.body(body)).await
    }

    async fn send(request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let is_table =
            headers.get("content-type").is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/csv"));
        let body = match text.as_str() {
            "" => Value::Null,
            text if is_table => text.into(),
            text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}")),
        };
        Answer { status, headers, body }
    }

    /// A new order of the customer's, of two lines that cost 44.98 together.
    pub async fn create(&self) -> String {
        let answer = self.post("storefront", "/orders", self.basket()).await.expect(201);
        answer.body["order_id"].as_str().unwrap().to_owned()
    }

    /// What is sent to create such an order.
    pub fn basket(&self) -> Value {
        json!({
            "user_id": self.sub("customer"),
            "items": [
                { "product_id": PRODUCT, "quantity": 2, "price": 19.99 },
                { "product_id": PRODUCT, "quantity": 1, "price": 5 },
            ],
        })
    }

    /// Pays an order, as its owner does.
    pub async fn pay(&self, order_id: &str) -> Answer {
        let body = json!({ "payment_id": format!("pay-{order_id}"), "amount": 44.98 });
        self.post("customer", &format!("/orders/{order_id}/pay"), body).await
    }

    /// Ships an order.
    pub async fn ship(&self, order_id: &str) -> Answer {
        self.post("fulfilment", &format!("/orders/{order_id}/ship"), json!({ "tracking_number": "TRK-1" })).await
    }

    /// Delivers an order.
    pub async fn deliver(&self, order_id: &str) -> Answer {
        self.post("fulfilment", &format!("/orders/{order_id}/deliver"), json!({})).await
    }

    /// The order's row, past the functions: as the projector wrote it.
    pub async fn row(&self, order_id: &str) -> Option<orders_core::read_model::OrderView> {
        let table = &self.stack.template().table("Orders").unwrap().name;
        let rows = orders_core::read_model::Orders::new(self.stack.client(), table);
        rows.get(order_id.parse().unwrap()).await.unwrap()
    }

    /// Waits until the row is at a version; answers how long that took.
    pub async fn projected(&self, order_id: &str, version: u64) -> Duration {
        let start = Instant::now();
        until(async || self.row(order_id).await.is_some_and(|row| row.version >= version)).await;
        start.elapsed()
    }
}

/// Waits for a condition.
pub async fn until(condition: impl AsyncFn() -> bool) {
    until_within(PATIENCE, condition).await;
}

/// Waits that long for a condition that takes its time.
pub async fn until_within(patience: Duration, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < patience, "waited for {patience:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
