//! What a function may do: the statements of its own policies, or of its role's.

use serde::Deserialize;
use serde_json::Value;

use super::TemplateError;

/// Actions that are allowed on resources. There are neither conditions nor denials.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "Effect")]
    _effect: Effect,
    #[serde(rename = "Sid")]
    _id: Option<String>,
    action: OneOrMore,
    resource: OneOrMore,
}

#[derive(Clone, Debug, Deserialize)]
enum Effect {
    Allow,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn first_match(&self, text: &str) -> Option<usize> {
        match self {
            Self::One(pattern) => matches(pattern, text).then_some(0),
            Self::More(patterns) => patterns.iter().position(|pattern| matches(pattern, text)),
        }
    }
}

impl Statement {
    /// Whether it allows the action (`dynamodb:Query`) on the resource of this ARN.
    pub fn allows(&self, action: &str, resource: &str) -> bool {
        self.allowed_by(action, resource).is_some()
    }

    /// The places, in the statement's lists, of the action and of the resource that allow it.
    pub fn allowed_by(&self, action: &str, resource: &str) -> Option<(usize, usize)> {
        Some((self.action.first_match(action)?, self.resource.first_match(resource)?))
    }
}

/// `*` stands for any text, `?` for any one character.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = text.chars();
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => (0..=text.len()).filter_map(|at| text.get(at..)).any(|tail| matches(&pattern[1..], tail)),
        Some(next) => rest
            .next()
            .is_some_and(|first| (next == '?' || next == first) && matches(&pattern[next.len_utf8()..], rest.as_str())),
    }
}

/// The properties of `AWS::IAM::Role` that are read.
pub(super) const ROLE: &[&str] = &["Policies"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    statement: Vec<Statement>,
    #[serde(rename = "Version")]
    _version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Inline {
    policy_document: Document,
    #[serde(rename = "PolicyName")]
    _name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Role {
    policies: Vec<Inline>,
}

/// The statements of a role. The managed policies beside them allow nothing but logs and traces.
pub(super) fn of_role(properties: Value) -> Result<Vec<Statement>, TemplateError> {
    let role: Role = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
    Ok(role.policies.into_iter().flat_map(|policy| policy.policy_document.statement).collect())
}

/// The statements of a function's `Policies`.
pub(super) fn of_function(policies: Value) -> Result<Vec<Statement>, TemplateError> {
    let policies: Vec<Document> = serde_json::from_value(policies)
        .map_err(|error| TemplateError::Invalid(format!("Policies must be a list of policy documents: {error}")))?;
    Ok(policies.into_iter().flat_map(|document| document.statement).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_action_is_allowed_on_the_resources_of_its_own_statement() {
        let policies = json!([{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["dynamodb:Query", "dynamodb:Put*"], "Resource": "arn:a:table/Events"},
            {"Sid": "Other", "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": ["arn:a:table/rows-?", "arn:b/*/x"]},
        ]}]);
        let statements = of_function(policies).unwrap();
        let may = |action: &str, resource: &str| statements.iter().any(|one| one.allows(action, resource));
        assert!(may("dynamodb:Query", "arn:a:table/Events"));
        assert!(may("dynamodb:PutItem", "arn:a:table/Events"));
        assert!(may("dynamodb:GetItem", "arn:a:table/rows-2") && may("dynamodb:GetItem", "arn:b/1/2/x"));
        for (action, resource) in [
            ("dynamodb:GetItem", "arn:a:table/Events"),
            ("dynamodb:Query", "arn:a:table/Events/index/by-user"),
            ("dynamodb:GetItem", "arn:a:table/rows-"),
            ("dynamodb:GetItem", "arn:b/1/2/y"),
        ] {
            assert!(!may(action, resource), "{action} {resource}");
        }
    }

    #[test]
    fn what_a_policy_says_beside_that_is_an_error_that_names_it() {
        let statement = json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {}});
        let error = of_function(json!([{ "Statement": [statement] }])).unwrap_err().to_string();
        assert!(error.contains("Condition"), "{error}");
        let error = of_function(json!([{"DynamoDBReadPolicy": {"TableName": "t"}}])).unwrap_err().to_string();
        assert!(error.contains("DynamoDBReadPolicy"), "{error}");
        let denial = json!({"Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]});
        let error = of_role(json!({"Policies": [{"PolicyName": "p", "PolicyDocument": denial}]})).unwrap_err();
        assert!(error.to_string().contains("Deny"), "{error}");
    }
}
