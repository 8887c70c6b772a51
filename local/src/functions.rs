//! The tables and the functions of a template, without routes and streams.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;

use crate::containers::{Containers, InvokeError};
use crate::database::{self, Database};
use crate::options::{StackError, StackOptions};
use crate::tables;
use crate::template::Template;

/// Functions that can be invoked, and the database that they use.
#[derive(Debug)]
pub struct Functions {
    template: Template,
    dynamodb: String,
    containers: BTreeMap<String, Arc<Containers>>,
    streams: BTreeMap<String, String>,
    database: Option<Database>,
}

impl Functions {
    /// Reads the template and makes its tables where they are not there yet. Processes are started when they are first
    /// called.
    ///
    /// # Errors
    /// When the template cannot be run or the database does not answer.
    pub async fn prepare(options: &StackOptions) -> Result<Self, StackError> {
        let template = Template::load(&options.template, &options.reading)
            .map_err(|source| StackError::Template { path: options.template.clone(), source })?;
        let (database, dynamodb) = match &options.dynamodb {
            Some(endpoint) => (None, endpoint.clone()),
            None => {
                let database = Database::start(&options.storage())?;
                let endpoint = database.endpoint().to_owned();
                (Some(database), endpoint)
            }
        };
        let streams = tables::create_all(&database::client(&dynamodb), &template.tables).await?;
        let containers = containers(&template, options, &dynamodb);
        Ok(Self { template, dynamodb, containers, streams, database })
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

    /// ARN of the stream of the table of that logical id.
    pub(crate) fn stream(&self, table: &str) -> Option<&str> {
        self.streams.get(table).map(String::as_str)
    }

    /// Runs a function, by logical id or binary, on an event.
    ///
    /// # Errors
    /// The outer one when there is no such function, the inner one when it fails.
    pub async fn invoke(&self, function: &str, event: Bytes) -> Result<Result<Bytes, InvokeError>, StackError> {
        let found = self.template.function(function).and_then(|known| self.containers.get(&known.logical_id));
        let Some(containers) = found else {
            let names: Vec<_> = self.template.functions.iter().map(|known| known.binary.as_str()).collect();
            return Err(StackError::NoFunction(function.to_owned(), names.join(", ")));
        };
        Ok(containers.invoke(event).await)
    }

    /// Ends every process and closes the database.
    pub async fn stop(self) {
        for containers in self.containers.values() {
            containers.stop().await;
        }
        // It waits for a thread.
        drop(tokio::task::spawn_blocking(move || drop(self.database)).await);
    }
}

fn containers(template: &Template, options: &StackOptions, dynamodb: &str) -> BTreeMap<String, Arc<Containers>> {
    let containers = template.functions.iter().map(|function| {
        let mut environment = BTreeMap::from([("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), dynamodb.to_owned())]);
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
