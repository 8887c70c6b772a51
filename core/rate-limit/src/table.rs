//! The table on DynamoDB.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::algorithm::{Item, Update};
use super::error::TableError;
use super::limiter::{Table, Updated};
use crate::error::chain;

/// The default timeout of a call.
const TIMEOUT: Duration = Duration::from_millis(100);

/// The table on DynamoDB, called without retries and with a short timeout: a lost response charges at most once.
#[derive(Clone, Debug)]
pub struct DynamoTable {
    client: Client,
    name: String,
}

impl DynamoTable {
    /// The table `name`, with `client`'s credentials, region and endpoint, and a timeout of 100 ms.
    pub fn new(client: &Client, name: impl Into<String>) -> Self {
        Self::with_timeout(client, name, TIMEOUT)
    }

    /// [`DynamoTable::new`] with another timeout.
    pub fn with_timeout(client: &Client, name: impl Into<String>, timeout: Duration) -> Self {
        let timeouts = TimeoutConfig::builder().connect_timeout(timeout).operation_timeout(timeout).build();
        let config = client.config().to_builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts);
        Self { client: Client::from_conf(config.build()), name: name.into() }
    }

    /// Opens a connection ahead of the first request, with an update whose condition never holds. Errors are ignored.
    pub async fn connect(&self) {
        let timeout = TimeoutConfig::builder().operation_timeout(TIMEOUT * 10).build();
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("id", AttributeValue::S("connect".to_owned()))
            .update_expression("REMOVE nothing")
            .condition_expression("attribute_exists(id) AND attribute_not_exists(id)")
            .customize()
            .config_override(aws_sdk_dynamodb::config::Builder::new().timeout_config(timeout));
        drop(update.send().await);
    }
}

impl Table for DynamoTable {
    async fn update(&self, key: &str, update: &Update) -> Result<Updated, TableError> {
        let names = update.names.iter().cloned().collect::<HashMap<_, _>>();
        let number = |(name, value): &(&str, i64)| ((*name).to_owned(), AttributeValue::N(value.to_string()));
        let result = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("id", AttributeValue::S(key.to_owned()))
            .update_expression(&update.update)
            .condition_expression(&update.condition)
            .set_expression_attribute_names((!names.is_empty()).then_some(names))
            .set_expression_attribute_values(Some(update.values.iter().map(number).collect()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match result {
            Ok(output) => return Ok(Updated::Stored(item(key, output.attributes.unwrap_or_default())?)),
            Err(error) => error,
        };
        if let Some(UpdateItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
            return Ok(Updated::Failed(failed.item.clone().map(|found| item(key, found)).transpose()?));
        }
        Err(TableError::Unavailable(chain(&error)))
    }
}

/// Parses the attributes of an item.
fn item(key: &str, attributes: HashMap<String, AttributeValue>) -> Result<Item, TableError> {
    let mut item = Item::new();
    for (name, value) in attributes {
        if name == "id" {
            continue;
        }
        let integer = value.as_n().ok().and_then(|number| number.parse().ok());
        let Some(integer) = integer else {
            let why = format!("{name} is not a 64-bit integer");
            return Err(TableError::Malformed { key: key.to_owned(), why });
        };
        item.insert(name, integer);
    }
    Ok(item)
}
