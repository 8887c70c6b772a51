//! Makes the tables that the template says.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType as Kind, Projection as Shown,
    ProjectionType, ScalarAttributeType, StreamSpecification, TableDescription, TableStatus, TimeToLiveSpecification,
};
use tokio::time::{Duration, Instant, sleep};

use crate::template::{KeyType, Projection, Table};

/// Why a table could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// DynamoDB refused or did not answer.
    #[error("table {table}: {reason}")]
    Database {
        /// Its physical name.
        table: String,
        /// What DynamoDB said.
        reason: String,
    },
    /// A table of that name is there already and is another one. Give the stack another DynamoDB or directory.
    #[error("table {table} exists and is not what the template says: {difference}")]
    Different {
        /// Its physical name.
        table: String,
        /// What differs.
        difference: String,
    },
}

/// How long a new table may take to become active.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes every table that is not there yet; answers the ARNs of their streams by logical id.
///
/// # Errors
/// At the first table that cannot be made or that is there and differs.
pub async fn create_all(client: &Client, tables: &[Table]) -> Result<BTreeMap<String, String>, TableError> {
    let mut streams = BTreeMap::new();
    for table in tables {
        if let Some(arn) = create(client, table).await? {
            streams.insert(table.logical_id.clone(), arn);
        }
    }
    Ok(streams)
}

/// Makes the table, under its physical name, when it is not there yet; answers the ARN of its stream, when it has one.
///
/// # Errors
/// When DynamoDB refuses, or when the table is there with other keys, indexes or another stream.
pub async fn create(client: &Client, table: &Table) -> Result<Option<String>, TableError> {
    if let Some(found) = describe(client, table).await? {
        return stream_arn(table, found);
    }
    let mut request = client
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(key_schema(table, &table.key)?));
    for (name, kind) in &table.attributes {
        let definition = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::from(kind.as_str()))
            .build();
        request = request.attribute_definitions(definition.map_err(|error| database(table, error))?);
    }
    for index in &table.indexes {
        let (kind, shown) = match &index.projection {
            Projection::All => (ProjectionType::All, None),
            Projection::KeysOnly => (ProjectionType::KeysOnly, None),
            Projection::Include(names) => (ProjectionType::Include, Some(names.clone())),
        };
        let index = GlobalSecondaryIndex::builder()
            .index_name(&index.name)
            .set_key_schema(Some(key_schema(table, &index.key)?))
            .projection(Shown::builder().projection_type(kind).set_non_key_attributes(shown).build())
            .build();
        request = request.global_secondary_indexes(index.map_err(|error| database(table, error))?);
    }
    if let Some(view) = &table.stream {
        let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view.as_str().into()).build();
        request = request.stream_specification(stream.map_err(|error| database(table, error))?);
    }
    match request.send().await {
        Ok(_) => {}
        // Somebody else was quicker.
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => {}
        Err(error) => return Err(database(table, DisplayErrorContext(error))),
    }
    let made = wait_until_active(client, table).await?;
    let stream = stream_arn(table, made)?;
    if let Some(attribute) = &table.ttl {
        let expiry = TimeToLiveSpecification::builder().attribute_name(attribute).enabled(true).build();
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

/// The stream's ARN, of a table that is what the template says.
fn stream_arn(table: &Table, found: TableDescription) -> Result<Option<String>, TableError> {
    compare(table, &found)?;
    match (&table.stream, found.latest_stream_arn) {
        (None, _) => Ok(None),
        (Some(_), Some(arn)) => Ok(Some(arn)),
        (Some(_), None) => Err(database(table, "DynamoDB does not name its stream")),
    }
}

fn database(table: &Table, reason: impl std::fmt::Display) -> TableError {
    TableError::Database { table: table.name.clone(), reason: reason.to_string() }
}

fn key_schema(table: &Table, key: &[(String, KeyType)]) -> Result<Vec<KeySchemaElement>, TableError> {
    key.iter()
        .map(|(name, kind)| {
            let kind = match kind {
                KeyType::Hash => Kind::Hash,
                KeyType::Range => Kind::Range,
            };
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build()
        })
        .collect::<Result<_, _>>()
        .map_err(|error| database(table, error))
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

/// The keys, the indexes and the stream; what the rest of the project relies on.
fn compare(table: &Table, found: &TableDescription) -> Result<(), TableError> {
    let differs = |what: &str, says: String, has: String| {
        let difference = format!("{what} should be {says} and is {has}");
        Err(TableError::Different { table: table.name.clone(), difference })
    };
    let names = |key: &[KeySchemaElement]| key.iter().map(|e| e.attribute_name.clone()).collect::<Vec<_>>();
    let wanted = |key: &[(String, KeyType)]| key.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();

    let (says, has) = (wanted(&table.key), names(found.key_schema()));
    if says != has {
        return differs("its key", format!("{says:?}"), format!("{has:?}"));
    }
    let mut says: Vec<_> = table.indexes.iter().map(|index| (index.name.clone(), wanted(&index.key))).collect();
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
    if table.stream != has {
        return differs("its stream", format!("{:?}", table.stream), format!("{has:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{Database, Storage};
    use crate::template::fixture;

    #[tokio::test]
    async fn tables_are_made_once_with_indexes_stream_and_expiry() {
        let database = Database::start(&Storage::Memory).unwrap();
        let client = database.client();
        let template = fixture::template();
        let events = template.table("Events").unwrap();
        let stream = create(&client, events).await.unwrap();
        assert!(stream.as_deref().unwrap().contains("/stream/"), "{stream:?}");
        assert_eq!(create(&client, events).await.unwrap(), stream, "the second time finds the first one's table");

        create_all(&client, &template.tables).await.unwrap();
        let rows = client.describe_table().table_name("Rows").send().await.unwrap().table.unwrap();
        let index = &rows.global_secondary_indexes()[0];
        assert_eq!(index.projection().unwrap().non_key_attributes(), ["status"]);
        let expiry = client.describe_time_to_live().table_name("Rows").send().await.unwrap();
        assert_eq!(expiry.time_to_live_description.unwrap().attribute_name.as_deref(), Some("expires_at"));
    }

    #[tokio::test]
    async fn a_table_that_is_there_but_differs_is_refused_with_the_difference() {
        let database = Database::start(&Storage::Memory).unwrap();
        let client = database.client();
        let table = fixture::template().table("Rows").unwrap().clone();
        create(&client, &table).await.unwrap();
        let differs = async |named: &str, change: fn(&mut Table)| {
            let mut other = table.clone();
            change(&mut other);
            let error = create(&client, &other).await.unwrap_err().to_string();
            assert!(error.contains("Rows") && error.contains(named), "{error}");
        };
        differs("by-owner", |table| table.indexes.clear()).await;
        differs("KEYS_ONLY", |table| table.stream = Some("KEYS_ONLY".into())).await;
        differs("owner", |table| table.key.push(("owner".into(), KeyType::Range))).await;
    }
}
