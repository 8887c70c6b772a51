//! What functions need to run: tables, event buses and the payment provider, without routes, streams and schedules.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use axum::body::Bytes;
use tokio::net::TcpListener;

use super::options::{StackError, StackOptions};
use super::permissions;
use crate::bus::{Bus, Target};
use crate::console::LogLines;
use crate::dynamodb::{self, Database, tables};
use crate::faults::Faults;
use crate::gate::{Gate, Upstreams};
use crate::iam::{Call, Credentials, Iam};
use crate::journal::Journal;
use crate::lambda::asynchronous::{Asynchronous, Background};
use crate::lambda::{Containers, InvokeError};
use crate::payments::{PaymentProvider, token_secret};
use crate::queues::Queues;
use crate::schedules::Schedules;
use crate::secrets::Secrets;
use crate::served::Served;
use crate::streams::Wakeup;
use crate::template::{Template, TemplateOptions};
use crate::traces::Traces;

/// Functions that can be invoked, and the services that they use.
#[derive(Debug)]
pub struct Environment {
    template: Template,
    iam: Iam,
    gate: Gate,
    containers: BTreeMap<String, Arc<Containers>>,
    streams: BTreeMap<String, String>,
    background: Background,
    bus: Bus,
    _bus_served: Served,
    payments: PaymentProvider,
    payments_served: Served,
    secrets: Secrets,
    _secrets_served: Served,
    traces: Traces,
    receiver: Served,
    faults: Faults,
    lines: LogLines,
    embedded: Option<Database>,
}

