//! The local stack: the functions, tables, streams, rules, schedules and routes of the template, running.

mod environment;
mod options;
mod permissions;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::console::{self, Live};
use crate::dev::{self, Dev};
use crate::faults;
use crate::gateway::tokens::{CALLERS, Issuer, TokenError};
use crate::gateway::{Api, Gateway, Target};
use crate::streams::{Failures, Progress, Source, Streams};
use crate::template::Template;

pub use environment::Environment;
pub use options::{StackError, StackOptions};

/// A running stack. Stop it with [`Stack::shutdown`]; its processes are also killed when it is dropped.
#[derive(Debug)]
pub struct Stack {
    url: String,
    issuer: Issuer,
    tokens: BTreeMap<&'static str, String>,
    environment: Environment,
    streams: Streams,
    failures: Failures,
    gateway: Gateway,
    /// Live events end when this is dropped.
    running: watch::Sender<()>,
}

impl Deref for Stack {
    type Target = Environment;

    fn deref(&self) -> &Environment {
        &self.environment
    }
}

impl Stack {
    /// Creates the tables, then serves. Processes are started when they are first invoked.
    ///
    /// # Errors
    /// When the template cannot be run, the database does not respond or the port is in use.
    pub async fn start(options: StackOptions) -> Result<Self, StackError> {
        let unusable = |source| StackError::Port { port: options.port, source };
        let listener = TcpListener::bind(("127.0.0.1", options.port)).await.map_err(unusable)?;
        let url = format!("http://{}", listener.local_addr().map_err(unusable)?);
        let environment = Environment::start(&options).await?;
        let template = environment.template();

        let issuer = Issuer::new()?;
        let token = |caller: &crate::gateway::tokens::Caller| {
            let token = issuer.token(&template.api.jwt, caller.sub, &scope_names(template, caller.scopes))?;
            Ok((caller.name, token))
        };
        let tokens = CALLERS.iter().map(token).collect::<Result<BTreeMap<_, _>, TokenError>>()?;

        let failures = Failures::new(options.data.as_deref());
        let progress = Progress::default();
        let streams = start_streams(&environment, options.data.as_deref(), &failures, &progress).await?;
        let targets = template.functions.iter().flat_map(|function| {
            let containers = environment.containers(&function.logical_id);
            let routes = function.routes.iter();
            routes.filter_map(move |route| Some(Target { route: route.clone(), containers: containers?.clone() }))
        });
        let api = Api {
            targets: targets.collect(),
            settings: template.api.clone(),
            issuer: issuer.clone(),
            faults: environment.faults().clone(),
        };
        let dev = Dev {
            description: describe(&url, &environment, &tokens),
            tokens: tokens.clone(),
            bus: environment.bus().clone(),
            schedules: environment.start_schedules(),
            traces: environment.traces().clone(),
            functions: environment.all_containers().cloned().collect(),
        };
        let (running, ended) = watch::channel(());
        let live = Live {
            journal: environment.bus().journal().clone(),
            lines: environment.lines().clone(),
            progress,
            payments: environment.payments().clone(),
        };
        let dev = dev::router(dev, environment.payments().clone())
            .merge(console::router(live, ended))
            .merge(faults::router(environment.faults().clone()))
            .layer(axum::middleware::from_fn(dev::reject_other_pages));
        let currency = template.parameters.get("Currency").map_or("EUR", String::as_str);
        let gateway = Gateway::start(listener, api, console::pages(currency).nest("/dev", dev));
        Ok(Self { url, issuer, tokens, environment, streams, failures, gateway, running })
    }

    /// Address of the HTTP API, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory of the streams' on-failure destinations, with a directory for each bucket.
    pub fn failures(&self) -> &Path {
        self.failures.path()
    }

    /// The ready tokens, by the names of [`CALLERS`].
    pub fn tokens(&self) -> &BTreeMap<&'static str, String> {
        &self.tokens
    }

    /// The issuer of the tokens, which also signs claims that the authorizer rejects.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// A token for that subject with these scopes, given without their prefix (`read`).
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, sub: &str, scopes: &[&str]) -> Result<String, TokenError> {
        let template = self.template();
        self.issuer.token(&template.api.jwt, sub, &scope_names(template, scopes))
    }

    /// Accepts no more requests, ends every process and closes the database.
    pub async fn shutdown(self) {
        drop(self.running);
        self.gateway.stop().await;
        drop(self.streams);
        self.environment.stop().await;
    }
}

async fn start_streams(
    environment: &Environment,
    data: Option<&Path>,
    failures: &Failures,
    progress: &Progress,
) -> Result<Streams, StackError> {
    let mut streams = Streams::default();
    for function in &environment.template().functions {
        for settings in &function.streams {
            let containers = environment.containers(&function.logical_id);
            if let (Some(containers), Some(stream_arn)) = (containers, environment.stream(&settings.table)) {
                let (dynamodb, wakeup) = (environment.dynamodb(), environment.wakeup());
                let source = Source { dynamodb, stream_arn, wakeup, data, failures, progress };
                streams.start(function, containers.clone(), settings, source).await?;
            }
        }
    }
    Ok(streams)
}

/// The scopes with the template's prefix.
fn scope_names(template: &Template, scopes: &[&str]) -> Vec<String> {
    let prefix = template.parameters.get("ScopePrefix").map_or("orders:", String::as_str);
    scopes.iter().map(|scope| format!("{prefix}{scope}")).collect()
}

/// The response of `GET /dev/stack`.
fn describe(url: &str, environment: &Environment, tokens: &BTreeMap<&'static str, String>) -> Value {
    let template = environment.template();
    let routes = template.functions.iter().flat_map(|function| {
        let route = |route: &crate::template::Route| {
            json!({"method": route.method, "path": route.path, "function": function.binary, "scopes": route.scopes})
        };
        function.routes.iter().map(route).collect::<Vec<_>>()
    });
    let scheduled = template.functions.iter().filter(|function| !function.schedules.is_empty());
    json!({
        "url": url,
        "dynamodb": environment.dynamodb(),
        "eventbridge": environment.bus_url(),
        "payments": environment.payments_url(),
        "traces": environment.traces_url(),
        "event_buses": template.buses,
        "queues": template.queues,
        "functions": template.functions.iter().map(|function| &function.binary).collect::<Vec<_>>(),
        "schedules": scheduled.map(|function| &function.binary).collect::<Vec<_>>(),
        "routes": routes.collect::<Vec<_>>(),
        "tables": template.tables.iter().map(|table| (&table.logical_id, &table.name)).collect::<BTreeMap<_, _>>(),
        "tokens": tokens,
        "users": CALLERS.iter().map(|caller| (caller.name, caller.sub)).collect::<BTreeMap<_, _>>(),
    })
}
