//! An embedded DynamoDB called by function, without a network.

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::exchange::{Request, Response};
use crate::faults::Upstream;

/// A database in memory, dropped with its last clone.
#[derive(Clone)]
pub(crate) struct Engine(Database);

impl Engine {
    pub fn start() -> Self {
        Self(Database::memory().expect("an engine"))
    }

    /// Creates a table billed on demand. `key` lists the key attributes and their types: the hash key and optionally
    /// the range key.
    pub fn create_table(&self, name: &str, key: &[(&str, &str)]) {
        let attributes = key.iter().map(|(name, of)| json!({"AttributeName": name, "AttributeType": of}));
        let elements = key.iter().zip(["HASH", "RANGE"]);
        let elements = elements.map(|((name, _), kind)| json!({"AttributeName": name, "KeyType": kind}));
        let table = json!({
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": attributes.collect::<Vec<_>>(),
            "KeySchema": elements.collect::<Vec<_>>(),
        });
        if let Err(error) = run(table, |table| self.0.create_table(table)) {
            panic!("no table {name}: {error}");
        }
    }
}

/// The engine's own dispatch is part of its HTTP server and not public; this is the same list.
macro_rules! dispatch {
    ($database:expr, $operation:expr, $body:expr; $($name:literal => $method:ident,)*) => {
        match $operation {
            $($name => run($body, |request| $database.$method(request)),)*
            _ => return Some(unknown_operation()),
        }
    };
}

impl Upstream for Engine {
    async fn call(&self, request: Request) -> Option<Response> {
        let answer = dispatch! { self.0, request.target.rsplit('.').next()?, request.body;
            "BatchExecuteStatement" => batch_execute_statement,
            "BatchGetItem" => batch_get_item,
            "BatchWriteItem" => batch_write_item,
            "CreateTable" => create_table,
            "DeleteItem" => delete_item,
            "DeleteTable" => delete_table,
            "DescribeStream" => describe_stream,
            "DescribeTable" => describe_table,
            "DescribeTimeToLive" => describe_time_to_live,
            "ExecuteStatement" => execute_statement,
            "ExecuteTransaction" => execute_transaction,
            "GetItem" => get_item,
            "GetRecords" => get_records,
            "GetShardIterator" => get_shard_iterator,
            "ListStreams" => list_streams,
            "ListTables" => list_tables,
            "ListTagsOfResource" => list_tags_of_resource,
            "PutItem" => put_item,
            "Query" => query,
            "Scan" => scan,
            "SearchVectors" => search_vectors,
            "TagResource" => tag_resource,
            "TransactGetItems" => transact_get_items,
            "TransactWriteItems" => transact_write_items,
            "UntagResource" => untag_resource,
            "UpdateItem" => update_item,
            "UpdateTable" => update_table,
            "UpdateTimeToLive" => update_time_to_live,
        };
        Some(match answer {
            Ok(body) => Response { status: 200, body },
            Err(error) => Response { status: error.status_code(), body: error.to_json().into_bytes() },
        })
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: Value,
    operation: impl Fn(Q) -> Result<A, DynoxideError>,
) -> Result<Vec<u8>, DynoxideError> {
    let not_understood = |error: serde_json::Error| DynoxideError::SerializationException(error.to_string());
    let request = serde_json::from_value(body).map_err(not_understood)?;
    Ok(serde_json::to_vec(&operation(request)?).expect("an answer that serializes"))
}

fn unknown_operation() -> Response {
    let body = json!({"__type": "com.amazon.coral.service#UnknownOperationException"});
    Response { status: 400, body: body.to_string().into_bytes() }
}
