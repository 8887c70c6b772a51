//! What the tests of this package share.

mod sales;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use dynamodb_circuit_breaker::CircuitBreaker;
use dynamodb_event_store::client as settings;
use dynamodb_event_store::projection::Projected;
use dynamodb_event_store::{Change, CommitKey, Consistency, EventStore, Metadata, StreamId, StreamRecord};
use dynamodb_testkit::faults::Faults;
use dynamodb_testkit::proxy::Proxy;
use lambda_http::{Context, RequestExt as _};
use orders_core::domain::{Decide, Order, PlacedOrder};
use orders_core::payments::{GuardedProvider, HttpProvider, Timeouts};
use orders_core::publication::{Envelope, Envelopes, EventBus, Publisher, PutError, Relay};
use orders_core::read_model::Orders;
use orders_local::dynamodb;
use orders_local::payments::PaymentProvider;
use orders_local::served::Served;
use orders_tests::database::TestTables;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::commands::pay_order::VerifiedCommands;
use crate::commands::{Commands, cancel_order, create_order, pay_order, ship_order};
use crate::config::Config;
use crate::gateway;
use crate::http;
use crate::limits::Limits;
use crate::ops_status::Operations;
use crate::override_breaker::Breakers;
use crate::payments::{self, Payments};
use crate::problem::Problem;
use crate::projection::ReadModels;
use crate::queries::Queries;
use crate::request::Request;
use crate::settlement::Settlement;

/// The owner of the orders in `events/`.
pub const OWNER: &str = "3f0c1a52-7d0e-4a7e-9c49-2b8f7a5d1e60";

const TABLES: [&str; 6] =
    ["OrderEvents", "Orders", "SalesOrders", "SalesTotals", "ReadModelBacklog", "CircuitBreakers"];

/// The context of an invocation that may take a minute.
pub fn context() -> Context {
    let deadline = SystemTime::now() + Duration::from_secs(60);
    let mut context = Context::default();
    context.request_id = uuid::Uuid::new_v4().to_string();
    context.deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    context
}

/// The request in an event of the gateway.
pub fn request(event: Value) -> Request {
    request_in(event, context())
}

/// The same in this invocation.
pub fn request_in(event: Value, context: Context) -> Request {
    Request::new(from_gateway(event.to_string()).with_lambda_context(context))
}

/// The request in the text of an event.
pub fn from_gateway(event: String) -> lambda_http::Request {
    gateway::request(&RawValue::from_string(event).unwrap())
}

/// The event in `events/NAME.json`.
pub fn event(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../events/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// An event of the gateway, from a caller with these scopes.
pub fn call(sub: &str, scopes: &str, order_id: &str, body: &Value) -> Value {
    json!({
        "headers": {"content-type": "application/json"},
        "pathParameters": {"id": order_id},
        "requestContext": {
            "authorizer": {"jwt": {"claims": {"sub": sub, "scope": scopes}}},
            "http": {"method": "POST"},
        },
        "body": body.to_string(),
    })
}

/// The same without a body, and with this query string.
pub fn ask(sub: &str, scopes: &str, order_id: &str, query: &str) -> Value {
    let mut event = call(sub, scopes, order_id, &Value::Null);
    event["body"] = Value::Null;
    event["requestContext"]["http"]["method"] = "GET".into();
    event["rawQueryString"] = query.into();
    event
}

/// The same event with another header.
pub fn with_header(mut event: Value, name: &str, value: &str) -> Value {
    event["headers"][name] = value.into();
    event
}

/// What a handler responds to an event, as the gateway gets it.
pub async fn answer(handle: impl AsyncFn(&Request) -> Result<Answer, Problem>, event: Value) -> Answer {
    respond(handle, request(event)).await
}

/// The same for a request.
pub async fn respond(handle: impl AsyncFn(&Request) -> Result<Answer, Problem>, request: Request) -> Answer {
    http::respond(None, &request, Box::pin(handle(&request))).await
}

/// The same behind limits.
pub async fn limited(
    limits: &Limits,
    handle: impl AsyncFn(&Request) -> Result<Answer, Problem>,
    event: Value,
) -> Answer {
    let request = request(event).pending();
    http::respond(Some(limits), &request, Box::pin(handle(&request))).await
}

/// The body of a response.
pub fn body(answer: &Answer) -> Value {
    serde_json::from_str(answer.body()).unwrap()
}

/// The name of a response's problem.
pub fn problem(answer: &Answer) -> String {
    body(answer)["type"].as_str().unwrap().strip_prefix("urn:orders:problem:").unwrap().to_owned()
}

/// A bus that keeps the entries that it accepts, and accepts none while it is down. Clones share them.
#[derive(Clone, Default)]
pub struct Bus {
    pub taken: Arc<Mutex<Vec<Envelope>>>,
    pub down: Arc<AtomicBool>,
}

impl Bus {
    /// The names and details of the accepted entries.
    pub fn taken(&self) -> Vec<(String, Value)> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|entry| (entry.detail_type.clone(), serde_json::from_str(&entry.detail).unwrap())).collect()
    }

    /// A relay to it.
    pub fn relay(&self) -> Relay<Self> {
        let envelopes = Envelopes { currency: "EUR".parse().unwrap(), api_url: "https://api.example.com".into() };
        Relay { envelopes, publisher: Publisher::new(self.clone()), spans: dynamodb_event_store::no_span }
    }
}

