//! What functions need to run: tables, event buses and the payment provider, without routes, streams and schedules.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use axum::body::Bytes;
use tokio::net::TcpListener;

use super::options::{StackError, StackOptions};
use crate::bus::{Bus, Endpoint, Target};
use crate::dynamodb::{self, Database, DatabaseError, Relay, Storage, tables};
use crate::journal::Journal;
use crate::lambda::asynchronous::{Asynchronous, Background};
use crate::lambda::{Containers, InvokeError};
use crate::payments::{PaymentProvider, Served};
use crate::queues::Queues;
use crate::schedules::Schedules;
use crate::streams::Wakeup;
use crate::template::{Template, TemplateOptions};
use crate::traces::{Receiver, Traces};

/// Functions that can be invoked, and the services that they use.
#[derive(Debug)]
pub struct Environment {
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
    traces: Traces,
    receiver: Receiver,
    embedded: Option<Embedded>,
}

/// The embedded database, and the relay in front of it.
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

impl Environment {
    /// Reads the template and creates its tables where they do not exist. Processes are started when they are first
    /// invoked.
    ///
    /// # Errors
    /// When the template cannot be run or the database does not respond.
    pub async fn start(options: &StackOptions) -> Result<Self, StackError> {
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
        let streams = tables::create_all(&dynamodb::client(&dynamodb), &template.tables).await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(StackError::Bus)?;
        let bus_url = format!("http://{}", listener.local_addr().map_err(StackError::Bus)?);
        let traces = Traces::default();
        let receiver = traces.receive().await.map_err(StackError::Traces)?;
        let endpoint = template.parameters.get("OtlpEndpoint").filter(|endpoint| !endpoint.is_empty());
        let services = [
            ("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", &bus_url),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.unwrap_or(&receiver.url)),
        ];
        let containers = containers(&template, options, &services);
        if let Some((function, missing)) = containers.iter().find(|(_, containers)| !containers.program().is_file()) {
            let program = missing.program().to_owned();
            return Err(StackError::NoBinary { function: function.clone(), program });
        }

        let queues = Queues::new(template.queues.iter().cloned(), options.data.as_deref());
        let background = Background::new(Journal::default(), queues, options.retry_wait);
        let targets = template.rules.iter().map(|rule| {
            let function = template.functions.iter().find(|function| function.arn() == rule.target);
            let function = function.and_then(|function| {
                let containers = containers.get(&function.logical_id)?.clone();
                Some(Asynchronous::new(function, containers, background.clone()))
            });
            Target { rule: rule.clone(), function }
        });
        let bus = Bus::new(&template.buses, targets.collect(), background.clone());
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
            traces,
            receiver,
            embedded,
        })
    }

    pub(crate) fn start_schedules(&self) -> Schedules {
        let functions = self.template.functions.iter().filter_map(|function| {
            let containers = self.containers(&function.logical_id)?.clone();
            Some((function, Asynchronous::new(function, containers, self.background.clone()).scheduled()))
        });
        Schedules::start(functions, &self.background)
    }

    /// The event buses.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Address of the event buses, for AWS SDKs.
    pub(crate) fn bus_url(&self) -> &str {
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

    /// The spans of the functions.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Address of the receiver of spans.
    pub(crate) fn traces_url(&self) -> &str {
        &self.receiver.url
    }

    /// The template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Address of the DynamoDB.
    pub fn dynamodb(&self) -> &str {
        &self.dynamodb
    }

    /// A client of the DynamoDB.
    pub fn client(&self) -> Client {
        dynamodb::client(&self.dynamodb)
    }

    /// The containers of a function, by logical id or binary.
    pub fn containers(&self, function: &str) -> Option<&Arc<Containers>> {
        self.template.function(function).and_then(|known| self.containers.get(&known.logical_id))
    }

    /// ARN of the stream of the table of that name.
    pub(crate) fn stream(&self, table: &str) -> Option<&str> {
        let table = self.template.tables.iter().find(|known| known.name == table)?;
        self.streams.get(&table.logical_id).map(String::as_str)
    }

    /// Wakes a reader of a stream.
    pub(crate) fn wakeup(&self) -> Wakeup {
        Wakeup::new(self.embedded.as_ref().map(|embedded| embedded.relay.writes()))
    }

    /// Invokes a function, by logical id or binary.
    ///
    /// # Errors
    /// The outer one when there is no such function, the inner one when it fails.
    pub async fn invoke(&self, function: &str, event: Bytes) -> Result<Result<Bytes, InvokeError>, StackError> {
        let Some(containers) = self.containers(function) else {
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
        // It joins a thread.
        drop(tokio::task::spawn_blocking(move || drop(database)).await);
    }
}

/// Sets the template's provider to this one, unless the options decide about payments.
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
    services: &[(&str, &String)],
) -> BTreeMap<String, Arc<Containers>> {
    let containers = template.functions.iter().map(|function| {
        let mut environment: BTreeMap<_, _> =
            services.iter().map(|(name, url)| ((*name).to_owned(), (*url).clone())).collect();
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
