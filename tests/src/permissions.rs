//! What AWS would refuse the functions: calls of DynamoDB that their policies in the template do not allow.

use std::collections::BTreeMap;
use std::sync::Arc;

use orders_local::template::{ACCOUNT, Function, REGION, Template};
use serde_json::Value;

use dynamodb_testkit::exchange::{Answer, Request};
use dynamodb_testkit::faults::denied;
use dynamodb_testkit::proxy::Guard;

/// The policies of the template's functions. A function is known by the access key that it signs with: its logical id.
#[derive(Clone, Debug)]
pub struct Permissions(BTreeMap<String, Function>);

impl Permissions {
    /// Those of this template.
    pub fn of(template: &Template) -> Self {
        Self(template.functions.iter().map(|function| (function.logical_id.clone(), function.clone())).collect())
    }

    /// For a proxy that answers what is not allowed as AWS does.
    pub fn guard(self) -> Guard {
        Arc::new(move |authorization, request| self.refusal(authorization, request))
    }

    /// What AWS answers to a call that its caller is not allowed; none if it is.
    fn refusal(&self, authorization: &str, request: &Request) -> Option<Answer> {
        let caller = authorization.split_once("Credential=").and_then(|(_, key)| key.split('/').next());
        let caller = caller.and_then(|key| self.0.get(key));
        let action = format!("dynamodb:{}", request.target.rsplit('.').next().unwrap_or_default());
        let resources = resources(&request.body);
        let may = |resource: &String| caller.is_some_and(|function| function.may(&action, resource));
        if !resources.is_empty() && resources.iter().all(may) {
            return None;
        }
        let who = caller.map_or("nobody", |function| &function.logical_id);
        let message = format!("{who} is not authorized to perform: {action} on resource: {}", resources.join(", "));
        Some(denied(&message))
    }
}

/// The ARNs of the tables that a request names, or of the index.
fn resources(body: &Value) -> Vec<String> {
    let arn = |table: &str| format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}");
    match (body["TableName"].as_str(), body["IndexName"].as_str()) {
        (Some(table), Some(index)) => vec![format!("{}/index/{index}", arn(table))],
        (Some(table), None) => vec![arn(table)],
        (None, _) => body["RequestItems"].as_object().into_iter().flatten().map(|(table, _)| arn(table)).collect(),
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
        assert_eq!(refusal("VerifyOrders", "BatchGetItem", json!({"RequestItems": {"Orders": {}}})), None);
        for (function, operation, body) in [
            ("GetOrder", "PutItem", orders.clone()),
            ("GetOrder", "Query", by_user),
            ("ListUserOrders", "Query", orders.clone()),
            ("VerifyOrders", "BatchGetItem", json!({"RequestItems": {"Orders": {}, "RateLimits": {}}})),
            ("GetOrder", "ListTables", json!({})),
            ("Nobody", "GetItem", orders),
        ] {
            let refusal =
                refusal(function, operation, body.clone()).unwrap_or_else(|| panic!("{function} {operation}"));
            assert!(refusal.contains("AccessDeniedException") && refusal.contains(operation), "{refusal}");
        }
    }

    /// The role of a function on a stream is written out, and not among its own properties.
    #[test]
    fn a_function_with_a_role_of_the_template_may_do_what_that_says() {
        assert_eq!(refusal("ProjectOrders", "UpdateItem", json!({"TableName": "Orders"})), None);
        assert!(refusal("ProjectOrders", "UpdateItem", json!({"TableName": "OrderEvents"})).is_some());
    }
}
