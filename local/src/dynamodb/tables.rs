//! Creates the tables of the template.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{
    AttributeDefinition as Definition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, Projection,
    StreamSpecification, TableDescription, TableStatus, TimeToLiveSpecification,
};
use tokio::time::{Duration, Instant, sleep};

use crate::template::{AttributeDefinition, KeyElement, Table};

/// Why a table could not be created.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// DynamoDB rejected a request or did not respond.
    #[error("table {table}: {reason}")]
    Database {
        /// Its physical name.
        table: String,
        /// The error of DynamoDB.
        reason: String,
    },
    /// A table of that name exists and differs. Use another DynamoDB or directory.
    #[error("table {table} exists and differs from the template: {difference}")]
    Different {
        /// Its physical name.
        table: String,
        /// The difference.
        difference: String,
    },
}

/// How long a new table may take to become active.
const PATIENCE: Duration = Duration::from_secs(30);

/// Creates every table that does not exist; returns the ARNs of their streams by logical id.
///
/// # Errors
/// At the first table that cannot be created or that exists and differs.
pub async fn create_all(client: &Client, tables: &[Table]) -> Result<BTreeMap<String, String>, TableError> {
    let mut streams = BTreeMap::new();
    for table in tables {
        if let Some(arn) = create(client, table).await? {
            streams.insert(table.logical_id.clone(), arn);
        }
    }
    Ok(streams)
}

/// Creates the table, under its physical name, if it does not exist; returns the ARN of its stream, if it has one.
///
/// # Errors
/// When DynamoDB rejects it, or when the table exists with other keys, indexes or another stream.
pub async fn create(client: &Client, table: &Table) -> Result<Option<String>, TableError> {
    if let Some(found) = describe(client, table).await? {
        return stream_arn(table, found);
    }
    let mut request = client
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(key_schema(table, &table.key_schema)?));
    for AttributeDefinition { attribute_name, attribute_type } in &table.attribute_definitions {
        let definition = Definition::builder().attribute_name(attribute_name);
        let definition = definition.attribute_type(attribute_type.as_str().into()).build();
        request = request.attribute_definitions(definition.map_err(|error| database(table, error))?);
    }
    for index in &table.global_secondary_indexes {
        let projection = Projection::builder()
            .projection_type(index.projection.projection_type.as_str().into())
            .set_non_key_attributes(index.projection.non_key_attributes.clone());
        let index = GlobalSecondaryIndex::builder()
            .index_name(&index.index_name)
            .set_key_schema(Some(key_schema(table, &index.key_schema)?))
            .projection(projection.build())
            .build();
        request = request.global_secondary_indexes(index.map_err(|error| database(table, error))?);
    }
    if let Some(stream) = &table.stream {
        let view = stream.stream_view_type.as_str().into();
        let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build();
        request = request.stream_specification(stream.map_err(|error| database(table, error))?);
    }
    match request.send().await {
        Ok(_) => {}
        // Another process was faster.
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => {}
        Err(error) => return Err(database(table, DisplayErrorContext(error))),
    }
    let created = wait_until_active(client, table).await?;
    let stream = stream_arn(table, created)?;
    if let Some(ttl) = &table.ttl {
        let expiry =
            TimeToLiveSpecification::builder().attribute_name(&ttl.attribute_name).enabled(ttl.enabled).build();
        client
            .update_time_to_live()
            .table_name(&table.name)
            .time_to_live_specification(expiry.map_err(|error| database(table, error))?)
            .send()
            .await
            .map_err(|error| database(table, DisplayErrorContext(error)))?;
    }
    Ok(stream)
}

/// The stream's ARN, after the comparison with the template.
fn stream_arn(table: &Table, found: TableDescription) -> Result<Option<String>, TableError> {
    compare(table, &found)?;
    match (&table.stream, found.latest_stream_arn) {
        (None, _) => Ok(None),
        (Some(_), Some(arn)) => Ok(Some(arn)),
        (Some(_), None) => Err(database(table, "DynamoDB does not return its stream")),
    }
}

fn database(table: &Table, reason: impl std::fmt::Display) -> TableError {
    TableError::Database { table: table.name.clone(), reason: reason.to_string() }
}

fn key_schema(table: &Table, key: &[KeyElement]) -> Result<Vec<KeySchemaElement>, TableError> {
    let element = |KeyElement { attribute_name, key_type }: &KeyElement| {
        let element = KeySchemaElement::builder().attribute_name(attribute_name);
        element.key_type(key_type.as_str().into()).build().map_err(|error| database(table, error))
    };
    key.iter().map(element).collect()
}

