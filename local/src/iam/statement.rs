//! Statements of policies, checked when they are read: what the local stack cannot evaluate is an error.

use std::collections::BTreeMap;

use iam_rs::{
    Arn, ConditionBlock, Decision, IAMAction, IAMEffect, IAMOperator, IAMPolicy, IAMRequest, IAMResource, IAMStatement,
    PolicyEvaluator,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::known::{self, KeyType};

/// A statement of a policy.
#[derive(Clone, Debug)]
pub struct Statement {
    parsed: IAMStatement,
    evaluator: PolicyEvaluator,
}

/// What a policy is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// A role: its statements have no `Principal`.
    Identity,
    /// A resource: its statements have one.
    Resource,
}

/// Why the local stack cannot evaluate a policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It has an unknown element or value, or lacks one.
    #[error("{0}")]
    Malformed(String),
    /// The action is misspelt, or its service is not in `local/src/iam/actions.txt`.
    #[error("the action {0} does not exist")]
    UnknownAction(String),
    /// The key is misspelt, or belongs to another service than the actions, or is not in `local/src/iam/known.rs`.
    #[error("the condition key {0} does not exist for its actions, or the local stack does not support it")]
    UnknownKey(String),
    /// The operator is misspelt.
    #[error("the condition operator {0} does not exist")]
    UnknownOperator(String),
    /// The operator does not suit the key.
    #[error("the operator {0} cannot be used with the condition key {1}")]
    WrongOperator(String, String),
    /// The resource belongs to another service than the actions, or the template does not have it.
    #[error("the resource {0} is no resource of this template that its actions can be used on")]
    ForeignResource(String),
}

/// The elements of a statement.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Elements {
    #[serde(rename = "Effect")]
    _effect: IgnoredAny,
    #[serde(rename = "Sid")]
    _sid: Option<IgnoredAny>,
    principal: Option<Value>,
    action: Option<IgnoredAny>,
    not_action: Option<IgnoredAny>,
    resource: Option<IgnoredAny>,
    not_resource: Option<IgnoredAny>,
    condition: Option<BTreeMap<String, IgnoredAny>>,
}

impl Statement {
    /// Reads a statement with all references resolved. `account` is the account of the stack.
    ///
    /// # Errors
    /// When the local stack cannot evaluate it.
    pub fn read(value: &Value, kind: PolicyKind, account: &str) -> Result<Self, PolicyError> {
        let malformed = |error: serde_json::Error| PolicyError::Malformed(error.to_string());
        let Elements { principal, action, not_action, resource, not_resource, condition, .. } =
            Elements::deserialize(value).map_err(malformed)?;
        let one_of = |what: &str, one: bool, other: bool| {
            if one == other {
                Err(PolicyError::Malformed(format!("it needs either {what} or Not{what}")))
            } else {
                Ok(())
            }
        };
        one_of("Action", action.is_some(), not_action.is_some())?;
        one_of("Resource", resource.is_some(), not_resource.is_some())?;
        if principal.is_some() != (kind == PolicyKind::Resource) {
            let text = "Principal belongs to the policy of a resource, and is required there";
            return Err(PolicyError::Malformed(text.into()));
        }
        if let Some(unknown) = condition.iter().flat_map(BTreeMap::keys).find(|name| !is_operator(name)) {
            return Err(PolicyError::UnknownOperator(unknown.clone()));
        }
        let mut value = value.clone();
        if let Some(principal) = &principal {
            // An account that is allowed may give the permission to its roles, in their policies; one that is denied is all of them.
            let account_is = if value["Effect"] == "Deny" { "*" } else { "root" };
            value["Principal"] = in_account(principal, account, account_is)?;
        }
        let mut parsed = IAMStatement::deserialize(&value).map_err(malformed)?;
        if let Some(condition) = &mut parsed.condition {
            // AWS compares ARNs with wildcards in both operators, the evaluator in the second only.
            let entries = std::mem::take(&mut condition.conditions).into_iter();
            for (operator, keys) in entries {
                condition.conditions.entry(with_wildcards(operator)).or_default().extend(keys);
            }
        }
        let evaluator = PolicyEvaluator::with_policies(vec![IAMPolicy::new().add_statement(parsed.clone())]);
        let statement = Self { parsed, evaluator };
        statement.check_actions()?;
        statement.check_conditions(&value)?;
        Ok(statement)
    }

