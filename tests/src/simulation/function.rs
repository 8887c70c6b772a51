//! The functions: the service's own code, as containers run it.

use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::TimeDelta;
use dynamodb_circuit_breaker::CircuitBreaker;
use dynamodb_event_store::projection::Verification;
use dynamodb_event_store::{Consistency, Loaded, no_span};
use futures::future::BoxFuture;
use lambda_http::{Context, RequestExt as _};
use orders_core::domain::{Order, OrderId};
use orders_core::payments::GuardedProvider;
use orders_core::publication::{Envelopes, EventBridge, Publisher, Relay};
use orders_core::read_model::{OrderView, Orders};
use orders_functions::answer::Answer;
use orders_functions::commands::pay_order::VerifiedCommands;
use orders_functions::commands::{
    Commands, cancel_order, create_order, deliver_order, pay_order, return_order, ship_order,
};
use orders_functions::config::{Config, SalesTables};
use orders_functions::expiry::Expiry;
use orders_functions::incoming::run::{Received, Runner};
use orders_functions::incoming::{payments, shipping};
use orders_functions::payments::{BREAKER, Payments};
use orders_functions::projection::ReadModels;
use orders_functions::rebuild::{Maintenance, Model, OneSegment, Rebuild, RunError};
use orders_functions::republish::{Republish, Republisher};
use orders_functions::request::Request;
use orders_functions::settlement::Settlement;
use orders_functions::{gateway, http, publishing};
use serde_json::Value;
use serde_json::value::RawValue;

use super::network::{Clients, Network};
use super::step::History;
use super::tables::{BACKLOG, EVENTS, ROWS, TOTALS};

/// Orders that stay unpaid for longer are cancelled.
pub const EXPIRE_AFTER: TimeDelta = TimeDelta::hours(30);

/// What a function gets.
pub enum Invocation {
    /// A request to change an order.
    Request(&'static str, Value),
    /// The provider's event.
    Payment(Value),
    /// The carrier's event.
    Shipment(Value),
    /// The schedule of the settlement.
    Settle,
    /// The schedule of the expiry.
    Expire,
    /// A batch of the stream for the read models.
    Project(Value),
    /// The schedule of the backlog.
    CatchUp,
    /// A batch of the stream for the publisher.
    Publish(Value),
    /// A rebuild of all rows.
    Rebuild(Model),
    /// A repair of an order's rows.
    Repair(OrderId),
    /// A comparison of rows with their events.
    Verify(Model),
    /// Events are published again.
    Republish(OrderId),
}

/// What comes of it.
pub enum Done {
    /// A response to a request.
    Answer(Answer),
    /// Whether it succeeded: if not, Lambda retries.
    Ended(bool),
    /// The first record of the batch to retry, if any.
    RetryFrom(Option<String>),
}

/// A settlement: whether its run succeeds.
pub type Settle = for<'a> fn(&'a Container, &'a Context) -> BoxFuture<'a, bool>;

/// What is the same in all containers of a history.
#[derive(Clone, Copy)]
pub struct Settings {
    /// The versions from one snapshot to the next.
    pub snapshot_every: u32,
    /// The most bytes of a row.
    pub row_limit: usize,
    /// Whether there is no provider to verify payments with.
    pub trusts_caller: bool,
    /// The settlement: the service's own, except where a test shows that a fault of it is found.
    pub settle: Settle,
    /// How many runs of it settle payments of a day: a run skips most old payments, but none forever.
    pub settlements: usize,
}

impl Settings {
    /// The settings of a history.
    pub fn of(history: &History) -> Self {
        let settle: Settle = |container, context| Box::pin(async { container.settlement.run(context).await.is_ok() });
        let History { snapshot_every, row_limit, trusts_caller, .. } = *history;
        Self { snapshot_every, row_limit, trusts_caller, settle, settlements: 1_500 }
    }
}

/// One container of each function.
pub struct Container {
    config: Config,
    paying: VerifiedCommands<Network>,
    #[cfg(test)]
    pub(super) network: Network,
    settle: Settle,
    pub(super) settlement: Settlement<Network>,
    expiry: Expiry,
    runner: Runner<EventBridge>,
    republisher: Republisher<EventBridge>,
    maintenance: Maintenance,
    models: ReadModels,
}

impl Container {
    /// New containers.
    pub async fn start(network: &Network, clients: &Clients, settings: &Settings) -> Self {
        let client = clients.dynamodb.clone();
        let config = config(settings.snapshot_every);
        let table = dynamodb_circuit_breaker::Table::new(client.clone(), "CircuitBreakers");
        let rules = "failures=3; calls=3; open=5s; open-max=60s".parse().expect("settings of a breaker");
        let breaker = CircuitBreaker::new(BREAKER, rules, table);
        let guarded = match settings.trusts_caller {
            true => Payments::Trusted,
            false => Payments::Verified(Arc::new(GuardedProvider::new(network.clone(), breaker))),
        };
        let bus = EventBridge::open(clients.eventbridge.clone(), "orders").await.expect("the bus exists");
        let (publisher, store) = (Publisher::new(bus), config.event_store(client.clone()));
        let rows = Orders::new(client.clone(), ROWS);
        let sales = SalesTables { rows: "SalesOrders".into(), totals: TOTALS.into() };
        Self {
            paying: VerifiedCommands { commands: Commands::new(&config, client.clone()), payments: guarded.clone() },
            #[cfg(test)]
            network: network.clone(),
            settle: settings.settle,
            settlement: Settlement {
                rows: rows.clone(),
                store: store.clone(),
                payments: guarded,
                currency: config.currency,
            },
            expiry: Expiry { rows, store: store.clone(), after: Some(EXPIRE_AFTER) },
            runner: Runner { store: store.clone(), publisher: publisher.clone() },
            republisher: Republisher {
                store,
                relay: Relay {
                    envelopes: Envelopes { currency: config.currency, api_url: "https://api.example.com".into() },
                    publisher,
                    spans: no_span,
                },
            },
            models: ReadModels::new(&config, &sales, BACKLOG, client.clone()),
            maintenance: Maintenance::new(config.clone(), sales, client),
            config,
        }
    }

