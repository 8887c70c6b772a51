//! What AWS would refuse the functions: calls of DynamoDB that their policies in the template do not allow.

use std::collections::BTreeMap;
use std::sync::Arc;

use orders_local::template::{ACCOUNT, Function, REGION, Template};
use serde_json::Value;

use dynamodb_testkit::exchange::{Request, Response};
use dynamodb_testkit::faults::denied;
use dynamodb_testkit::proxy::Interceptor;

/// The policies of the template's functions. A function is known by the access key that it signs with: its logical id.
#[derive(Clone, Debug)]
pub struct Permissions(BTreeMap<String, Function>);

impl Permissions {
    /// Those of this template.
    pub fn of(template: &Template) -> Self {
        Self(template.functions.iter().map(|function| (function.logical_id.clone(), function.clone())).collect())
    }

    /// For a proxy that answers what is not allowed as AWS does.
    pub fn guard(self) -> Interceptor {
        Arc::new(move |authorization, request| self.refusal(authorization, request))
    }

    /// What AWS answers to a call that its caller is not allowed; none if it is.
    fn refusal(&self, authorization: &str, request: &Request) -> Option<Response> {
        let caller = authorization.split_once("Credential=").and_then(|(_, key)| key.split('/').next());
        let caller = caller.and_then(|key| self.0.get(key));
        let operation = request.target.rsplit('.').next().unwrap_or_default();
        let asked = asked(operation, &request.body);
        let may =
            |(action, resource): &&(String, String)| caller.is_some_and(|function| function.may(action, resource));
        let refused = asked.iter().find(|asked| !may(asked));
        if refused.is_none() && !asked.is_empty() {
            return None;
        }
        let who = caller.map_or("nobody", |function| &function.logical_id);
        let (action, resource) = refused.map_or((operation, "nothing"), |(action, resource)| (action, resource));
        Some(denied(&format!("{who} is not authorized to perform: {action} on resource: {resource}")))
    }
}

/// The actions that a request needs, each with the ARN of the table or of the index that it is about. A transaction needs
/// what each of its parts would need by itself: there is no permission for transactions.
fn asked(operation: &str, body: &Value) -> Vec<(String, String)> {
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

    fn refusal(function: &str, operation: &str, body: Value) -> Option<String> {
        let template = Template::load(&project_path(), &TemplateOptions::default()).unwrap();
        let authorization = format!("AWS4-HMAC-SHA256 Credential={function}/20260101/us-east-1/dynamodb/aws4_request");
        let request = Request { target: format!("DynamoDB_20120810.{operation}"), attempt: 1, body };
        let answer = Permissions::of(&template).refusal(&authorization, &request)?;
        Some(String::from_utf8(answer.body).unwrap())
    }

    #[test]
    fn a_function_may_do_what_its_policies_say_on_tables_and_indexes() {
        let (orders, by_user) =
            (json!({"TableName": "Orders"}), json!({"TableName": "Orders", "IndexName": "by-user"}));
        assert_eq!(refusal("GetOrder", "GetItem", orders.clone()), None);
        assert_eq!(refusal("ListUserOrders", "Query", by_user.clone()), None);
        assert_eq!(refusal("SalesReport", "Query", json!({"TableName": "SalesTotals"})), None);
        assert_eq!(refusal("VerifyOrders", "BatchGetItem", json!({"RequestItems": {"Orders": {}}})), None);
        for (function, operation, body) in [
            ("GetOrder", "PutItem", orders.clone()),
            ("GetOrder", "Query", by_user),
            ("ListUserOrders", "Query", orders.clone()),
            ("SalesReport", "Query", json!({"TableName": "SalesOrders"})),
            ("VerifyOrders", "BatchGetItem", json!({"RequestItems": {"Orders": {}, "RateLimits": {}}})),
            ("GetOrder", "ListTables", json!({})),
            ("Nobody", "GetItem", orders),
        ] {
            let refusal =
                refusal(function, operation, body.clone()).unwrap_or_else(|| panic!("{function} {operation}"));
            assert!(refusal.contains("AccessDeniedException") && refusal.contains(operation), "{refusal}");
        }
    }

    #[test]
    fn a_transaction_may_do_what_each_of_its_parts_may() {
        let part = |verb: &str, table: &str| json!({ verb: { "TableName": table } });
        let transaction = |parts: &[Value]| json!({ "TransactItems": parts });
        let (row, total) = (part("Put", "SalesOrders"), part("Update", "SalesTotals"));
        let good = transaction(&[row.clone(), total.clone(), total.clone()]);
        for function in ["ProjectOrders", "RebuildOrders"] {
            assert_eq!(refusal(function, "TransactWriteItems", good.clone()), None);
        }
        for (function, parts, refused) in [
            ("ProjectOrders", vec![row.clone(), part("Put", "SalesTotals")], "dynamodb:PutItem"),
            ("ProjectOrders", vec![row.clone(), part("Update", "OrderEvents")], "dynamodb:UpdateItem"),
            ("ProjectOrders", vec![row.clone(), part("Delete", "SalesOrders")], "dynamodb:DeleteItem"),
            ("ProjectOrders", vec![row.clone(), part("ConditionCheck", "Orders")], "dynamodb:ConditionCheckItem"),
            ("SalesReport", vec![row.clone(), total], "dynamodb:PutItem"),
            ("ProjectOrders", vec![row, json!({"Put": {}})], "dynamodb:PutItem"),
            ("ProjectOrders", vec![], "TransactWriteItems"),
        ] {
            let refusal =
                refusal(function, "TransactWriteItems", transaction(&parts)).unwrap_or_else(|| panic!("{parts:?}"));
            assert!(refusal.contains("AccessDeniedException") && refusal.contains(refused), "{refusal}");
        }
    }

    /// The role of a function on a stream is written out, and not among its own properties.
    #[test]
    fn a_function_with_a_role_of_the_template_may_do_what_that_says() {
        assert_eq!(refusal("ProjectOrders", "UpdateItem", json!({"TableName": "Orders"})), None);
        assert!(refusal("ProjectOrders", "UpdateItem", json!({"TableName": "OrderEvents"})).is_some());
    }
}
