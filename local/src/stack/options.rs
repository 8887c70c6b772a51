//! The options of a stack, and why it does not start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::dynamodb::{DatabaseError, Storage, tables::TableError};
use crate::gateway::tokens::TokenError;
use crate::iam::{Denied, Observer};
use crate::lambda::Logs;
use crate::streams::StreamError;
use crate::template::{self, TemplateError, TemplateOptions};

/// How to start a stack.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// The template.
    pub template: PathBuf,
    /// Its parameters, and the prefix of names where stacks share a DynamoDB.
    pub reading: TemplateOptions,
    /// The port of the HTTP API on the loopback interface; 0 picks one.
    pub port: u16,
    /// The address of the DynamoDB to use; without it there is an embedded one.
    pub dynamodb: Option<String>,
    /// The addresses of DynamoDB for single functions (by logical id or binary), behind the stack's gate: for tests with
    /// faults.
    pub dynamodb_of: BTreeMap<String, String>,
    /// The address of the event buses to use instead of the stack's own.
    pub eventbridge: Option<String>,
    /// The directory of what survives a restart: the embedded database, checkpoints of streams, failed batches and
    /// events, the journal of the bus. Without it nothing does.
    pub data: Option<PathBuf>,
    /// The directory of the function binaries, which [`crate::lambda::binaries::build`] returns.
    pub binaries: PathBuf,
    /// Environment variables of all functions, over those of the template and the stack.
    pub environment: BTreeMap<String, String>,
    /// Environment variables of single functions (by logical id or binary), over all others.
    pub function_environment: BTreeMap<String, BTreeMap<String, String>>,
    /// A permission that is left out: `CreateOrder.0` is the first statement, `CreateOrder.0.a1` the second action in it, and
    /// `CreateOrder.0.r1` the second resource.
    pub without_permission: Option<String>,
    /// Observes the decisions about calls of functions.
    pub permissions: Option<Observer>,
    /// The most processes of one function.
    pub containers: u32,
    /// The first backoff of a failed asynchronous invocation. On AWS it is a minute.
    pub retry_wait: Duration,
    /// The destination of the functions' log lines.
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
            dynamodb_of: BTreeMap::new(),
            eventbridge: None,
            data: None,
            binaries,
            environment: BTreeMap::new(),
            function_environment: BTreeMap::new(),
            without_permission: None,
            permissions: None,
            containers: 10,
            retry_wait: Duration::from_secs(1),
            logs: Logs::stderr(),
        }
    }

    /// Where an embedded database stores its items.
    pub fn storage(&self) -> Storage {
        self.data.clone().map_or(Storage::Memory, Storage::Directory)
    }
}

/// Why a stack did not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The template cannot be run.
    #[error("{path}: {source}")]
    Template {
        /// The file.
        path: PathBuf,
        /// The reason.
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
    /// The port is in use or not permitted. Choose another one, or 0.
    #[error("cannot listen on port {port}: {source}")]
    Port {
        /// The port.
        port: u16,
        /// The reason.
        source: std::io::Error,
    },
    /// The payment provider has no port.
    #[error("the payment provider cannot listen: {0}")]
    Payments(#[source] std::io::Error),
    /// The secrets have no port.
    #[error("the secrets cannot listen: {0}")]
    Secrets(#[source] std::io::Error),
    /// The journal of the bus cannot be written to the data directory.
    #[error("cannot write the journal of the bus: {0}")]
    Journal(#[source] std::io::Error),
    /// The event bus has no port.
    #[error("the event bus cannot listen: {0}")]
    Bus(#[source] std::io::Error),
    /// The gate has no port.
    #[error("the gate in front of DynamoDB, the event bus and the secrets cannot listen: {0}")]
    Gate(#[source] std::io::Error),
    /// AWS would not create the function.
    #[error("{function} cannot be created: {denied}\n{}", .denied.remedy)]
    Permission {
        /// Its name in the template.
        function: String,
        /// What its role lacks.
        denied: Box<Denied>,
    },
    /// The role of a state machine may not invoke the function.
    #[error("{}\n{}", .0, .0.remedy)]
    Denied(#[from] Box<Denied>),
    /// There is no such state machine.
    #[error("the template has no state machine {0}")]
    NoStateMachine(String),
    /// There is no such permission to leave out.
    #[error("the template has no permission {0}")]
    NoPermission(String),
    /// The receiver of spans has no port.
    #[error("the receiver of spans cannot listen: {0}")]
    Traces(#[source] std::io::Error),
    /// A function of the template has no binary. Build it, or correct its `Binary` in the template.
    #[error("the function {function} has no binary: {program} does not exist")]
    NoBinary {
        /// Its name in the template.
        function: String,
        /// Where the binary should be.
        program: PathBuf,
    },
    /// There is no such function.
    #[error("the template has no function {0}; it has {1}")]
    NoFunction(String, String),
}
