//! Policies of resources: tables, queues, buckets and event buses.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::intrinsics::{ACCOUNT, REGION, STACK_NAME, Scope};
use super::policies::{self, Document};
use super::{Template, TemplateError, plain_text};
use crate::iam::{PolicyKind, Statement};

/// A policy as a resource of its own, or as a property of its resource.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Policy {
    policy_document: Option<Document>,
    /// The only statement of an `AWS::Events::EventBusPolicy`.
    statement: Option<Value>,
    #[serde(rename = "StatementId")]
    _id: Option<String>,
    #[serde(default)]
    queues: Vec<String>,
    bucket: Option<String>,
    event_bus_name: Option<String>,
}

impl Policy {
    fn statements(&self) -> Result<Vec<Statement>, TemplateError> {
        let listed = self.policy_document.iter().flat_map(|document| &document.statement).chain(&self.statement);
        let read = |(place, statement)| policies::read(statement, place + 1, PolicyKind::Resource);
        listed.enumerate().map(read).collect()
    }
}

/// The statements of a property such as `ResourcePolicy`, with all references resolved.
pub(super) fn of_property(property: Value) -> Result<Vec<Statement>, TemplateError> {
    serde_json::from_value::<Policy>(property).map_err(TemplateError::invalid)?.statements()
}

/// Adds the statements of a resource such as `AWS::SQS::QueuePolicy` to those of the resources that it is attached to.
pub(super) fn read(
    resource: &Map<String, Value>,
    scope: &Scope,
    by_arn: &mut BTreeMap<String, Vec<Statement>>,
) -> Result<(), TemplateError> {
    let resolved = scope.resolve(&Value::Object(resource.clone()))?.unwrap_or_default();
    let policy: Policy = serde_json::from_value(resolved).map_err(TemplateError::invalid)?;
    let statements = policy.statements()?;
    let queues = policy.queues.iter().map(|queue| format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"));
    let bucket = policy.bucket.iter().map(|bucket| format!("arn:aws:s3:::{bucket}"));
    let bus = policy.event_bus_name.iter().map(|bus| format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}"));
    for arn in queues.chain(bucket).chain(bus) {
        by_arn.entry(arn).or_default().extend(statements.clone());
    }
    Ok(())
}

/// Checks that each statement of the template is about resources of the template, or that begin with the stack's name.
pub(super) fn check_resources(template: &Template) -> Result<(), TemplateError> {
    let indexes = template.tables.iter().flat_map(|table| {
        let indexes = table.definition.get("GlobalSecondaryIndexes").and_then(Value::as_array).into_iter().flatten();
        indexes.map(|index| format!("{}/index/{}", table.arn(), plain_text(&index["IndexName"])))
    });
    let inside = template.arns.keys().filter_map(|arn| match arn.split(':').nth(2) {
        Some("s3") => Some(format!("{arn}/*")),
        Some("logs") => Some(format!("{arn}:*")),
        _ => None,
    });
    // An operator names resources outside of the template by parameters.
    let given = template.parameters.values().filter(|value| value.starts_with("arn:")).cloned();
    let arns: Vec<_> = template.arns.keys().cloned().chain(indexes).chain(inside).chain(given).collect();
    let check = |owner: &str, statements: &[Statement]| {
        statements.iter().enumerate().try_for_each(|(place, statement)| {
            let checked = statement.check_resources(arns.iter().map(String::as_str), STACK_NAME);
            checked.map_err(|source| TemplateError::Statement { number: place + 1, source }.within(owner))
        })
    };
    template.functions.iter().try_for_each(|one| check(&one.logical_id, &one.policies.statements))?;
    template.state_machines.iter().try_for_each(|one| check(&one.logical_id, &one.policies.statements))?;
    template.tables.iter().try_for_each(|one| check(&one.logical_id, &one.policy))?;
    template.resource_policies.iter().try_for_each(|(arn, policy)| check(arn, policy))
}

#[cfg(test)]
mod tests {
    use crate::template::tests::error_with;

    fn function(policies: &str) -> String {
        let metadata = "{BuildMethod: rust-cargolambda, BuildProperties: {Binary: odd}}";
        let properties = format!("{{Policies: [{policies}]}}");
        error_with(&format!("{{Type: AWS::Serverless::Function, Metadata: {metadata}, Properties: {properties}}}"))
    }

    fn document(statement: &str) -> String {
        let good = "{Effect: Allow, Action: dynamodb:Query, Resource: !GetAtt Rows.Arn}";
        format!("{{Version: \"2012-10-17\", Statement: [{good}, {{Effect: Allow, {statement}}}]}}")
    }

    #[test]
    fn a_statement_that_cannot_be_evaluated_is_named_by_its_function_and_number() {
        let rows = "Resource: !GetAtt Rows.Arn";
        let other = "arn:aws:dynamodb:us-east-1:000000000000:table/Other";
        for (statement, reason) in [
            (format!("Action: dynamodb:PutItm, {rows}"), "the action dynamodb:PutItm does not exist"),
            (format!("Action: dynamodb:PutItem, Resource: \"{other}\""), "is no resource of this template"),
            ("Action: dynamodb:Query, Resource: !Sub \"${Rows.Arn}/index/by-ownr\"".into(), "index/by-ownr"),
            (format!("Action: dynamodb:Query, {rows}, Condition: {{StringLike: {{dynamodb:Key: x}}}}"), "dynamodb:Key"),
            (format!("Action: dynamodb:Query, {rows}, Condition: {{Equals: {{aws:PrincipalArn: x}}}}"), "Equals"),
        ] {
            let error = function(&document(&statement));
            assert!(error.contains("Odd: statement 2") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_policy_that_the_local_stack_does_not_know_is_an_error_that_names_it() {
        assert!(function("{DynamoDBReadPolicy: {TableName: t}}").contains("DynamoDBReadPolicy"));
        assert!(function("AmazonDynamoDBFullAccess").contains("AmazonDynamoDBFullAccess"));
        assert!(error_with("{Type: AWS::IAM::ManagedPolicy, Properties: {}}").contains("AWS::IAM::ManagedPolicy"));
    }

    #[test]
    fn a_permissions_boundary_is_an_error_and_not_ignored() {
        let metadata = "Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: odd}}";
        for kind in ["AWS::IAM::Role", "AWS::Serverless::Function", "AWS::Serverless::StateMachine"] {
            let error = error_with(&format!("{{Type: {kind}, {metadata}, Properties: {{PermissionsBoundary: x}}}}"));
            assert!(error.contains("Odd") && error.contains("PermissionsBoundary"), "{error}");
        }
    }

    #[test]
    fn a_statement_of_a_queue_that_cannot_be_evaluated_is_named() {
        let statement = "{Effect: Allow, Principal: '*', Action: sqs:SendMesage, Resource: !GetAtt FailedThings.Arn}";
        let document = format!("{{Version: \"2012-10-17\", Statement: [{statement}]}}");
        let properties = format!("{{Queues: [!Ref FailedThings], PolicyDocument: {document}}}");
        let error = error_with(&format!("{{Type: AWS::SQS::QueuePolicy, Properties: {properties}}}"));
        assert!(error.contains("Odd: statement 1") && error.contains("sqs:SendMesage"), "{error}");
    }
}
