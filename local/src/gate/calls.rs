//! The permissions that a request needs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::iam::Call;
use crate::template::{ACCOUNT, REGION};

/// The operations of DynamoDB that may write.
pub(super) const WRITES: [&str; 8] = [
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "BatchWriteItem",
    "TransactWriteItems",
    "ExecuteStatement",
    "BatchExecuteStatement",
    "ExecuteTransaction",
];

/// The part of a request to DynamoDB that names tables.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", bound(deserialize = "'de: 'a"), default)]
struct DynamoDb<'a> {
    #[serde(borrow)]
    table_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    index_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stream_arn: Option<Cow<'a, str>>,
    request_items: BTreeMap<String, IgnoredAny>,
    transact_items: Vec<BTreeMap<String, Part>>,
    statement: Option<String>,
    statements: Vec<PartiQl>,
    transact_statements: Vec<PartiQl>,
}

/// A part of a transaction.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    table_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PartiQl {
    statement: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EventBridge {
    #[serde(default)]
    entries: Vec<Entry>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    source: Option<String>,
    detail_type: Option<String>,
    event_bus_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecretsManager {
    secret_id: String,
}

/// The calls that a request needs permission for; none if it is not understood.
pub(super) fn needed(target: &str, body: &[u8]) -> Vec<Call> {
    let Some((service, operation)) = target.split_once('.') else { return Vec::new() };
    match service {
        "DynamoDB_20120810" | "DynamoDBStreams_20120810" => {
            serde_json::from_slice(body).map_or_else(|_| Vec::new(), |request| dynamodb(operation, request))
        }
        "AWSEvents" => serde_json::from_slice(body).map_or_else(|_| Vec::new(), |request| events(operation, request)),
        "secretsmanager" => {
            let secret = |SecretsManager { secret_id }| call(service, operation, secret_id);
            serde_json::from_slice(body).map(secret).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// A call that no policy allows, of a request that is not understood.
pub(super) fn unknown(target: &str) -> Call {
    call("unknown", target, format!("arn:aws:unknown:{REGION}:{ACCOUNT}:{target}"))
}

fn call(service: &str, operation: &str, resource: String) -> Call {
    Call { action: format!("{service}:{operation}"), resource, context: Vec::new() }
}

/// A transaction needs the permissions of its parts: there is none for transactions.
fn dynamodb(operation: &str, request: DynamoDb<'_>) -> Vec<Call> {
    let on = |operation: &str, resource: String| call("dynamodb", operation, resource);
    match operation {
        "TransactWriteItems" | "TransactGetItems" => {
            let parts = request.transact_items.iter().flatten().map(|(verb, part)| {
                let table = table(part.table_name.as_deref().unwrap_or_default());
                match verb.as_str() {
                    "ConditionCheck" => on("ConditionCheckItem", table),
                    verb => on(&format!("{verb}Item"), table),
                }
            });
            parts.collect()
        }
        "BatchGetItem" | "BatchWriteItem" => {
            request.request_items.keys().map(|name| on(operation, table(name))).collect()
        }
        "ExecuteStatement" | "BatchExecuteStatement" | "ExecuteTransaction" => {
            let listed = request.statements.into_iter().chain(request.transact_statements).map(|one| one.statement);
            request.statement.into_iter().chain(listed).filter_map(|text| partiql(&text)).collect()
        }
        _ => {
            let table = request.table_name.map(|name| table(&name));
            let resource = table.map(|table| match &request.index_name {
                Some(index) => format!("{table}/index/{index}"),
                None => table,
            });
            resource
                .or(request.stream_arn.map(Cow::into_owned))
                .map(|resource| on(operation, resource))
                .into_iter()
                .collect()
        }
    }
}

/// The ARN of a table, by its name or ARN.
fn table(name: &str) -> String {
    let name = name.rsplit_once(":table/").map_or(name, |(_, name)| name);
    format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}")
}

/// The action of a PartiQL statement, and its table.
fn partiql(statement: &str) -> Option<Call> {
    let mut words = statement.split_whitespace();
    let verb = words.next()?.to_ascii_uppercase();
    let (action, before) = match verb.as_str() {
        "SELECT" => ("PartiQLSelect", Some("FROM")),
        "INSERT" => ("PartiQLInsert", Some("INTO")),
        "DELETE" => ("PartiQLDelete", Some("FROM")),
        "UPDATE" => ("PartiQLUpdate", None),
        _ => return None,
    };
    let name = match before {
        Some(keyword) => words.skip_while(|word| !word.eq_ignore_ascii_case(keyword)).nth(1)?,
        None => words.next()?,
    };
    let name = name.split('.').next()?.trim_matches(['"', ';']);
    Some(call("dynamodb", action, table(name)))
}

/// EventBridge authorizes each entry of its own: `PutEventsResultEntry` has error codes for a source or detail type that is
/// not authorized. So the keys have one value per entry. Here a denied entry denies the whole request.
/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html>
fn events(operation: &str, request: EventBridge) -> Vec<Call> {
    let bus = |name: Option<String>| {
        let name = name.unwrap_or_else(|| "default".to_owned());
        let name = name.rsplit_once("event-bus/").map_or(name.as_str(), |(_, name)| name);
        format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{name}")
    };
    match operation {
        "PutEvents" => {
            let entries = request.entries.into_iter().map(|entry| {
                let keys = [("events:source", entry.source), ("events:detail-type", entry.detail_type)];
                let context = keys.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
                Call { context, ..call("events", operation, bus(entry.event_bus_name)) }
            });
            entries.collect()
        }
        _ => vec![call("events", operation, bus(request.name))],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn needs(target: &str, body: &Value) -> Vec<String> {
        let short = |call: Call| {
            let context = call.context.iter().map(|(key, value)| format!(" {key}={value}")).collect::<String>();
            format!("{} {}{context}", call.action, call.resource.rsplit(':').next().unwrap())
        };
        needed(target, body.to_string().as_bytes()).into_iter().map(short).collect()
    }

    fn dynamodb(operation: &str, body: Value) -> Vec<String> {
        needs(&format!("DynamoDB_20120810.{operation}"), &body)
    }

    #[test]
    fn a_request_needs_its_action_on_the_table_or_the_index() {
        let get = json!({"TableName": "Orders", "Key": {"id": {"S": "\u{fc}\n"}}});
        assert_eq!(dynamodb("GetItem", get), ["dynamodb:GetItem table/Orders"]);
        let query = json!({"TableName": "arn:aws:dynamodb:r:0:table/Orders", "IndexName": "by-user"});
        assert_eq!(dynamodb("Query", query), ["dynamodb:Query table/Orders/index/by-user"]);
        let batch = json!({"RequestItems": {"Orders": {}, "Sales": []}});
        assert_eq!(
            dynamodb("BatchGetItem", batch),
            ["dynamodb:BatchGetItem table/Orders", "dynamodb:BatchGetItem table/Sales"]
        );
        assert_eq!(dynamodb("ListTables", json!({})), [""; 0]);
    }

    #[test]
    fn a_transaction_needs_the_permissions_of_all_its_parts() {
        let part = |verb: &str, table: &str| json!({ verb: { "TableName": table } });
        let parts = [
            part("Put", "A"),
            part("Update", "B"),
            part("Delete", "C"),
            part("ConditionCheck", "D"),
            json!({"Put": {}}),
        ];
        let needed = dynamodb("TransactWriteItems", json!({ "TransactItems": parts }));
        let expected = [
            "PutItem table/A",
            "UpdateItem table/B",
            "DeleteItem table/C",
            "ConditionCheckItem table/D",
            "PutItem table/",
        ];
        assert_eq!(needed, expected.map(|call| format!("dynamodb:{call}")));
    }

    #[test]
    fn a_partiql_statement_needs_the_action_of_its_verb() {
        for (statement, needed) in [
            ("SELECT * FROM \"Orders\" WHERE id = 1", "PartiQLSelect"),
            ("insert into Orders value {'id': 1}", "PartiQLInsert"),
            ("UPDATE \"Orders\" SET a = 1 WHERE id = 1", "PartiQLUpdate"),
            ("DELETE FROM Orders WHERE id = 1", "PartiQLDelete"),
        ] {
            let needed = [format!("dynamodb:{needed} table/Orders")];
            assert_eq!(dynamodb("ExecuteStatement", json!({ "Statement": statement })), needed);
            let listed = json!({"Statements": [{ "Statement": statement }]});
            assert_eq!(dynamodb("BatchExecuteStatement", listed), needed);
        }
    }

    #[test]
    fn each_entry_needs_permission_for_its_bus_with_its_source_and_type() {
        let entry =
            |source: &str, bus: &str| json!({"Source": source, "DetailType": "T", "EventBusName": bus, "Detail": "{}"});
        let put = json!({"Entries": [entry("orders", "b"), entry("payments", "arn:aws:events:r:0:event-bus/b"), {}]});
        let keys = |source: &str| format!("events:PutEvents event-bus/b events:source={source} events:detail-type=T");
        let expected = [keys("orders"), keys("payments"), "events:PutEvents event-bus/default".into()];
        assert_eq!(needs("AWSEvents.PutEvents", &put), expected);
        assert_eq!(needs("AWSEvents.DescribeEventBus", &json!({"Name": "b"})), ["events:DescribeEventBus event-bus/b"]);
    }
}