impl EventBus for Bus {
    async fn put(&self, entries: &[Envelope]) -> Result<Vec<Option<PutError>>, PutError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(PutError::ForNow("the bus is down".into()));
        }
        self.taken.lock().unwrap().extend_from_slice(entries);
        Ok(entries.iter().map(|_| None).collect())
    }
}

/// The service on a database with the tables of the template.
pub struct Shop {
    tables: TestTables,
    proxy: Option<Proxy>,
    client: Client,
    config: Config,
    pub commands: Commands,
    /// The caller is trusted, unless a test says otherwise.
    pub payments: Payments,
    pub queries: Queries,
}

impl Shop {
    pub async fn open() -> Self {
        let tables = TestTables::create(&TABLES).await;
        let client = tables.client();
        Self::new(tables, None, client)
    }

    /// With [`Shop::faults`] between the service and the database.
    pub async fn open_with_faults() -> Self {
        let tables = TestTables::create(&TABLES).await;
        let proxy = Proxy::start(tables.endpoint());
        let client = proxy.client(Duration::from_millis(250));
        Self::new(tables, Some(proxy), client)
    }

    fn new(tables: TestTables, proxy: Option<Proxy>, client: Client) -> Self {
        let config = config(|logical_id| tables.name(logical_id).to_owned());
        let commands = Commands::new(&config, client.clone());
        let queries = Queries::new(&config, client.clone());
        Self { tables, proxy, client, config, commands, payments: Payments::Trusted, queries }
    }

    /// Faults for the calls to the database, and a record of the calls.
    pub fn faults(&self) -> &Faults {
        &self.proxy.as_ref().unwrap().faults
    }

    /// With a payment provider behind a breaker. It runs until the returned `Served` is dropped.
    pub async fn with_provider(breaker: &str) -> (Self, PaymentProvider, Served) {
        let (mut shop, provider) = (Self::open().await, PaymentProvider::default());
        let served = provider.serve().await.unwrap();
        shop.payments = shop.verified(&served.url, breaker);
        (shop, provider, served)
    }

    /// What `pay-order` shares between requests.
    pub fn paying(&self) -> VerifiedCommands {
        VerifiedCommands { commands: self.commands.clone(), payments: self.payments.clone() }
    }

    /// The provider at an address, behind a breaker with these settings, as a container creates it.
    pub fn verified(&self, url: &str, breaker: &str) -> Payments {
        let timeout = Duration::from_secs(10);
        let timeouts = Timeouts { connect: timeout, total: Duration::from_secs(1) };
        let provider = HttpProvider::new(url, None, timeouts).unwrap();
        let table = dynamodb_circuit_breaker::Table::new(self.client.clone(), self.tables.name("CircuitBreakers"))
            .with_timeout(timeout);
        let breaker = CircuitBreaker::new(payments::BREAKER, breaker.parse().unwrap(), table);
        Payments::Verified(Arc::new(GuardedProvider::new(provider, breaker)))
    }

    /// The settlement of deferred payments, as a container creates it.
    pub fn settlement(&self) -> Settlement {
        Settlement {
            rows: self.orders(),
            store: self.events(),
            payments: self.payments.clone(),
            currency: self.config.currency,
        }
    }

    /// What `ops-status` shows.
    pub fn operations(&self) -> Operations {
        Operations {
            rows: self.orders(),
            breakers: self.breakers().breakers,
            limits: [("read", "sliding-window; limit=3000; window=60s; by=user; name=read".parse().unwrap())].into(),
            scope_prefix: self.config.scope_prefix.clone(),
        }
    }

    /// What `override-breaker` changes.
    pub fn breakers(&self) -> Breakers {
        let table = dynamodb_circuit_breaker::Table::new(self.client.clone(), self.tables.name("CircuitBreakers"));
        let table = table.with_timeout(Duration::from_secs(10));
        let breaker = CircuitBreaker::new(payments::BREAKER, "".parse().unwrap(), table);
        Breakers { breakers: vec![breaker], scope_prefix: self.config.scope_prefix.clone() }
    }

    /// The read models.
    pub fn read_models(&self) -> ReadModels {
        let sales = sales::tables(|logical_id| self.tables.name(logical_id).to_owned());
        ReadModels::new(&self.config, &sales, self.tables.name("ReadModelBacklog"), self.client.clone())
    }

    /// The rows.
    pub fn orders(&self) -> Orders {
        Orders::new(self.client.clone(), &self.config.orders_table)
    }

    /// A new order of [`OWNER`]'s that costs this much.
    pub async fn create_order(&self, price: f64) -> String {
        let item = json!({"product_id": "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11", "quantity": 1, "price": price});
        let event = call("storefront", "orders:checkout", "", &json!({"user_id": OWNER, "items": [item]}));
        let created = answer(async |request| create_order::handle(&self.commands, request).await, event).await;
        body(&created)["order_id"].as_str().unwrap().to_owned()
    }

