//! The whole local stack: what the template says, running.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use axum::body::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bus::{self, Bus};
use crate::containers::{Containers, InvokeError};
use crate::database;
use crate::dev;
use crate::functions::Functions;
use crate::gateway::{Api, Gateway, Target};
use crate::options::{StackError, StackOptions};
use crate::payments::{self, PaymentProvider};
use crate::streams::{Failures, Streams};
use crate::template::{JwtConfiguration, Template};
use crate::tokens::{CALLERS, Issuer, TokenError};

/// A running stack. Stop it with [`Stack::shutdown`]; when it is dropped its processes are killed all the same.
#[derive(Debug)]
pub struct Stack {
    url: String,
    issuer: Issuer,
    audience: JwtConfiguration,
    tokens: BTreeMap<&'static str, String>,
    functions: Functions,
    streams: Streams,
    failures: Failures,
    gateway: Gateway,
}

impl Stack {
    /// Makes the tables, then serves. Processes are started when they are first called.
    ///
    /// # Errors
    /// When the template cannot be run, the database does not answer or the port is taken.
    pub async fn start(options: StackOptions) -> Result<Self, StackError> {
        let unusable = |source| StackError::Port { port: options.port, source };
        let listener = TcpListener::bind(("127.0.0.1", options.port)).await.map_err(unusable)?;
        let url = format!("http://{}", listener.local_addr().map_err(unusable)?);
        let functions = Functions::prepare(&options).await?;
        let template = functions.template();

        let issuer = Issuer::new()?;
        let audience = audience(template);
        let tokens = CALLERS
            .iter()
            .map(|caller| {
                let scopes = scope_names(template, caller.scopes);
                Ok((caller.name, issuer.token(&audience, caller.sub, &scopes)?))
            })
            .collect::<Result<BTreeMap<_, _>, TokenError>>()?;

        let failures = Failures::new(options.data.as_deref());
        let streams = start_streams(&functions, options.data.as_deref(), &failures).await?;
        let targets = template.functions.iter().flat_map(|function| {
            let containers = functions.containers(&function.logical_id);
            let routes = function.routes.iter();
            routes.filter_map(move |route| Some(Target { route: route.clone(), containers: containers?.clone() }))
        });
        let api = Api { targets: targets.collect(), settings: template.api.clone(), issuer: issuer.clone() };
        let description = describe(&url, &functions, &tokens);
        let dev = dev::router(description, tokens.clone());
        let dev = dev.merge(bus::router(functions.bus().clone(), functions.keep_time()));
        let dev = dev.merge(payments::router(functions.payments().clone()));
        let gateway = Gateway::start(listener, api, dev);
        Ok(Self { url, issuer, audience, tokens, functions, streams, failures, gateway })
    }

    /// Address of the HTTP API, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Address of the DynamoDB.
    pub fn dynamodb(&self) -> &str {
        self.functions.dynamodb()
    }

    /// A client of the DynamoDB.
    pub fn client(&self) -> Client {
        database::client(self.dynamodb())
    }

    /// The event buses.
    pub fn bus(&self) -> &Bus {
        self.functions.bus()
    }

    /// Address of the event buses, for AWS SDKs.
    pub fn bus_url(&self) -> &str {
        self.functions.bus_url()
    }

    /// The payment provider.
    pub fn payments(&self) -> &PaymentProvider {
        self.functions.payments()
    }

    /// Address of the payment provider.
    pub fn payments_url(&self) -> &str {
        self.functions.payments_url()
    }

    /// The processes of a function, by logical id or binary.
    pub fn containers(&self, function: &str) -> Option<&Arc<Containers>> {
        self.functions.find(function)
    }

    /// What runs.
    pub fn template(&self) -> &Template {
        self.functions.template()
    }

    /// Where the on-failure destinations of streams keep what was given up: a directory for each bucket.
    pub fn failures(&self) -> &Path {
        self.failures.path()
    }

    /// The ready tokens, by the names of [`CALLERS`].
    pub fn tokens(&self) -> &BTreeMap<&'static str, String> {
        &self.tokens
    }

    /// A token for that subject with these scopes, given without their prefix (`read`).
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, sub: &str, scopes: &[&str]) -> Result<String, TokenError> {
        self.issuer.token(&self.audience, sub, &scope_names(self.template(), scopes))
    }

    /// A token with exactly these claims.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token_with(&self, claims: &Value) -> Result<String, TokenError> {
        self.issuer.sign(claims)
    }

    /// Runs a function, by logical id or binary, on an event.
    ///
    /// # Errors
    /// The outer one when there is no such function, the inner one when it fails.
    pub async fn invoke(&self, function: &str, event: Bytes) -> Result<Result<Bytes, InvokeError>, StackError> {
        self.functions.invoke(function, event).await
    }

    /// Takes no more requests, ends every process and closes the database.
    pub async fn shutdown(self) {
        self.gateway.stop().await;
        drop(self.streams);
        self.functions.stop().await;
    }
}

async fn start_streams(functions: &Functions, data: Option<&Path>, failures: &Failures) -> Result<Streams, StackError> {
    let template = functions.template();
    let mut streams = Streams::default();
    for function in &template.functions {
        for settings in &function.streams {
            let containers = functions.containers(&function.logical_id);
            let source = template.table(&settings.table).zip(functions.stream(&settings.table));
            if let Some((containers, (table, arn))) = containers.zip(source) {
                let reader = (function, containers.clone());
                let source = (table, arn, functions.news());
                streams.start(functions.dynamodb(), reader, settings, source, (data, failures)).await?;
            }
        }
    }
    Ok(streams)
}

/// Whom tokens are for: the default authorizer, else the first.
fn audience(template: &Template) -> JwtConfiguration {
    let api = &template.api;
    let default = api.default_authorizer.as_ref().and_then(|name| api.authorizers.get(name));
    let authorizer = default.or_else(|| api.authorizers.values().next());
    authorizer.map_or_else(
        || JwtConfiguration { issuer: "https://issuer.orders.local".into(), audience: vec!["orders".into()] },
        |authorizer| authorizer.jwt_configuration.clone(),
    )
}

/// The scopes with the prefix that the template gives them.
fn scope_names(template: &Template, scopes: &[&str]) -> Vec<String> {
    let prefix = template.parameters.get("ScopePrefix").map_or("orders:", String::as_str);
    scopes.iter().map(|scope| format!("{prefix}{scope}")).collect()
}

/// What `GET /dev/stack` answers.
fn describe(url: &str, functions: &Functions, tokens: &BTreeMap<&'static str, String>) -> Value {
    let template = functions.template();
    let routes: Vec<Value> = template
        .functions
        .iter()
        .flat_map(|function| function.routes.iter().map(move |route| (function, route)))
        .map(|(function, route)| {
            json!({"method": route.method, "path": route.path, "function": function.binary, "scopes": route.scopes})
        })
        .collect();
    json!({
        "url": url,
        "dynamodb": functions.dynamodb(),
        "eventbridge": functions.bus_url(),
        "payments": functions.payments_url(),
        "event_buses": template.buses,
        "queues": template.queues,
        "functions": template.functions.iter().map(|function| &function.binary).collect::<Vec<_>>(),
        "routes": routes,
        "tables": template.tables.iter().map(|table| (&table.logical_id, &table.name)).collect::<BTreeMap<_, _>>(),
        "tokens": tokens,
        "users": CALLERS.iter().map(|caller| (caller.name, caller.sub)).collect::<BTreeMap<_, _>>(),
    })
}
