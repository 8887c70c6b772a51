//! The policies of the template for IAM, and what AWS checks of them when it creates functions.

use std::collections::BTreeMap;

use super::options::{StackError, StackOptions};
use crate::iam::{Call, Iam, Identity};
use crate::template::{ACCOUNT, Function, Policies, Template};

/// The policies of the template, less the permission that the options leave out.
pub(super) fn iam(template: &Template, options: &StackOptions) -> Result<Iam, StackError> {
    let identity = |name: &String, role: &String, policies: &Policies| Identity {
        name: name.clone(),
        role: role.clone(),
        statements: policies.statements.clone(),
        implied: policies.implied.clone(),
    };
    let functions = template.functions.iter().map(|one| identity(&one.logical_id, &one.role, &one.policies));
    let machines = template.state_machines.iter().map(|one| identity(&one.logical_id, &one.role, &one.policies));
    let mut identities: Vec<_> = functions.chain(machines).collect();
    if let Some(permission) = &options.without_permission {
        let without = |identity: &mut Identity| identity.remove(permission);
        if !identities.iter_mut().any(without) {
            return Err(StackError::NoPermission(permission.clone()));
        }
    }
    let mut resources: BTreeMap<_, _> = template.resource_policies.clone();
    resources.extend(template.tables.iter().map(|table| (table.arn(), table.policy.clone())));
    Ok(Iam::new(ACCOUNT, identities, resources, template.arns.clone(), options.permissions.clone()))
}

/// Checks what Lambda checks with the role of a function when its stream mappings and its destinations are created.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html>
pub(super) fn check_creation(iam: &Iam, template: &Template) -> Result<(), StackError> {
    for function in &template.functions {
        let Some(caller) = iam.identity(&function.logical_id) else { continue };
        for call in calls_of_lambda(function) {
            iam.check(&caller, &call)
                .map_err(|denied| StackError::Permission { function: function.logical_id.clone(), denied })?;
        }
    }
    Ok(())
}

/// The calls that Lambda makes as the role of a function.
fn calls_of_lambda(function: &Function) -> Vec<Call> {
    let call = |action: &str, resource: String| Call { action: action.to_owned(), resource, context: Vec::new() };
    let mappings = function.streams.iter().flat_map(|mapping| {
        let reads = ["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"];
        let reads = reads.map(|name| call(&format!("dynamodb:{name}"), mapping.stream.clone()));
        let bucket = &mapping.on_failure;
        let writes = [call("s3:PutObject", format!("{bucket}/aws/lambda/")), call("s3:ListBucket", bucket.clone())];
        reads.into_iter().chain(writes)
    });
    let destination = function.asynchronous.on_failure.iter().map(|queue| call("sqs:SendMessage", queue.clone()));
    mappings.chain(destination).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::tests::template;

    #[test]
    fn a_stream_mapping_needs_a_role_that_may_read_the_stream_and_write_to_its_destination() {
        let mut template = template();
        let options = StackOptions::new("binaries".into());
        check_creation(&iam(&template, &options).unwrap(), &template).unwrap();
        for function in &mut template.functions {
            function.policies.implied.retain(|statement| !statement.covers("s3:PutObject", "arn:aws:s3:::Failed/x"));
        }
        let error = check_creation(&iam(&template, &options).unwrap(), &template).unwrap_err().to_string();
        assert!(error.starts_with("ProjectThings cannot be created: User: "), "{error}");
        assert!(error.contains("s3:PutObject") && error.contains("- {Effect: Allow, Action: s3:PutObject"), "{error}");
    }
}
