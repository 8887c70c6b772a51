//! The service with the orders of `events/`: its functions' own code on tables and a bus in memory, which never fail.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dynamodb_circuit_breaker::{CircuitBreaker, Table};
use dynamodb_event_store::no_span;
use lambda_http::http::Response;
use lambda_http::{Context, RequestExt as _};
use orders_core::payments::GuardedProvider;
use orders_core::publication::{Envelopes, EventBridge, Publisher, Relay};
use orders_core::read_model::Orders;
use orders_functions::commands::pay_order::VerifiedCommands;
use orders_functions::commands::{
    Commands, cancel_order, create_order, deliver_order, pay_order, return_order, ship_order,
};
use orders_functions::config::SalesTables;
use orders_functions::expiry::Expiry;
use orders_functions::incoming::run::Runner;
use orders_functions::ops_status::{self, Operations};
use orders_functions::override_breaker::{self, Breakers};
use orders_functions::payments::{BREAKER, Payments};
use orders_functions::projection::ReadModels;
use orders_functions::queries::sales_report::{self, Reports};
use orders_functions::queries::{Queries, get_order, list_orders, list_user_orders, order_history};
use orders_functions::rebuild::Maintenance;
use orders_functions::republish::Republisher;
use orders_functions::request::Request;
use orders_functions::settlement::Settlement;
use orders_functions::{gateway, http};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::simulation::action::Action;
use crate::simulation::function::{EXPIRE_AFTER, config};
use crate::simulation::network::Network;
use crate::simulation::step::{Circumstances, Condition};
use crate::simulation::tables::{BACKLOG, ROWS, TOTALS, Tables};

/// The functions with a route.
const ROUTES: [(&str, &str); 13] = [
    ("POST /orders/{id}/pay", "pay-order"),
    ("POST /orders/{id}/cancel", "cancel-order"),
    ("POST /orders/{id}/ship", "ship-order"),
    ("POST /orders/{id}/deliver", "deliver-order"),
    ("POST /orders/{id}/return", "return-order"),
    ("POST /orders", "create-order"),
    ("GET /orders/{id}", "get-order"),
    ("GET /orders/{id}/events", "order-history"),
    ("GET /orders", "list-orders"),
    ("GET /users/{user_id}/orders", "list-user-orders"),
    ("GET /reports/sales", "sales-report"),
    ("GET /ops/status", "ops-status"),
    ("PUT /ops/breakers/{name}/override", "override-breaker"),
];

/// One container of each function.
pub struct Service {
    /// The tables and the bus.
    pub network: Network,
    paying: VerifiedCommands<Network>,
    queries: Queries,
    reports: Reports,
    operations: Operations,
    breakers: Breakers,
    /// Of `settle-payments`, with a provider that is down.
    pub settlement: Settlement<Network>,
    /// Of `expire-orders`.
    pub expiry: Expiry,
    /// Of the functions that receive events.
    pub runner: Runner<EventBridge>,
    /// Of `publish-events`.
    pub relay: Relay<EventBridge>,
    /// Of `project-orders` and `catch-up-read-models`.
    pub models: ReadModels,
    /// Of `rebuild-orders`.
    pub maintenance: Maintenance,
    /// Of `republish`.
    pub republisher: Republisher<EventBridge>,
    runtime: Runtime,
    began: Instant,
    initial: Tables,
    invocations: Cell<u64>,
}

thread_local! {
    static SERVICE: RefCell<Option<Service>> = const { RefCell::new(None) };
}

/// Runs a check on the service in its initial state.
pub fn with<T>(check: impl FnOnce(&Service) -> T) -> T {
    SERVICE.with_borrow_mut(|service| {
        let service = service.get_or_insert_with(Service::start);
        let mut outside = service.network.outside();
        outside.tables = service.initial.clone();
        outside.bus.entries.clear();
        drop(outside);
        service.invocations.set(0);
        check(service)
    })
}

/// The event of this name in `events/`.
pub fn event(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../events/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).expect("an event")).expect("JSON")
}

