//! The table's definition.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};

/// The request that creates the table, to be sent as it is or with more settings.
///
/// The key is `id` (S), billed on demand. Enable time to live on the attribute `expires_at` to delete unused items.
///
/// # Errors
/// The SDK rejects the definition; this version never does.
pub fn create_table(client: &Client, name: impl Into<String>) -> Result<CreateTableFluentBuilder, BuildError> {
    let attribute = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash);
    Ok(client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute.build()?)
        .key_schema(key.build()?))
}
