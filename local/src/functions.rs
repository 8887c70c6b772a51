//! The tables, the functions, the event bus and the payment provider of a template, without routes, streams and
//! schedules.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use tokio::net::TcpListener;

use crate::asynchronous::{Asynchronous, Background};
use crate::bus::{Bus, Destination, Endpoint, Target};
use crate::containers::{Containers, InvokeError};
use crate::database::{self, Database, DatabaseError, Storage};
use crate::journal::Journal;
use crate::options::{StackError, StackOptions};
use crate::payments::{PaymentProvider, Served};
use crate::queues::Queues;
use crate::relay::Relay;
use crate::schedules::Schedules;
use crate::streams::News;
use crate::tables;
use crate::template::{QueueRule, Template, TemplateOptions};

/// Functions that can be invoked, and the database that they use.
#[derive(Debug)]
pub struct Functions {
    template: Template,
    dynamodb: String,
    containers: BTreeMap<String, Arc<Containers>>,
    streams: BTreeMap<String, String>,
    background: Background,
    bus: Bus,
    bus_url: String,
    _bus_endpoint: Endpoint,
    payments: PaymentProvider,
    payments_served: Served,
    embedded: Option<Embedded>,
}

/// The embedded database, and the way to it.
#[derive(Debug)]
struct Embedded {
    database: Database,
    relay: Relay,
}

impl Embedded {
    async fn start(storage: &Storage, template: &Template) -> Result<Self, DatabaseError> {
        let database = Database::start(storage)?;
        let streamed = template.tables.iter().filter(|table| table.stream.is_some());
        let relay = Relay::start(database.endpoint(), streamed.map(|table| table.name.clone()).collect()).await;
        let relay = relay.map_err(|error| DatabaseError::Start(error.to_string()))?;
        Ok(Self { database, relay })
    }
}

impl Functions {
    /// Reads the template and makes its tables where they are not there yet. Processes are started when they are first
    /// called.
    ///
    /// # Errors
    /// When the template cannot be run or the database does not answer.
    pub async fn prepare(options: &StackOptions) -> Result<Self, StackError> {
        let payments = PaymentProvider::default();
        let payments_served = payments.serve().await.map_err(StackError::Payments)?;
        let template = Template::load(&options.template, &with_provider(&options.reading, &payments_served.url))
            .map_err(|source| StackError::Template { path: options.template.clone(), source })?;
        let (embedded, dynamodb) = match &options.dynamodb {
            Some(endpoint) => (None, endpoint.clone()),
            None => {
                let embedded = Embedded::start(&options.storage(), &template).await?;
                let endpoint = embedded.relay.endpoint().to_owned();
                (Some(embedded), endpoint)
            }
        };
        let streams = tables::create_all(&database::client(&dynamodb), &template.tables).await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(StackError::Bus)?;
        let bus_url = format!("http://{}", listener.local_addr().map_err(StackError::Bus)?);
        let containers = containers(&template, options, &[("DYNAMODB", &dynamodb), ("EVENTBRIDGE", &bus_url)]);
        if let Some((function, missing)) = containers.iter().find(|(_, containers)| !containers.program().is_file()) {
            let program = missing.program().to_owned();
            return Err(StackError::NoBinary { function: function.clone(), program });
        }

        let queues = Queues::new(template.queues.iter().cloned(), options.data.as_deref());
        let background = Background::new(Journal::default(), queues, options.retry_wait);
        let targets = template.functions.iter().filter_map(|function| {
            let containers = containers.get(&function.logical_id)?.clone();
            let target = Asynchronous::new(function, containers, background.clone());
            Some(function.rules.iter().map(move |rule| Target::new(rule, Destination::Function(target.clone()))))
        });
        let to_queues = template.queue_rules.iter();
        let to_queues = to_queues.map(|QueueRule { rule, queue }| Target::new(rule, Destination::Queue(queue.clone())));
        let bus = Bus::new(&template.buses, targets.flatten().chain(to_queues).collect(), background.clone());
        let _bus_endpoint = bus.serve(listener);
        Ok(Self {
            template,
            dynamodb,
            containers,
            streams,
            background,
            bus,
            bus_url,
            _bus_endpoint,
            payments,
            payments_served,
            embedded,
        })
    }

