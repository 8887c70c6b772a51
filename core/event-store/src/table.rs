//! The table that the store needs.

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

/// A table that is no event table: somebody mends the name that the store was given, or the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of table {table} is {found}, and that of an event table is {EXPECTED}")]
pub struct WrongTable {
    /// The table.
    pub table: String,
    /// Its key: the attributes with their types.
    pub found: String,
}

const EXPECTED: &str = "stream_id (S), version (N)";

impl<A: Aggregate> EventStore<A> {
    /// Looks at the table: for a test of a deployment, or the start of a program that may call `DescribeTable`. A table that
    /// is wrong is also told by the first command that it gets in the way of, if its program may look at it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], because of [`WrongTable`] if that is what is wrong.
    pub async fn check(&self) -> Result<(), StoreError> {
        let answer = self.client.describe_table().table_name(&self.table).send().await;
        let found = answer.map_err(StoreError::unavailable)?.table.map(|table| key_of(&table)).unwrap_or_default();
        if found == EXPECTED {
            return Ok(());
        }
        Err(StoreError::unavailable(WrongTable { table: self.table.clone(), found }))
    }

    /// What a call came to that failed. DynamoDB says of a request that does not fit the table's key only that it does not.
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

    /// That the table is no event table, if that can be seen.
    pub(super) async fn wrong_table(&self) -> Option<StoreError> {
        match self.check().await {
            Err(StoreError::Unavailable(wrong)) if wrong.is::<WrongTable>() => Some(StoreError::Unavailable(wrong)),
            _ => None,
        }
    }
}

/// The key's attributes with their types, hash key first.
fn key_of(table: &TableDescription) -> String {
    let type_of = |name: &str| {
        let attribute = table.attribute_definitions().iter().find(|attribute| attribute.attribute_name == name);
        attribute.map_or("?", |attribute| attribute.attribute_type.as_str())
    };
    let key = table.key_schema().iter().map(|key| format!("{} ({})", key.attribute_name, type_of(&key.attribute_name)));
    key.collect::<Vec<_>>().join(", ")
}

/// The request that creates an event table of this name, to be sent as it is or with more settings.
///
/// Its key is `stream_id` (S) and `version` (N). It is billed on demand and has a stream, from which projections read.
/// In production declare the same table in your template, with point-in-time recovery and deletion protection.
///
/// # Errors
/// None with this version of the SDK, whose builders check what is given to them.
pub fn create_table(client: &Client, name: impl Into<String>) -> Result<CreateTableFluentBuilder, BuildError> {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let table = keyed_table(client, ("stream_id", ScalarAttributeType::S), ("version", ScalarAttributeType::N))?;
    Ok(table.table_name(name).stream_specification(stream.build()?))
}

/// The request for a table with a hash key and a range key, billed on demand.
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