    /// Whether every resource belongs to the service of an action, and matches one of these ARNs or has a name that begins
    /// with the stack's.
    ///
    /// # Errors
    /// [`PolicyError::ForeignResource`].
    pub fn check_resources<'a>(
        &self,
        arns: impl Iterator<Item = &'a str> + Clone,
        stack: &str,
    ) -> Result<(), PolicyError> {
        let services: Vec<_> = self.actions().iter().filter_map(|action| action.split_once(':')).collect();
        for pattern in self.resources() {
            let own = |arn: &str| Arn::parse(arn).is_ok_and(|arn| arn.matches(pattern).unwrap_or(false));
            let of_service = || {
                let service = pattern.split(':').nth(2).unwrap_or_default();
                services.is_empty() || services.iter().any(|(known, _)| known.eq_ignore_ascii_case(service))
            };
            let of_stack = || {
                let name = pattern.splitn(6, ':').nth(5).unwrap_or_default();
                name.split(['/', ':']).any(|part| part.starts_with(&format!("{stack}-")))
            };
            if pattern != "*" && !(of_service() && (arns.clone().any(own) || of_stack())) {
                return Err(PolicyError::ForeignResource(pattern.clone()));
            }
        }
        Ok(())
    }

    /// Whether it denies.
    pub(super) fn denies(&self) -> bool {
        self.parsed.effect == IAMEffect::Deny
    }

    /// Whether it applies to the request. What cannot be evaluated applies if it denies, and does not if it allows.
    pub(super) fn applies(&self, request: &IAMRequest) -> bool {
        match self.evaluator.evaluate(request) {
            Ok(result) => result.decision != Decision::NotApplicable,
            Err(error) => {
                tracing::error!("a policy cannot be evaluated: {error}");
                self.denies()
            }
        }
    }

    /// Whether it allows the action (`dynamodb:Query`) on the resource of this ARN, when its conditions hold.
    pub fn covers(&self, action: &str, resource: &str) -> bool {
        self.place(action, resource).is_some()
    }

    /// The places, in the statement's lists, of the action and of the resource that it applies to.
    pub(super) fn place(&self, action: &str, resource: &str) -> Option<(usize, usize)> {
        let action = action.to_ascii_lowercase();
        let of = |pattern: &String| Arn::wildcard_match(&action, &pattern.to_ascii_lowercase());
        let on = |pattern: &String| Arn::parse(resource).is_ok_and(|arn| arn.matches(pattern).unwrap_or(false));
        Some((self.actions().iter().position(of)?, self.resources().iter().position(on)?))
    }

    /// A statement that applies to nothing: the numbers of the others stay.
    pub(super) fn nothing() -> Self {
        let parsed = IAMStatement::new(IAMEffect::Allow);
        Self { parsed, evaluator: PolicyEvaluator::new() }
    }

    /// The same statement without one action or one resource of its lists; `None` if nothing is left.
    pub(super) fn without(&self, action: Option<usize>, resource: Option<usize>) -> Option<Self> {
        let mut parsed = self.parsed.clone();
        if let (Some(place), Some(actions)) = (action, &mut parsed.action) {
            *actions = IAMAction::Multiple(rest(self.actions(), place)?);
        }
        if let (Some(place), Some(resources)) = (resource, &mut parsed.resource) {
            *resources = IAMResource::Multiple(rest(self.resources(), place)?);
        }
        let evaluator = PolicyEvaluator::with_policies(vec![IAMPolicy::new().add_statement(parsed.clone())]);
        Some(Self { parsed, evaluator })
    }

    /// The actions of `Action`.
    pub fn actions(&self) -> &[String] {
        match &self.parsed.action {
            Some(IAMAction::Single(action)) => std::slice::from_ref(action),
            Some(IAMAction::Multiple(actions)) => actions,
            None => &[],
        }
    }

    /// The resources of `Resource`.
    pub fn resources(&self) -> &[String] {
        match &self.parsed.resource {
            Some(IAMResource::Single(resource)) => std::slice::from_ref(resource),
            Some(IAMResource::Multiple(resources)) => resources,
            None => &[],
        }
    }

    fn check_actions(&self) -> Result<(), PolicyError> {
        let not = match &self.parsed.not_action {
            Some(IAMAction::Single(action)) => std::slice::from_ref(action),
            Some(IAMAction::Multiple(actions)) => actions,
            None => &[],
        };
        match self.actions().iter().chain(not).find(|action| !known::is_action(action)) {
            Some(action) => Err(PolicyError::UnknownAction(action.clone())),
            None => Ok(()),
        }
    }

    fn check_conditions(&self, value: &Value) -> Result<(), PolicyError> {
        if value.to_string().contains("${") {
            return Err(PolicyError::Malformed("policy variables are not supported by the local stack".into()));
        }
        let Some(ConditionBlock { conditions }) = &self.parsed.condition else { return Ok(()) };
        for (operator, keys) in conditions {
            for key in keys.keys() {
                let service = key.split(':').next().unwrap_or_default();
                let of_actions = |action: &String| action == "*" || action.split(':').next() == Some(service);
                let kind = known::key_type(key).filter(|_| service == "aws" || self.actions().iter().any(of_actions));
                let kind = kind.ok_or_else(|| PolicyError::UnknownKey(key.clone()))?;
                if !suits(operator, kind) {
                    return Err(PolicyError::WrongOperator(operator.as_str().to_owned(), key.clone()));
                }
            }
        }
        Ok(())
    }
}