    /// Starts to call functions by the clock.
    pub(crate) fn keep_time(&self) -> Schedules {
        let timed = self.template.functions.iter().filter_map(|function| {
            let containers = self.containers.get(&function.logical_id)?.clone();
            Some((function, Asynchronous::new(function, containers, self.background.clone()).by_schedule()))
        });
        Schedules::start(&timed.collect::<Vec<_>>(), &self.background)
    }

    /// The event buses.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Address of the event buses, for AWS SDKs.
    pub fn bus_url(&self) -> &str {
        &self.bus_url
    }

    /// The payment provider.
    pub fn payments(&self) -> &PaymentProvider {
        &self.payments
    }

    /// Address of the payment provider.
    pub fn payments_url(&self) -> &str {
        &self.payments_served.url
    }

    /// What runs.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Address of the DynamoDB.
    pub fn dynamodb(&self) -> &str {
        &self.dynamodb
    }

    /// The containers of the function of that logical id.
    pub(crate) fn containers(&self, logical_id: &str) -> Option<&Arc<Containers>> {
        self.containers.get(logical_id)
    }

    /// The containers of a function, by logical id or binary.
    pub fn find(&self, function: &str) -> Option<&Arc<Containers>> {
        self.template.function(function).and_then(|known| self.containers.get(&known.logical_id))
    }

    /// ARN of the stream of the table of that logical id.
    pub(crate) fn stream(&self, table: &str) -> Option<&str> {
        self.streams.get(table).map(String::as_str)
    }

    /// What a reader of a stream hears of writes.
    pub(crate) fn news(&self) -> News {
        News::new(self.embedded.as_ref().map(|embedded| embedded.relay.writes()))
    }

    /// Runs a function, by logical id or binary, on an event.
    ///
    /// # Errors
    /// The outer one when there is no such function, the inner one when it fails.
    pub async fn invoke(&self, function: &str, event: Bytes) -> Result<Result<Bytes, InvokeError>, StackError> {
        let Some(containers) = self.find(function) else {
            let names: Vec<_> = self.template.functions.iter().map(|known| known.binary.as_str()).collect();
            return Err(StackError::NoFunction(function.to_owned(), names.join(", ")));
        };
        Ok(containers.invoke(event).await)
    }

    /// Ends every process and closes the database.
    pub async fn stop(self) {
        self.background.stop();
        for containers in self.containers.values() {
            containers.stop().await;
        }
        let database = self.embedded.map(|embedded| embedded.database);
        // It waits for a thread.
        drop(tokio::task::spawn_blocking(move || drop(database)).await);
    }
}

/// The template's provider is this one, unless whoever starts the stack has decided otherwise.
fn with_provider(reading: &TemplateOptions, url: &str) -> TemplateOptions {
    let mut reading = reading.clone();
    let decided = ["PaymentProviderUrl", "TrustCallerPayments"];
    if !decided.iter().any(|name| reading.parameters.contains_key(*name)) {
        reading.parameters.insert("PaymentProviderUrl".into(), url.into());
    }
    reading
}

fn containers(
    template: &Template,
    options: &StackOptions,
    services: &[(&str, &str)],
) -> BTreeMap<String, Arc<Containers>> {
    let containers = template.functions.iter().map(|function| {
        let endpoints =
            services.iter().map(|(service, url)| (format!("AWS_ENDPOINT_URL_{service}"), (*url).to_owned()));
        let mut environment: BTreeMap<_, _> = endpoints.collect();
        environment.extend(options.environment.clone());
        for name in [&function.logical_id, &function.binary] {
            environment.extend(options.function_environment.get(name).cloned().unwrap_or_default());
        }
        let logs = options.logs.clone();
        let containers = Containers::new(function, &options.binaries, &environment, options.containers, logs);
        (function.logical_id.clone(), containers)
    });
    containers.collect()
}
