//! The actions and condition keys that exist, of the services in use.

use iam_rs::Arn;

/// The actions of each service, in lower case. Source: AWS's service authorization reference
/// (<https://docs.aws.amazon.com/service-authorization/latest/reference/>), as `cfn-lint` contains it;
/// `.ci/agreement/permissions.py` compares them.
const ACTIONS: &str = include_str!("actions.txt");

/// The values that a condition key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    Text,
    Arn,
    Bool,
}

/// The condition keys that a call has here. Sources:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html> and
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-conditions.html>.
const KEYS: [(&str, KeyType); 7] = [
    ("aws:PrincipalAccount", KeyType::Text),
    ("aws:PrincipalArn", KeyType::Arn),
    ("aws:SecureTransport", KeyType::Bool),
    ("aws:SourceAccount", KeyType::Text),
    ("aws:SourceArn", KeyType::Arn),
    ("events:detail-type", KeyType::Text),
    ("events:source", KeyType::Text),
];

/// Whether the action (`dynamodb:Put*`) is, or matches, an action that exists.
pub(super) fn is_action(pattern: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let Some((service, name)) = pattern.split_once(':') else { return pattern == "*" };
    let mut words = ACTIONS.split_ascii_whitespace().skip_while(|word| word.strip_suffix(':') != Some(service));
    words.next().is_some() && words.take_while(|word| !word.ends_with(':')).any(|word| Arn::wildcard_match(word, name))
}

/// The type of a condition key; `None` if a call has no such key here.
pub(super) fn key_type(key: &str) -> Option<KeyType> {
    KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_exists_in_its_service_only_in_any_case_and_with_wildcards() {
        for action in ["dynamodb:PutItem", "DynamoDB:putitem", "dynamodb:Put*", "sqs:SendMessag?", "events:*", "*"] {
            assert!(is_action(action), "{action}");
        }
        for action in ["dynamodb:PutItm", "dynamodb:PutEvents", "dynamodb:Foo*", "dynamo:PutItem", "PutItem", ""] {
            assert!(!is_action(action), "{action}");
        }
    }
}