async fn describe(client: &Client, table: &Table) -> Result<Option<TableDescription>, TableError> {
    match client.describe_table().table_name(&table.name).send().await {
        Ok(answer) => Ok(answer.table),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => Ok(None),
        Err(error) => Err(database(table, DisplayErrorContext(error))),
    }
}

async fn wait_until_active(client: &Client, table: &Table) -> Result<TableDescription, TableError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match describe(client, table).await? {
            Some(found) if found.table_status == Some(TableStatus::Active) => return Ok(found),
            _ if Instant::now() >= deadline => return Err(database(table, "it does not become active")),
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Compares the keys, the indexes and the stream, which the rest of the project relies on.
fn compare(table: &Table, found: &TableDescription) -> Result<(), TableError> {
    let differs = |what: &str, says: String, has: String| {
        let difference = format!("{what} should be {says} and is {has}");
        Err(TableError::Different { table: table.name.clone(), difference })
    };
    let names = |key: &[KeySchemaElement]| key.iter().map(|e| e.attribute_name.clone()).collect::<Vec<_>>();
    let wanted = |key: &[KeyElement]| key.iter().map(|e| e.attribute_name.clone()).collect::<Vec<_>>();

    let (says, has) = (wanted(&table.key_schema), names(found.key_schema()));
    if says != has {
        return differs("its key", format!("{says:?}"), format!("{has:?}"));
    }
    let mut says: Vec<_> = table
        .global_secondary_indexes
        .iter()
        .map(|index| (index.index_name.clone(), wanted(&index.key_schema)))
        .collect();
    let mut has: Vec<_> = found
        .global_secondary_indexes()
        .iter()
        .map(|index| (index.index_name.clone().unwrap_or_default(), names(index.key_schema())))
        .collect();
    says.sort();
    has.sort();
    if says != has {
        return differs("the list of its indexes", format!("{says:?}"), format!("{has:?}"));
    }
    let has = found
        .stream_specification()
        .filter(|stream| stream.stream_enabled)
        .and_then(|stream| stream.stream_view_type.as_ref())
        .map(|view| view.as_str().to_owned());
    let says = table.stream.as_ref().map(|stream| stream.stream_view_type.clone());
    if says != has {
        return differs("its stream", format!("{says:?}"), format!("{has:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::{Database, Storage};
    use crate::template::StreamSpecification as Stream;
    use crate::template::tests::template;

    #[tokio::test]
    async fn tables_are_created_once_with_indexes_stream_and_expiry() {
        let database = Database::start(&Storage::Memory).unwrap();
        let client = database.client();
        let template = template();
        let events = template.table("Events").unwrap();
        let stream = create(&client, events).await.unwrap();
        assert!(stream.as_deref().unwrap().contains("/stream/"), "{stream:?}");
        assert_eq!(create(&client, events).await.unwrap(), stream, "the second time finds the table");

        create_all(&client, &template.tables).await.unwrap();
        let rows = client.describe_table().table_name("Rows").send().await.unwrap().table.unwrap();
        let index = &rows.global_secondary_indexes()[0];
        assert_eq!(index.projection().unwrap().non_key_attributes(), ["status"]);
        let expiry = client.describe_time_to_live().table_name("Rows").send().await.unwrap();
        assert_eq!(expiry.time_to_live_description.unwrap().attribute_name.as_deref(), Some("expires_at"));
    }

    #[tokio::test]
    async fn a_table_that_exists_and_differs_is_an_error_with_the_difference() {
        let database = Database::start(&Storage::Memory).unwrap();
        let client = database.client();
        let table = template().table("Rows").unwrap().clone();
        create(&client, &table).await.unwrap();
        let differs = async |named: &str, change: fn(&mut Table)| {
            let mut other = table.clone();
            change(&mut other);
            let error = create(&client, &other).await.unwrap_err().to_string();
            assert!(error.contains("Rows") && error.contains(named), "{error}");
        };
        differs("by-owner", |table| table.global_secondary_indexes.clear()).await;
        differs("KEYS_ONLY", |table| table.stream = Some(Stream { stream_view_type: "KEYS_ONLY".into() })).await;
        differs("owner", |table| table.key_schema = table.global_secondary_indexes[0].key_schema.clone()).await;
    }
}
