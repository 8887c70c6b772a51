//! The whole local stack: what the template says, running.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use axum::body::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::containers::{Containers, InvokeError};
use crate::database::{self, Database, DatabaseError, Storage};
use crate::dev;
use crate::gateway::{Api, Gateway, Target};
use crate::logs::Logs;
use crate::streams::{Failures, StreamError, Streams};
use crate::tables::{self, TableError};
use crate::template::{self, JwtConfiguration, Template, TemplateError, TemplateOptions};
use crate::tokens::{CALLERS, Issuer, TokenError};

/// How to start a stack.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// The template.
    pub template: PathBuf,
    /// How it is read: parameters, and a prefix for names where stacks share a DynamoDB.
    pub reading: TemplateOptions,
    /// The port of the HTTP API on the loopback interface; 0 picks one.
    pub port: u16,
    /// The address of the DynamoDB to use; without it there is an embedded one.
    pub dynamodb: Option<String>,
    /// Where everything that outlives the stack is: the embedded database, how far stream readers are, batches that
    /// failed. Without it nothing does.
    pub data: Option<PathBuf>,
    /// The directory of the function binaries; [`crate::binaries::build`] makes and names it.
    pub binaries: PathBuf,
    /// Environment variables of all functions, over what the template and the stack say.
    pub environment: BTreeMap<String, String>,
    /// Environment variables of single functions (by logical id or binary), over all others.
    pub function_environment: BTreeMap<String, BTreeMap<String, String>>,
    /// The most processes of one function.
    pub containers: u32,
    /// Where the functions' lines go.
    pub logs: Logs,
}

impl StackOptions {
    /// The project's template on a free port with an embedded database in memory.
    pub fn new(binaries: PathBuf) -> Self {
        Self {
            template: template::project_path(),
            reading: TemplateOptions::default(),
            port: 0,
            dynamodb: None,
            data: None,
            binaries,
            environment: BTreeMap::new(),
            function_environment: BTreeMap::new(),
            containers: 10,
            logs: Logs::stderr(),
        }
    }
}

/// Why a stack did not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The template has something that the stack does not understand.
    #[error("{path}: {source}")]
    Template {
        /// The file.
        path: PathBuf,
        /// What.
        source: TemplateError,
    },
    /// The embedded database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The stream of a table.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The tokens.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The port is taken or may not be used. Choose another one, or 0.
    #[error("cannot listen on port {port}: {source}")]
    Port {
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such function.
    #[error("the template has no function {0}; it has {1}")]
    NoFunction(String, String),
}

/// A running stack. Stop it with [`Stack::shutdown`]; when it is dropped its processes are killed all the same.
#[derive(Debug)]
pub struct Stack {
    url: String,
    dynamodb: String,
    template: Template,
    issuer: Issuer,
    audience: JwtConfiguration,
    tokens: BTreeMap<&'static str, String>,
    functions: Functions,
    streams: Streams,
    failures: Failures,
    gateway: Gateway,
    database: Option<Database>,
}

/// The functions' containers by logical id.
type Functions = BTreeMap<String, Arc<Containers>>;