    /// Runs a function.
    pub async fn invoke(&self, invocation: &Invocation, context: &Context) -> Done {
        match invocation {
            Invocation::Request(function, event) => Done::Answer(self.respond(function, event, context).await),
            Invocation::Payment(event) => {
                let received = received(event, context);
                Done::Ended(payments::handle(&self.runner, &self.config.currency, &received).await.is_ok())
            }
            Invocation::Shipment(event) => {
                Done::Ended(shipping::handle(&self.runner, &received(event, context)).await.is_ok())
            }
            Invocation::Settle => Done::Ended((self.settle)(self, context).await),
            Invocation::Expire => Done::Ended(self.expiry.run(context).await.is_ok()),
            Invocation::Rebuild(model) => self.rebuild(Rebuild::Segment(all(*model)), context).await,
            Invocation::Repair(order_id) => self.rebuild(Rebuild::Order(*order_id), context).await,
            Invocation::Verify(model) => Done::Ended(self.verify(*model, context).await.is_ok()),
            Invocation::Republish(order_id) => {
                let request = Republish { order_id: Some(*order_id), ..Republish::default() };
                Done::Ended(self.republisher.run(request, context).await.is_ok_and(|end| end.done))
            }
            Invocation::CatchUp => Done::Ended(self.models.catch_up(context).await.is_ok()),
            Invocation::Project(batch) => {
                let response = self.models.project(parsed(batch)).await;
                Done::RetryFrom(response.batch_item_failures.into_iter().find_map(|failure| failure.item_identifier))
            }
            Invocation::Publish(batch) => {
                let response = publishing::handle(&self.republisher.relay, parsed(batch), context).await;
                Done::RetryFrom(response.batch_item_failures.into_iter().find_map(|failure| failure.item_identifier))
            }
        }
    }

    async fn rebuild(&self, rebuild: Rebuild, context: &Context) -> Done {
        Done::Ended(self.maintenance.rebuild(rebuild, context).await.is_ok())
    }

    /// The differences between a read model and the events.
    pub async fn verify(&self, model: Model, context: &Context) -> Result<Verification, RunError> {
        let verified = self.maintenance.verify(all(model), context).await?;
        Ok(verified.progress.unwrap_or_default())
    }

    /// An order as its row shows it, and as it is stored.
    pub async fn views(&self, order_id: OrderId) -> (Option<OrderView>, Loaded<Order>) {
        let Settlement { rows, store, .. } = &self.settlement;
        let row = rows.get(order_id).await.expect("the row can be read");
        let loaded = store.load(&order_id.into(), Consistency::Strong).await;
        (row, loaded.expect("the order can be loaded"))
    }

    async fn respond(&self, function: &str, event: &Value, context: &Context) -> Answer {
        let event = RawValue::from_string(event.to_string()).expect("JSON");
        let request = Request::new(gateway::request(&event).with_lambda_context(context.clone()));
        let commands = &self.paying.commands;
        let handled = async {
            match function {
                "create-order" => create_order::handle(commands, &request).await,
                "pay-order" => pay_order::handle(&self.paying, &request).await,
                "cancel-order" => cancel_order::handle(commands, &request).await,
                "ship-order" => ship_order::handle(commands, &request).await,
                "deliver-order" => deliver_order::handle(commands, &request).await,
                "return-order" => return_order::handle(commands, &request).await,
                _ => panic!("no function {function}"),
            }
        };
        http::respond(None, &request, handled).await
    }
}

/// All orders of a read model.
fn all<P>(model: Model) -> OneSegment<P> {
    let (table, seconds, progress) = (None, Some(200), None);
    OneSegment { model, segment: 0, total_segments: 1, table, after_restore: false, seconds, progress }
}

fn received(event: &Value, context: &Context) -> Received {
    Received::new(serde_json::from_str(&event.to_string()).expect("an event"), context)
}

fn parsed(batch: &Value) -> aws_lambda_events::dynamodb::Event {
    serde_json::from_value(batch.clone()).expect("a batch")
}

/// The settings of all functions.
pub fn config(snapshot_every: u32) -> Config {
    Config {
        order_events_table: EVENTS.into(),
        orders_table: ROWS.into(),
        currency: "EUR".parse().expect("a currency"),
        scope_prefix: "orders:".into(),
        snapshot_every: NonZeroU32::new(snapshot_every).expect("not zero"),
        event_epoch: None,
    }
}