fn is_operator(name: &str) -> bool {
    IAMOperator::deserialize(Value::from(name)).is_ok()
}

/// Whether an operator compares values of that type.
fn suits(operator: &IAMOperator, kind: KeyType) -> bool {
    match kind {
        _ if *operator == IAMOperator::Null => true,
        KeyType::Text => operator.is_string_operator(),
        KeyType::Arn => operator.is_string_operator() || operator.is_arn_operator(),
        KeyType::Bool => matches!(operator, IAMOperator::Bool | IAMOperator::BoolIfExists),
    }
}

fn with_wildcards(operator: IAMOperator) -> IAMOperator {
    match operator {
        IAMOperator::ArnEquals => IAMOperator::ArnLike,
        IAMOperator::ArnNotEquals => IAMOperator::ArnNotLike,
        IAMOperator::ArnEqualsIfExists => IAMOperator::ArnLikeIfExists,
        IAMOperator::ArnNotEqualsIfExists => IAMOperator::ArnNotLikeIfExists,
        IAMOperator::ForAllValuesArnEquals => IAMOperator::ForAllValuesArnLike,
        IAMOperator::ForAllValuesArnNotEquals => IAMOperator::ForAllValuesArnNotLike,
        IAMOperator::ForAnyValueArnEquals => IAMOperator::ForAnyValueArnLike,
        IAMOperator::ForAnyValueArnNotEquals => IAMOperator::ForAnyValueArnNotLike,
        other => other,
    }
}

