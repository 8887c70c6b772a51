//! The table that the store needs.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType,
};

/// The request that creates an event table of this name, to be sent as it is or with more settings.
///
/// Its key is `stream_id` (S) and `version` (N). It is billed on demand and has a stream, from which projections read.
/// In production declare the same table in your template, with point-in-time recovery and deletion protection.
///
/// # Errors
/// None with this version of the SDK, whose builders check what is given to them.
pub fn create_table(client: &Client, name: impl Into<String>) -> Result<CreateTableFluentBuilder, BuildError> {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let attribute = |name, of| AttributeDefinition::builder().attribute_name(name).attribute_type(of).build();
    let key = |name, of| KeySchemaElement::builder().attribute_name(name).key_type(of).build();
    Ok(client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("stream_id", ScalarAttributeType::S)?)
        .attribute_definitions(attribute("version", ScalarAttributeType::N)?)
        .key_schema(key("stream_id", KeyType::Hash)?)
        .key_schema(key("version", KeyType::Range)?)
        .stream_specification(stream.build()?))
}