    /// Pays an order as its owner.
    pub async fn pay(&self, order_id: &str, price: f64) {
        let event = call(OWNER, "orders:write", order_id, &json!({"payment_id": "p1", "amount": price}));
        let paid = answer(async |request| pay_order::handle(&self.paying(), request).await, event).await;
        assert_eq!(paid.status(), 200, "{}", paid.body());
    }

    /// Ships a paid order.
    pub async fn ship(&self, order_id: &str) {
        let event = call("fulfilment", "orders:fulfil", order_id, &json!({"tracking_number": "TRK-1"}));
        let shipped = answer(async |request| ship_order::handle(&self.commands, request).await, event).await;
        assert_eq!(shipped.status(), 200, "{}", shipped.body());
    }

    /// Cancels an order as fulfilment does.
    pub async fn cancel(&self, order_id: &str) {
        let event = call("fulfilment", "orders:fulfil", order_id, &json!({"reason": "out of stock"}));
        let cancelled = answer(async |request| cancel_order::handle(&self.commands, request).await, event).await;
        assert_eq!(cancelled.status(), 200, "{}", cancelled.body());
    }

    /// Runs a command that has no route.
    pub async fn run(&self, order_id: &str, command: &impl Decide) {
        let events = self.events();
        let loaded = events.load(&StreamId::new(order_id), Consistency::Strong).await.unwrap();
        let request = dynamodb_event_store::Request {
            key: CommitKey::unkeyed(),
            metadata: Metadata { actor: "event|payments".into(), ..Metadata::default() },
            if_match: None,
            deadline: tokio::time::Instant::now() + Duration::from_secs(10),
        };
        events.execute(loaded, &request, |order, now| command.decide(order, now)).await.unwrap();
    }

    /// Stores a commit of an unknown event, as a newer release might.
    pub async fn store_unreadable(&self, order_id: &str, version: u64) {
        let commit = json!({
            "stream_id": order_id, "version": version, "commit_id": uuid::Uuid::new_v4(),
            "events": [{"type": "OrderTeleported", "schema": 1, "data": {"order_id": order_id}}],
            "recorded_at": "2026-11-24T12:00:00Z",
            "metadata": {"actor": "newer", "correlation_id": "c", "causation_id": "r"},
        });
        let item: HashMap<_, _> = serde_dynamo::to_item(commit).unwrap();
        let put = self.client.put_item().table_name(&self.config.order_events_table).set_item(Some(item));
        put.send().await.unwrap();
    }

    /// What is stored of an order.
    pub async fn order(&self, order_id: &str) -> PlacedOrder {
        let loaded = self.events().load(&StreamId::new(order_id), Consistency::Strong).await.unwrap();
        loaded.stream().state().placed().unwrap().clone()
    }

    /// Projects all events to the rows.
    pub async fn project(&self) {
        let items = self.client.scan().table_name(&self.config.order_events_table).send().await.unwrap();
        let records = items.items.unwrap().into_iter().map(|item| {
            let keys = ["stream_id", "version"].map(|key| (key.to_owned(), item[key].clone()));
            let keys = HashMap::from(keys).into();
            StreamRecord { sequence_number: "1".into(), keys, change: Change::Inserted(item.into()) }
        });
        assert_eq!(self.read_models().orders.project(records.collect()).await, Projected::default());
    }

    /// The store.
    pub fn events(&self) -> EventStore<Order> {
        self.config.event_store(self.client.clone())
    }

    /// The name of its event table.
    pub fn events_table(&self) -> &str {
        &self.config.order_events_table
    }

    /// How many commits there are, of all orders together.
    pub async fn commits(&self) -> i32 {
        let scan = self.client.scan().table_name(&self.config.order_events_table);
        scan.consistent_read(true).send().await.unwrap().count()
    }
}

/// The commands on a database that refuses every connection.
pub fn unreachable() -> Commands {
    Commands::new(&config(str::to_owned), unreachable_client())
}

/// The read models on such a database.
pub fn unreachable_read_models() -> ReadModels {
    let sales = sales::tables(str::to_owned);
    ReadModels::new(&config(str::to_owned), &sales, "ReadModelBacklog", unreachable_client())
}

/// The events of such a database.
pub fn unreachable_events() -> EventStore<Order> {
    EventStore::new(unreachable_client(), "OrderEvents", NonZeroU32::new(14).unwrap())
}

/// A client of such a database.
pub fn unreachable_client() -> aws_sdk_dynamodb::Client {
    let client = dynamodb::client("http://127.0.0.1:9");
    aws_sdk_dynamodb::Client::from_conf(settings::for_requests(client.config().to_builder()).build())
}

/// The configuration with tables of these names, by their logical ids.
fn config(table: impl Fn(&str) -> String) -> Config {
    Config {
        order_events_table: table("OrderEvents"),
        orders_table: table("Orders"),
        currency: "EUR".parse().unwrap(),
        scope_prefix: "orders:".into(),
        snapshot_every: NonZeroU32::new(14).unwrap(),
        event_epoch: None,
    }
}