/// The principal as the evaluator reads it: `*` as a text of its own, and the account as what it stands for.
fn in_account(principal: &Value, account: &str, account_is: &str) -> Result<Value, PolicyError> {
    let meant = format!("arn:aws:iam::{account}:{account_is}");
    let of_account = |name: &Value| match name.as_str() {
        Some(text) if text == account || text == format!("arn:aws:iam::{account}:root") => Value::from(meant.clone()),
        _ => name.clone(),
    };
    let everybody =
        |value: &Value| *value == "*" || value.as_array().is_some_and(|list| list.iter().any(|id| id == "*"));
    match principal.as_object() {
        None if principal == "*" => Ok(principal.clone()),
        Some(map) if map.len() == 1 && map.get("AWS").is_some_and(everybody) => Ok("*".into()),
        Some(map) if map.len() == 1 => {
            let names = |names: &Value| match names.as_array() {
                Some(list) => list.iter().map(of_account).collect(),
                None => of_account(names),
            };
            Ok(map.iter().map(|(kind, value)| (kind.clone(), names(value))).collect())
        }
        _ => Err(PolicyError::Malformed("Principal must be * or have one kind".into())),
    }
}

fn rest(list: &[String], without: usize) -> Option<Vec<String>> {
    let mut rest = list.to_vec();
    rest.remove(without);
    (!rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(name: &str) -> String {
        format!("arn:aws:dynamodb:us-east-1:000000000000:table/{name}")
    }

    fn error(change: Value) -> String {
        let mut statement = json!({"Effect": "Allow", "Action": "dynamodb:Query", "Resource": table("Orders")});
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(statement.as_object_mut().unwrap().remove(name)),
                value => statement[name] = value.clone(),
            }
        }
        Statement::read(&statement, PolicyKind::Identity, "000000000000").unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_evaluated_is_an_error_that_says_why() {
        for (change, reason) in [
            (json!({"Action": ["dynamodb:Query", "dynamodb:PutItm"]}), "the action dynamodb:PutItm does not exist"),
            (json!({"Action": null}), "it needs either Action or NotAction"),
            (json!({"NotResource": "*"}), "it needs either Resource or NotResource"),
            (json!({"Effect": "Permit"}), "Permit"),
            (json!({"Resources": "*"}), "Resources"),
            (json!({"Principal": "*"}), "Principal belongs to the policy of a resource"),
            (
                json!({"Condition": {"StringEquals": {"dynamodb:LeadingKeys": "x"}}}),
                "the condition key dynamodb:LeadingKeys",
            ),
            (json!({"Condition": {"StringEquals": {"events:source": "x"}}}), "the condition key events:source"),
            (
                json!({"Condition": {"StringEqual": {"aws:PrincipalArn": "x"}}}),
                "the condition operator StringEqual does not",
            ),
            (json!({"Condition": {"Bool": {"aws:PrincipalArn": "true"}}}), "the operator Bool"),
            (json!({"Condition": {"StringEquals": {"aws:SecureTransport": "true"}}}), "the operator StringEquals"),
            (json!({"Resource": format!("{}${{aws:username}}", table("x"))}), "policy variables"),
        ] {
            let error = error(change.clone());
            assert!(error.contains(reason), "{change}: {error}");
        }
    }

    #[test]
    fn a_resource_must_be_one_of_the_template_or_have_the_name_of_the_stack() {
        let known = [table("Orders"), format!("{}/index/by-user", table("Orders"))];
        let check = |resource: &str| {
            let statement = json!({"Effect": "Allow", "Action": "dynamodb:Query", "Resource": resource});
            let statement = Statement::read(&statement, PolicyKind::Identity, "000000000000").unwrap();
            statement.check_resources(known.iter().map(String::as_str), "local")
        };
        for resource in ["Orders", "Ord*", "Orders/index/*", "local-rows-*", "local-rows-2"] {
            assert_eq!(check(&table(resource)), Ok(()), "{resource}");
        }
        for resource in ["Others", "Orders/index/by-usr", "Oth*", "nonlocal-rows-*"] {
            assert_eq!(check(&table(resource)), Err(PolicyError::ForeignResource(table(resource))));
        }
        assert!(check("arn:aws:sqs:us-east-1:000000000000:local-queue").is_err(), "of another service");
    }
}