impl Service {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let (network, began) = (Network::new(400 * 1024), runtime.block_on(async { Instant::now() }));
        network.outside().provider.condition = Condition::Down;
        let (clients, config) = (network.clients(), config(2));
        let client = clients.dynamodb.clone();
        let breaker = || {
            let table = Table::new(client.clone(), "CircuitBreakers");
            CircuitBreaker::new(BREAKER, "".parse().expect("settings"), table)
        };
        let bus = EventBridge::open(clients.eventbridge.clone(), "orders");
        let action = Action::new(Circumstances::default(), began, None);
        let bus = runtime.block_on(action.run(bus)).expect("it does not crash").expect("the bus exists");
        let (publisher, store) = (Publisher::new(bus), config.event_store(client.clone()));
        let rows = Orders::new(client.clone(), ROWS);
        let sales = SalesTables { rows: "SalesOrders".into(), totals: TOTALS.into() };
        let limit = "sliding-window; limit=3000; window=60s; by=user; name=read".parse().expect("a policy");
        let guarded = Arc::new(GuardedProvider::new(network.clone(), breaker()));
        let envelopes = Envelopes { currency: config.currency, api_url: "https://api.example.com".into() };
        let relay = Relay { envelopes, publisher: publisher.clone(), spans: no_span };
        let mut service = Self {
            paying: VerifiedCommands { commands: Commands::new(&config, client.clone()), payments: Payments::Trusted },
            queries: Queries::new(&config, client.clone()),
            reports: Reports::new(&config, TOTALS, client.clone()),
            operations: Operations {
                rows: rows.clone(),
                breakers: vec![breaker()],
                limits: [("read", limit)].into(),
                scope_prefix: config.scope_prefix.clone(),
            },
            breakers: Breakers { breakers: vec![breaker()], scope_prefix: config.scope_prefix.clone() },
            settlement: Settlement {
                rows: rows.clone(),
                store: store.clone(),
                payments: Payments::Verified(guarded),
                currency: config.currency,
            },
            expiry: Expiry { rows, store: store.clone(), after: Some(EXPIRE_AFTER) },
            runner: Runner { store: store.clone(), publisher },
            relay: relay.clone(),
            models: ReadModels::new(&config, &sales, BACKLOG, client.clone()),
            maintenance: Maintenance::new(config, sales, client),
            republisher: Republisher { store, relay },
            initial: Tables::new(400 * 1024),
            network,
            runtime,
            began,
            invocations: Cell::new(0),
        };
        let batch = event("project-orders");
        for record in batch["Records"].as_array().expect("records") {
            service.store(&record["dynamodb"]["NewImage"]);
        }
        let batch = serde_json::from_value(batch).expect("a batch");
        let response = service.run(service.models.project(batch));
        assert!(response.batch_item_failures.is_empty(), "{response:?}");
        service.initial = service.network.outside().tables.clone();
        service
    }

    /// Runs work to its end, as an invocation does.
    pub fn run<F: Future>(&self, work: F) -> F::Output {
        let action = Action::new(Circumstances::default(), self.began, None);
        // Boxed, since the nested futures of the SDK are large.
        self.runtime.block_on(action.run(Box::pin(work))).expect("it does not crash")
    }

    /// The context of an invocation that may take a minute. Its id is its own, as Lambda promises: with the id of an earlier
    /// one, a repeat would be taken for the attempt whose response was lost.
    pub fn context(&self) -> Context {
        let mut context = Context::default();
        let invocation = self.invocations.replace(self.invocations.get() + 1);
        context.request_id = format!("8c5a1f2e-0000-4000-8000-{invocation:012x}");
        let now = Action::new(Circumstances::default(), self.began, None).now();
        context.deadline =
            (now + chrono::Duration::from_std(Duration::from_secs(60)).expect("a minute")).timestamp_millis() as u64;
        context
    }

    /// Stores a commit as it is.
    pub fn store(&self, item: &Value) {
        let request = serde_json::json!({"TableName": "OrderEvents", "Item": item});
        let (status, response) = self.network.outside().tables.execute("PutItem", &request, 0);
        assert_eq!(status, 200, "{response}");
    }

    /// The number of stored commits.
    pub fn commits(&self) -> usize {
        self.network.outside().tables.commits.len()
    }

    /// The function that an event of the gateway is for, by its route.
    pub fn function(event: &RawValue) -> Option<&'static str> {
        ROUTES.iter().find(|(route, _)| event.get().contains(&format!("\"{route}\""))).map(|(_, function)| *function)
    }

    /// What the function responds to an event of the gateway, as the gateway gets it.
    pub fn respond(&self, function: &str, event: &RawValue) -> Value {
        let (paying, queries) = (&self.paying, &self.queries);
        let commands = &paying.commands;
        let answer = self.run(async {
            let request = &Request::new(gateway::request(event).with_lambda_context(self.context()));
            let handled = async {
                match function {
                    "create-order" => create_order::handle(commands, request).await,
                    "pay-order" => pay_order::handle(paying, request).await,
                    "cancel-order" => cancel_order::handle(commands, request).await,
                    "ship-order" => ship_order::handle(commands, request).await,
                    "deliver-order" => deliver_order::handle(commands, request).await,
                    "return-order" => return_order::handle(commands, request).await,
                    "get-order" => get_order::handle(queries, request).await,
                    "order-history" => order_history::handle(queries, request).await,
                    "list-orders" => list_orders::handle(queries, request).await,
                    "list-user-orders" => list_user_orders::handle(queries, request).await,
                    "sales-report" => sales_report::handle(&self.reports, request).await,
                    "ops-status" => ops_status::handle(&self.operations, request).await,
                    "override-breaker" => override_breaker::handle(&self.breakers, request).await,
                    _ => panic!("no function {function}"),
                }
            };
            http::respond(None, request, handled).await
        });
        serde_json::to_value(gateway::Response::from(Response::from(answer))).expect("a response")
    }
}
