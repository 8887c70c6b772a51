//! The calls of DynamoDB that the functions' policies in the template do not allow.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use orders_local::template::{ACCOUNT, Function, REGION, Template, project_path};
use serde_json::Value;

use dynamodb_testkit::exchange::{Request, Response};
use dynamodb_testkit::faults;
use dynamodb_testkit::proxy::Interceptor;

/// The policies of the template's functions. A function signs with its logical id as the access key.
#[derive(Clone, Debug)]
pub struct Permissions(BTreeMap<String, Function>);

impl Permissions {
    /// The policies of this template.
    pub fn of(template: &Template) -> Self {
        Self(template.functions.iter().map(|function| (function.logical_id.clone(), function.clone())).collect())
    }

    /// A guard for a proxy, which rejects calls as AWS does, and records which permissions are used.
    pub fn guard(self) -> Interceptor {
        let used = Mutex::new(BTreeSet::new());
        Arc::new(move |authorization, request| {
            let rejection = self.rejection(authorization, request);
            if let (None, Some(caller)) = (&rejection, self.caller(authorization)) {
                record(caller, request, &mut used.lock().unwrap());
            }
            rejection
        })
    }

    fn caller(&self, authorization: &str) -> Option<&Function> {
        let (_, key) = authorization.split_once("Credential=")?;
        self.0.get(key.split('/').next()?)
    }

    /// The response of AWS to a call that is not allowed; none if it is allowed.
    fn rejection(&self, authorization: &str, request: &Request) -> Option<Response> {
        let caller = self.caller(authorization);
        let operation = request.target.rsplit('.').next().unwrap_or_default();
        let needed = needed(operation, &request.body);
        let may =
            |(action, resource): &&(String, String)| caller.is_some_and(|function| function.may(action, resource));
        let denied = needed.iter().find(|action| !may(action));
        if denied.is_none() && !needed.is_empty() {
            return None;
        }
        let caller = caller.map_or("nobody", |function| &function.logical_id);
        let (action, resource) = denied.map_or((operation, "nothing"), |(action, resource)| (action, resource));
        Some(faults::denied(&format!("{caller} is not authorized to perform: {action} on resource: {resource}")))
    }
}

/// An empty file in the build directory for each permission that a test uses, named by function, statement, action and
/// resource. `.ci/check-permissions.py` compares them with the template after the tests.
fn record(function: &Function, request: &Request, used: &mut BTreeSet<String>) {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| project_path().with_file_name("target"), PathBuf::from);
    let folder = target.join("permissions-used");
    for (action, resource) in needed(request.target.rsplit('.').next().unwrap_or_default(), &request.body) {
        for (number, statement) in function.policies.iter().enumerate() {
            let Some((of_action, of_resource)) = statement.allowed_by(&action, &resource) else { continue };
            let name = format!("{}.{number}.{of_action}.{of_resource}", function.logical_id);
            if used.insert(name.clone()) {
                fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), "")).unwrap();
            }
        }
    }
}

