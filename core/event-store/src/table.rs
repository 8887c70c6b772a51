//! The event table's definition.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType, TableDescription,
};

use super::EventStore;
use super::aggregate::Aggregate;
use super::error::StoreError;

/// Not an event table: correct the configured name or the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table {table} has the key {found}, but an event table has {EXPECTED}")]
pub struct WrongTable {
    /// The table.
    pub table: String,
    /// Its key attributes with their types.
    pub found: String,
}

const EXPECTED: &str = "stream_id (S), version (N)";

impl<A: Aggregate> EventStore<A> {
    /// Checks the table's key, for deployment tests or at startup; needs `DescribeTable`. A failing command does so as
    /// well, if it has the permission.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], with the source [`WrongTable`] for a wrong key.
    pub async fn check(&self) -> Result<(), StoreError> {
        let output = self.client.describe_table().table_name(&self.table).send().await;
        let found = output.map_err(StoreError::unavailable)?.table.map(|table| key_of(&table)).unwrap_or_default();
        if found == EXPECTED {
            return Ok(());
        }
        Err(StoreError::unavailable(WrongTable { table: self.table.clone(), found }))
    }

    /// The error of a failed call. DynamoDB only reports a validation error when a request does not fit the table's
    /// key.
    pub(super) async fn failed<E>(&self, error: SdkError<E>) -> StoreError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        if error.code() == Some("ValidationException")
            && let Some(wrong) = self.wrong_table().await
        {
            return wrong;
        }
        StoreError::unavailable(error)
    }

    /// The error for a wrong table, if it can be detected.
    pub(super) async fn wrong_table(&self) -> Option<StoreError> {
        match self.check().await {
            Err(StoreError::Unavailable(wrong)) if wrong.is::<WrongTable>() => Some(StoreError::Unavailable(wrong)),
            _ => None,
        }
    }
}

/// The key attributes with their types, hash key first.
fn key_of(table: &TableDescription) -> String {
    let type_of = |name: &str| {
        let attribute = table.attribute_definitions().iter().find(|attribute| attribute.attribute_name == name);
        attribute.map_or("?", |attribute| attribute.attribute_type.as_str())
    };
    let key = table.key_schema().iter().map(|key| format!("{} ({})", key.attribute_name, type_of(&key.attribute_name)));
    key.collect::<Vec<_>>().join(", ")
}

/// The request that creates an event table, to be sent as it is or with more settings.
///
/// The key is `stream_id` (S) and `version` (N), billed on demand, with a stream for projections. In production declare
/// the table in your template, with point-in-time recovery and deletion protection.
///
/// # Errors
/// The SDK rejects the definition; this version never does.
pub fn create_table(client: &Client, name: impl Into<String>) -> Result<CreateTableFluentBuilder, BuildError> {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let table = keyed_table(client, ("stream_id", ScalarAttributeType::S), ("version", ScalarAttributeType::N))?;
    Ok(table.table_name(name).stream_specification(stream.build()?))
}

/// A table with a hash and a range key, billed on demand.
pub(super) fn keyed_table(
    client: &Client,
    hash: (&str, ScalarAttributeType),
    range: (&str, ScalarAttributeType),
) -> Result<CreateTableFluentBuilder, BuildError> {
    let mut table = client.create_table().billing_mode(BillingMode::PayPerRequest);
    for ((name, of), key) in [(hash, KeyType::Hash), (range, KeyType::Range)] {
        table = table
            .attribute_definitions(AttributeDefinition::builder().attribute_name(name).attribute_type(of).build()?)
            .key_schema(KeySchemaElement::builder().attribute_name(name).key_type(key).build()?);
    }
    Ok(table)
}
