//! What a function may do: the statements of its own policies, or of its role's.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::intrinsics::Scope;
use super::{TemplateError, properties};

/// Actions that are allowed on resources. Conditions are not evaluated; denials are not supported.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "Effect")]
    _effect: Effect,
    action: OneOrMore,
    resource: OneOrMore,
    #[serde(rename = "Condition")]
    _condition: Option<IgnoredAny>,
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

/// `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    (0..=text.len()).filter_map(|at| text.get(at..)).any(|tail| matches(rest, tail))
}

/// A policy document.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Document {
    pub statement: Vec<Statement>,
    #[serde(rename = "Version")]
    _version: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Inline {
    policy_document: Document,
    #[serde(rename = "PolicyName")]
    _name: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    policies: Vec<Inline>,
}

/// The statements of a role. The managed policies beside them allow only logs and traces.
pub(super) fn of_role(role: &Map<String, Value>, scope: &Scope) -> Result<Vec<Statement>, TemplateError> {
    let role: Role = properties(role, &["Policies"], scope)?;
    Ok(role.policies.into_iter().flat_map(|policy| policy.policy_document.statement).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::tests::error_with;

    #[test]
    fn an_action_is_allowed_on_the_resources_of_its_own_statement() {
        let statements: Vec<Statement> = serde_json::from_value(json!([
            {"Effect": "Allow", "Action": ["dynamodb:Query", "dynamodb:Put*"], "Resource": "arn:a:table/Events"},
            {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": ["arn:a:table/rows-*", "arn:b/*/x"]},
        ]))
        .unwrap();
        let may = |action: &str, resource: &str| statements.iter().any(|one| one.allows(action, resource));
        assert!(may("dynamodb:Query", "arn:a:table/Events"));
        assert!(may("dynamodb:PutItem", "arn:a:table/Events"));
        assert!(may("dynamodb:GetItem", "arn:a:table/rows-2") && may("dynamodb:GetItem", "arn:b/1/2/x"));
        for (action, resource) in [
            ("dynamodb:GetItem", "arn:a:table/Events"),
            ("dynamodb:Query", "arn:a:table/Events/index/by-user"),
            ("dynamodb:GetItem", "arn:b/1/2/y"),
        ] {
            assert!(!may(action, resource), "{action} {resource}");
        }
    }

    #[test]
    fn a_denial_or_a_policy_template_is_an_error_that_names_it() {
        let role = |statement: &str| {
            let document = format!("{{Version: v, Statement: [{{{statement}, Action: '*', Resource: '*'}}]}}");
            let policy = format!("{{PolicyName: p, PolicyDocument: {document}}}");
            error_with(&format!("{{Type: AWS::IAM::Role, Properties: {{Policies: [{policy}]}}}}"))
        };
        assert!(role("Effect: Deny").contains("Deny"));
    }
}