impl Stack {
    /// Makes the tables, then serves. Processes are started when they are first called.
    ///
    /// # Errors
    /// When the template cannot be run, the database does not answer or the port is taken.
    pub async fn start(options: StackOptions) -> Result<Self, StackError> {
        let template = Template::load(&options.template, &options.reading)
            .map_err(|source| StackError::Template { path: options.template.clone(), source })?;
        let listener = TcpListener::bind(("127.0.0.1", options.port))
            .await
            .map_err(|source| StackError::Port { port: options.port, source })?;
        let url = match listener.local_addr() {
            Ok(address) => format!("http://{address}"),
            Err(source) => return Err(StackError::Port { port: options.port, source }),
        };
        let (database, dynamodb) = match &options.dynamodb {
            Some(endpoint) => (None, endpoint.clone()),
            None => {
                let database = Database::start(&options.data.clone().map_or(Storage::Memory, Storage::Directory))?;
                let endpoint = database.endpoint().to_owned();
                (Some(database), endpoint)
            }
        };
        let stream_arns = tables::create_all(&database::client(&dynamodb), &template.tables).await?;

        let issuer = Issuer::new()?;
        let audience = audience(&template);
        let tokens = CALLERS
            .iter()
            .map(|caller| {
                let scopes: Vec<String> = caller.scopes.iter().map(|scope| scope_name(&template, scope)).collect();
                Ok((caller.name, issuer.token(&audience, caller.sub, &scopes)?))
            })
            .collect::<Result<BTreeMap<_, _>, TokenError>>()?;

        let functions = containers(&template, &options, &dynamodb);
        let failures = Failures::new(options.data.as_deref());
        let mut streams = Streams::default();
        for function in &template.functions {
            for settings in &function.streams {
                let (Some(table), Some(arn)) = (template.table(&settings.table), stream_arns.get(&settings.table))
                else {
                    continue;
                };
                let reader = (function, functions[&function.logical_id].clone());
                let directories = (options.data.as_deref(), &failures);
                streams.start(&dynamodb, reader, settings, (table, arn), directories).await?;
            }
        }
        let targets = template
            .functions
            .iter()
            .flat_map(|function| function.routes.iter().map(move |route| (function, route)))
            .filter_map(|(function, route)| {
                let containers = functions.get(&function.logical_id)?.clone();
                Some(Target { route: route.clone(), containers })
            })
            .collect();
        let api = Api { targets, settings: template.api.clone(), issuer: issuer.clone() };
        let description = describe(&url, &dynamodb, &template, &tokens);
        let gateway = Gateway::start(listener, api, dev::router(description));
        Ok(Self { url, dynamodb, template, issuer, audience, tokens, functions, streams, failures, gateway, database })
    }

    /// Address of the HTTP API, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Address of the DynamoDB.
    pub fn dynamodb(&self) -> &str {
        &self.dynamodb
    }

    /// A client of the DynamoDB.
    pub fn client(&self) -> Client {
        database::client(&self.dynamodb)
    }

    /// What runs.
    pub fn template(&self) -> &Template {
        &self.template
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
        let scopes: Vec<String> = scopes.iter().map(|scope| scope_name(&self.template, scope)).collect();
        self.issuer.token(&self.audience, sub, &scopes)
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
        let containers =
            self.template.function(function).and_then(|found| self.functions.get(&found.logical_id)).ok_or_else(
                || {
                    let names: Vec<_> = self.template.functions.iter().map(|known| known.binary.as_str()).collect();
                    StackError::NoFunction(function.to_owned(), names.join(", "))
                },
            )?;
        Ok(containers.invoke(event).await)
    }

    /// Takes no more requests, ends every process and closes the database.
    pub async fn shutdown(self) {
        self.gateway.stop().await;
        drop(self.streams);
        for containers in self.functions.values() {
            containers.stop().await;
        }
        // It waits for a thread.
        drop(tokio::task::spawn_blocking(move || drop(self.database)).await);
    }
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

fn scope_name(template: &Template, scope: &str) -> String {
    let prefix = template.parameters.get("ScopePrefix").map_or("orders:", String::as_str);
    format!("{prefix}{scope}")
}

fn containers(template: &Template, options: &StackOptions, dynamodb: &str) -> Functions {
    template
        .functions
        .iter()
        .map(|function| {
            let mut environment = BTreeMap::from([("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), dynamodb.to_owned())]);
            environment.extend(options.environment.clone());
            for name in [&function.logical_id, &function.binary] {
                environment.extend(options.function_environment.get(name).cloned().unwrap_or_default());
            }
            let binaries: &Path = &options.binaries;
            let logs = options.logs.clone();
            (function.logical_id.clone(), Containers::new(function, binaries, &environment, options.containers, logs))
        })
        .collect()
}

/// What `GET /dev/stack` answers.
fn describe(url: &str, dynamodb: &str, template: &Template, tokens: &BTreeMap<&'static str, String>) -> Value {
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
        "dynamodb": dynamodb,
        "functions": template.functions.iter().map(|function| &function.binary).collect::<Vec<_>>(),
        "routes": routes,
        "tables": template.tables.iter().map(|table| (&table.logical_id, &table.name)).collect::<BTreeMap<_, _>>(),
        "tokens": tokens,
        "users": CALLERS.iter().map(|caller| (caller.name, caller.sub)).collect::<BTreeMap<_, _>>(),
    })
}