/// The actions that a request needs, each with the ARN of its table or index. A transaction needs the actions of its
/// parts: there is no permission for transactions.
fn needed(operation: &str, body: &Value) -> Vec<(String, String)> {
    let table = |table: &str| format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}");
    let resource = |body: &Value| {
        let table = table(body["TableName"].as_str()?);
        Some(body["IndexName"].as_str().map_or(table.clone(), |index| format!("{table}/index/{index}")))
    };
    let action = |operation: &str| format!("dynamodb:{operation}");
    let of_transaction = |part: (&String, &Value)| {
        let operation = match part.0.as_str() {
            "ConditionCheck" => "ConditionCheckItem".to_owned(),
            verb => format!("{verb}Item"),
        };
        (action(&operation), resource(part.1).unwrap_or_default())
    };
    match operation {
        "TransactWriteItems" | "TransactGetItems" => {
            let parts = body["TransactItems"].as_array().into_iter().flatten();
            parts.filter_map(Value::as_object).flatten().map(of_transaction).collect()
        }
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = body["RequestItems"].as_object().into_iter().flatten();
            tables.map(|(name, _)| (action(operation), table(name))).collect()
        }
        _ => resource(body).map(|resource| (action(operation), resource)).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use orders_local::template::{TemplateOptions, project_path};
    use serde_json::json;

    use super::*;

    fn rejection(function: &str, operation: &str, body: Value) -> Option<String> {
        let template = Template::load(&project_path(), &TemplateOptions::default()).unwrap();
        let authorization = format!("AWS4-HMAC-SHA256 Credential={function}/20260101/us-east-1/dynamodb/aws4_request");
        let request = Request { target: format!("DynamoDB_20120810.{operation}"), attempt: 1, body };
        let answer = Permissions::of(&template).rejection(&authorization, &request)?;
        Some(String::from_utf8(answer.body).unwrap())
    }

    #[test]
    fn a_function_may_do_what_its_policies_allow_on_tables_and_indexes() {
        let (orders, by_user) =
            (json!({"TableName": "Orders"}), json!({"TableName": "Orders", "IndexName": "by-user"}));
        assert_eq!(rejection("GetOrder", "GetItem", orders.clone()), None);
        assert_eq!(rejection("ListUserOrders", "Query", by_user.clone()), None);
        assert_eq!(rejection("SalesReport", "Query", json!({"TableName": "SalesTotals"})), None);
        assert_eq!(rejection("VerifyOrders", "BatchGetItem", json!({"RequestItems": {"Orders": {}}})), None);
        for (function, operation, body) in [
            ("GetOrder", "PutItem", orders.clone()),
            ("GetOrder", "Query", by_user),
            ("ListUserOrders", "Query", orders.clone()),
            ("SalesReport", "Query", json!({"TableName": "SalesOrders"})),
            ("VerifyOrders", "BatchGetItem", json!({"RequestItems": {"Orders": {}, "RateLimits": {}}})),
            ("GetOrder", "ListTables", json!({})),
            ("Nobody", "GetItem", orders),
        ] {
            let rejection =
                rejection(function, operation, body.clone()).unwrap_or_else(|| panic!("{function} {operation}"));
            assert!(rejection.contains("AccessDeniedException") && rejection.contains(operation), "{rejection}");
        }
    }

    #[test]
    fn a_transaction_needs_the_permissions_of_all_its_parts() {
        let part = |verb: &str, table: &str| json!({ verb: { "TableName": table } });
        let transaction = |parts: &[Value]| json!({ "TransactItems": parts });
        let (row, total) = (part("Put", "SalesOrders"), part("Update", "SalesTotals"));
        let good = transaction(&[row.clone(), total.clone(), total.clone()]);
        for function in ["ProjectOrders", "RebuildOrders"] {
            assert_eq!(rejection(function, "TransactWriteItems", good.clone()), None);
        }
        for (function, parts, denied) in [
            ("ProjectOrders", vec![row.clone(), part("Put", "SalesTotals")], "dynamodb:PutItem"),
            ("ProjectOrders", vec![row.clone(), part("Update", "OrderEvents")], "dynamodb:UpdateItem"),
            ("ProjectOrders", vec![row.clone(), part("Delete", "SalesOrders")], "dynamodb:DeleteItem"),
            ("ProjectOrders", vec![row.clone(), part("ConditionCheck", "Orders")], "dynamodb:ConditionCheckItem"),
            ("SalesReport", vec![row.clone(), total], "dynamodb:PutItem"),
            ("ProjectOrders", vec![row, json!({"Put": {}})], "dynamodb:PutItem"),
            ("ProjectOrders", vec![], "TransactWriteItems"),
        ] {
            let rejection =
                rejection(function, "TransactWriteItems", transaction(&parts)).unwrap_or_else(|| panic!("{parts:?}"));
            assert!(rejection.contains("AccessDeniedException") && rejection.contains(denied), "{rejection}");
        }
    }

    /// The role of a function on a stream is a resource of its own in the template.
    #[test]
    fn a_function_with_a_role_of_its_own_may_do_what_the_role_allows() {
        assert_eq!(rejection("ProjectOrders", "UpdateItem", json!({"TableName": "Orders"})), None);
        assert!(rejection("ProjectOrders", "UpdateItem", json!({"TableName": "OrderEvents"})).is_some());
    }
}
