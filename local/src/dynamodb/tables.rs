//! Creates the tables of the template.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{
    GlobalSecondaryIndexDescription, KeySchemaElement, TableDescription, TableStatus, TimeToLiveSpecification,
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::template::Table;

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
    let mut request = table.definition.clone();
    request.insert("TableName".into(), json!(table.name));
    request.insert("BillingMode".into(), json!("PAY_PER_REQUEST"));
    if let Some(view) = &table.stream {
        request.insert("StreamSpecification".into(), json!({"StreamEnabled": true, "StreamViewType": view}));
    }
    let body = Value::Object(request).to_string();
    // The properties of the template are those of DynamoDB's API, so they are the request.
    let request = client.create_table().table_name(&table.name).customize().mutate_request(move |request| {
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = body.clone().into();
    });
    match request.send().await {
        Ok(_) => {}
        // Another process was faster.
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => {}
        Err(error) => return Err(database(table, DisplayErrorContext(error))),
    }
    let created = wait_until_active(client, table).await?;
    let stream = stream_arn(table, created)?;
    if let Some(attribute) = &table.ttl {
        let ttl = TimeToLiveSpecification::builder().attribute_name(attribute).enabled(true).build();
        let ttl = ttl.map_err(|error| database(table, error))?;
        let update = client.update_time_to_live().table_name(&table.name).time_to_live_specification(ttl);
        update.send().await.map_err(|error| database(table, DisplayErrorContext(error)))?;
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
    let differs = |what: &str, template: String, database: String| {
        let difference = format!("{what} should be {template} and is {database}");
        Err(TableError::Different { table: table.name.clone(), difference })
    };
    let key = |schema: &Value| {
        let elements = schema.as_array().into_iter().flatten();
        elements.map(|element| text(&element["AttributeName"])).collect::<Vec<_>>()
    };
    let key_found = |key: &[KeySchemaElement]| key.iter().map(|e| e.attribute_name.clone()).collect::<Vec<_>>();

    let definition = Value::Object(table.definition.clone());
    let (template, database) = (key(&definition["KeySchema"]), key_found(found.key_schema()));
    if template != database {
        return differs("its key", format!("{template:?}"), format!("{database:?}"));
    }
    let indexes = definition["GlobalSecondaryIndexes"].as_array().into_iter().flatten();
    let mut template: Vec<_> = indexes.map(|index| (text(&index["IndexName"]), key(&index["KeySchema"]))).collect();
    let index = |index: &GlobalSecondaryIndexDescription| {
        (index.index_name.clone().unwrap_or_default(), key_found(index.key_schema()))
    };
    let mut database: Vec<_> = found.global_secondary_indexes().iter().map(index).collect();
    template.sort();
    database.sort();
    if template != database {
        return differs("the list of its indexes", format!("{template:?}"), format!("{database:?}"));
    }
    let stream = found.stream_specification().filter(|stream| stream.stream_enabled);
    let database = stream.and_then(|stream| stream.stream_view_type.as_ref()).map(|view| view.as_str().to_owned());
    if table.stream != database {
        return differs("its stream", format!("{:?}", table.stream), format!("{database:?}"));
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::{Database, Storage};
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
        differs("by-owner", |table| drop(table.definition.remove("GlobalSecondaryIndexes"))).await;
        differs("KEYS_ONLY", |table| table.stream = Some("KEYS_ONLY".into())).await;
        differs("owner", |table| table.definition["KeySchema"][0]["AttributeName"] = json!("owner")).await;
    }
}