impl Environment {
    /// Reads the template and creates its tables where they do not exist. Processes are started when they are first
    /// invoked.
    ///
    /// # Errors
    /// When the template cannot be run or the database does not respond.
    pub async fn start(options: &StackOptions) -> Result<Self, StackError> {
        let secrets = Secrets::default();
        let secrets_served = secrets.serve().await.map_err(StackError::Secrets)?;
        let payments = PaymentProvider::with_token(secrets.clone());
        let payments_served = payments.serve().await.map_err(StackError::Payments)?;
        let template = Template::load(&options.template, &with_provider(&options.reading, &payments_served.url))
            .map_err(|source| StackError::Template { path: options.template.clone(), source })?;
        let iam = permissions::iam(&template, options)?;
        permissions::check_creation(&iam, &template)?;
        let embedded = match &options.dynamodb {
            Some(_) => None,
            None => Some(Database::start(&options.storage())?),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(StackError::Bus)?;
        let bus_url = format!("http://{}", listener.local_addr().map_err(StackError::Bus)?);
        let dynamodb = embedded.as_ref().map(Database::endpoint).or(options.dynamodb.as_deref()).unwrap_or_default();
        let eventbridge = options.eventbridge.clone().unwrap_or(bus_url);
        let logical_id = |name: &str| template.function(name).map(|function| function.logical_id.clone());
        let services = [
            ("DynamoDB", dynamodb.to_owned()),
            ("AWSEvents", eventbridge),
            ("secretsmanager", secrets_served.url.clone()),
        ];
        let upstreams = Upstreams {
            services: services.into(),
            dynamodb_of: options
                .dynamodb_of
                .iter()
                .filter_map(|(of, url)| Some((logical_id(of)?, url.clone())))
                .collect(),
        };
        let streamed = template.tables.iter().filter(|table| table.stream.is_some()).map(|table| table.name.clone());
        let (faults, lines) = (Faults::default(), LogLines::default());
        let gate =
            Gate::start(iam.clone(), upstreams, faults.clone(), streamed.collect()).await.map_err(StackError::Gate)?;
        let streams = tables::create_all(&dynamodb::client(gate.endpoint()), &template.tables).await?;
        let traces = Traces::default();
        let receiver = traces.receive().await.map_err(StackError::Traces)?;
        let collector = template.parameters.get("OtlpEndpoint").filter(|endpoint| !endpoint.is_empty());
        let collector = collector.unwrap_or(&receiver.url);
        let containers = containers(&template, options, gate.endpoint(), collector, &iam, &lines);
        if let Some((function, missing)) = containers.iter().find(|(_, containers)| !containers.program().is_file()) {
            let program = missing.program().to_owned();
            return Err(StackError::NoBinary { function: function.clone(), program });
        }

        let queues = Queues::new(template.queues.iter().cloned(), options.data.as_deref());
        let journal = Journal::new(options.data.as_deref()).map_err(StackError::Journal)?;
        let background = Background::new(journal, queues, iam.clone(), options.retry_wait);
        let targets = template.rules.iter().map(|rule| {
            let function = template.functions.iter().find(|function| function.arn() == rule.target);
            let function = function.and_then(|function| {
                let containers = containers.get(&function.logical_id)?.clone();
                Some(Asynchronous::new(function, containers, background.clone()))
            });
            Target { rule: rule.clone(), function }
        });
        let bus = Bus::new(&template.buses, targets.collect(), background.clone());
        let bus_served = bus.serve(listener).map_err(StackError::Bus)?;
        Ok(Self {
            template,
            iam,
            gate,
            containers,
            streams,
            background,
            bus,
            _bus_served: bus_served,
            payments,
            payments_served,
            secrets,
            _secrets_served: secrets_served,
            traces,
            receiver,
            faults,
            lines,
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
        self.gate.endpoint()
    }

    /// The payment provider.
    pub fn payments(&self) -> &PaymentProvider {
        &self.payments
    }

    /// Address of the payment provider.
    pub fn payments_url(&self) -> &str {
        &self.payments_served.url
    }

    /// The faults that are injected by hand.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The newest log lines.
    pub(crate) fn lines(&self) -> &LogLines {
        &self.lines
    }

    /// The secrets.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
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
        self.gate.endpoint()
    }

    /// A client of the DynamoDB, as an administrator.
    pub fn client(&self) -> Client {
        dynamodb::client(self.dynamodb())
    }

    /// The containers of a function, by logical id or binary.
    pub fn containers(&self, function: &str) -> Option<&Arc<Containers>> {
        self.template.function(function).and_then(|known| self.containers.get(&known.logical_id))
    }

    /// The containers of all functions.
    pub(crate) fn all_containers(&self) -> impl Iterator<Item = &Arc<Containers>> {
        self.containers.values()
    }

    /// ARN of the stream of the table of that name.
    pub(crate) fn stream(&self, table: &str) -> Option<&str> {
        let table = self.template.tables.iter().find(|known| known.name == table)?;
        self.streams.get(&table.logical_id).map(String::as_str)
    }

    /// Wakes a reader of a stream.
    pub(crate) fn wakeup(&self) -> Wakeup {
        Wakeup::new(self.embedded.as_ref().map(|_| self.gate.writes()))
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

    /// Invokes a function as the state machine of that logical id does, if its role may.
    ///
    /// # Errors
    /// The outer one when there is no such state machine or function or the role may not invoke it, the inner one when the
    /// function fails.
    pub async fn invoke_from(
        &self,
        state_machine: &str,
        function: &str,
        event: Bytes,
    ) -> Result<Result<Bytes, InvokeError>, StackError> {
        let missing = || StackError::NoStateMachine(state_machine.to_owned());
        let caller = self.iam.identity(state_machine).ok_or_else(missing)?;
        if let Some(known) = self.template.function(function) {
            let call = Call { action: "lambda:InvokeFunction".into(), resource: known.arn(), context: Vec::new() };
            self.iam.check(&caller, &call)?;
        }
        self.invoke(function, event).await
    }

    /// Ends every process and closes the database.
    pub async fn stop(self) {
        self.background.stop();
        for containers in self.containers.values() {
            containers.stop().await;
        }
        let database = self.embedded;
        // It joins a thread.
        drop(tokio::task::spawn_blocking(move || drop(database)).await);
    }
}

/// Sets the template's provider to this one, with its token, unless the options decide about payments.
fn with_provider(reading: &TemplateOptions, url: &str) -> TemplateOptions {
    let mut reading = reading.clone();
    let decided = ["PaymentProviderUrl", "TrustCallerPayments"];
    if !decided.iter().any(|name| reading.parameters.contains_key(*name)) {
        reading.parameters.insert("PaymentProviderUrl".into(), url.into());
        reading.parameters.entry("PaymentProviderTokenArn".into()).or_insert_with(token_secret);
    }
    reading
}

fn containers(
    template: &Template,
    options: &StackOptions,
    gate: &str,
    collector: &str,
    iam: &Iam,
    lines: &LogLines,
) -> BTreeMap<String, Arc<Containers>> {
    let containers = template.functions.iter().map(|function| {
        let services =
            ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_EVENTBRIDGE", "AWS_ENDPOINT_URL_SECRETS_MANAGER"];
        let mut environment: BTreeMap<_, _> = services.map(|name| (name.to_owned(), gate.to_owned())).into();
        environment.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), collector.to_owned());
        if let Some(Credentials { access_key, secret_key, session_token }) = iam.credentials(&function.logical_id) {
            let own = [
                ("AWS_ACCESS_KEY_ID", access_key),
                ("AWS_SECRET_ACCESS_KEY", secret_key),
                ("AWS_SESSION_TOKEN", session_token),
            ];
            environment.extend(own.map(|(name, value)| (name.to_owned(), value.clone())));
        }
        environment.extend(options.environment.clone());
        for name in [&function.logical_id, &function.binary] {
            environment.extend(options.function_environment.get(name).cloned().unwrap_or_default());
        }
        let logs = lines.beside(options.logs.clone());
        let containers = Containers::new(function, &options.binaries, &environment, options.containers, logs);
        (function.logical_id.clone(), containers)
    });
    containers.collect()
}
