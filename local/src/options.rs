//! How to start a stack, and why one does not start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::database::{DatabaseError, Storage};
use crate::logs::Logs;
use crate::streams::StreamError;
use crate::tables::TableError;
use crate::template::{self, TemplateError, TemplateOptions};
use crate::tokens::TokenError;

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
    /// Where everything that outlives the stack is: the embedded database, how far stream readers are, batches and
    /// events that failed. Without it nothing does.
    pub data: Option<PathBuf>,
    /// The directory of the function binaries; [`crate::binaries::build`] makes and names it.
    pub binaries: PathBuf,
    /// Environment variables of all functions, over what the template and the stack say.
    pub environment: BTreeMap<String, String>,
    /// Environment variables of single functions (by logical id or binary), over all others.
    pub function_environment: BTreeMap<String, BTreeMap<String, String>>,
    /// The most processes of one function.
    pub containers: u32,
    /// How long a call that nobody waits for, and that failed, waits for its second attempt. On AWS it is a minute.
    pub retry_wait: Duration,
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
            retry_wait: Duration::from_secs(1),
            logs: Logs::stderr(),
        }
    }

    /// Where an embedded database keeps its items.
    pub fn storage(&self) -> Storage {
        self.data.clone().map_or(Storage::Memory, Storage::Directory)
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
    /// The payment provider has no port.
    #[error("the payment provider cannot listen: {0}")]
    Payments(#[source] std::io::Error),
    /// The event bus has no port.
    #[error("the event bus cannot listen: {0}")]
    Bus(#[source] std::io::Error),
    /// A function of the template has no binary. Build it, or mend its `Binary` in the template.
    #[error("the function {function} has no binary: there is no {program}")]
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
