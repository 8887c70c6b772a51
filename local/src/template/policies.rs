//! Policies of roles.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::intrinsics::{ACCOUNT, REGION, Scope};
use super::{TemplateError, properties};
use crate::iam::{PolicyKind, Statement};

/// What a role allows and denies.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// The statements that the template writes out, in order.
    pub statements: Vec<Statement>,
    /// Statements of managed policies and of SAM's policy templates, and those that SAM adds.
    pub implied: Vec<Statement>,
}

/// A policy document.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Document {
    pub statement: Vec<Value>,
    #[serde(rename = "Version")]
    _version: Version,
    #[serde(rename = "Id")]
    _id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
enum Version {
    #[serde(rename = "2012-10-17")]
    Current,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Inline {
    policy_document: Document,
    #[serde(rename = "PolicyName")]
    _name: IgnoredAny,
}

/// A permissions boundary is not supported, so it is an error.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Role {
    #[serde(default)]
    policies: Vec<Inline>,
    #[serde(default)]
    managed_policy_arns: Vec<String>,
}

/// An entry of `Policies` of a function or state machine.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Managed(String),
    Document(Document),
    Template(Templates),
}

/// The policy templates of SAM that are supported.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-policy-template-list.html>
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Templates {
    #[serde(rename = "LambdaInvokePolicy")]
    lambda_invoke: LambdaInvoke,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct LambdaInvoke {
    function_name: String,
}

impl Policies {
    /// Those of a role.
    pub(super) fn of_role(role: &Map<String, Value>, scope: &Scope) -> Result<Self, TemplateError> {
        let Role { policies, managed_policy_arns } =
            properties(role, &["Policies", "ManagedPolicyArns", "PermissionsBoundary"], scope)?;
        let mut all = Self::default();
        for policy in policies {
            all.add(&policy.policy_document)?;
        }
        for arn in &managed_policy_arns {
            all.add_managed(arn)?;
        }
        Ok(all)
    }

    /// Those of the role that SAM creates for a function or a state machine, from its `Policies`.
    pub(super) fn of_entries(entries: Vec<Value>) -> Result<Self, TemplateError> {
        let mut all = Self::default();
        for entry in entries {
            let unsupported = |_| TemplateError::Unsupported(format!("the policy {entry}"));
            match Entry::deserialize(&entry).map_err(unsupported)? {
                Entry::Managed(arn) => all.add_managed(&arn)?,
                Entry::Document(document) => all.add(&document)?,
                Entry::Template(Templates { lambda_invoke: LambdaInvoke { function_name } }) => {
                    let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function_name}*");
                    all.imply(&json!("lambda:InvokeFunction"), &arn)?;
                }
            }
        }
        all.add_managed("AWSLambdaBasicExecutionRole")?;
        all.add_managed("AWSXRayDaemonWriteAccess")?;
        Ok(all)
    }

    fn add(&mut self, document: &Document) -> Result<(), TemplateError> {
        for statement in &document.statement {
            let number = self.statements.len() + 1;
            self.statements.push(read(statement, number, PolicyKind::Identity)?);
        }
        Ok(())
    }

    /// Adds a managed policy of AWS.
    /// <https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html>
    pub(super) fn add_managed(&mut self, arn: &str) -> Result<(), TemplateError> {
        let logs = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"];
        let actions = match arn.rsplit('/').next().unwrap_or(arn) {
            "AWSLambdaBasicExecutionRole" => json!(logs),
            "AWSLambdaDynamoDBExecutionRole" => {
                let stream = ["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"];
                stream.map(|name| format!("dynamodb:{name}")).into_iter().chain(logs.map(str::to_owned)).collect()
            }
            "AWSXRayDaemonWriteAccess" => json!([
                "xray:PutTraceSegments",
                "xray:PutTelemetryRecords",
                "xray:GetSamplingRules",
                "xray:GetSamplingTargets",
                "xray:GetSamplingStatisticSummaries",
            ]),
            _ => return Err(TemplateError::Unsupported(format!("the managed policy {arn}"))),
        };
        self.imply(&actions, "*")
    }

    /// Adds a statement that the template does not write out.
    pub(super) fn imply(&mut self, actions: &Value, resource: &str) -> Result<(), TemplateError> {
        let statement = json!({"Effect": "Allow", "Action": actions, "Resource": resource});
        self.implied.push(read(&statement, self.implied.len() + 1, PolicyKind::Identity)?);
        Ok(())
    }
}

pub(super) fn read(statement: &Value, number: usize, kind: PolicyKind) -> Result<Statement, TemplateError> {
    Statement::read(statement, kind, ACCOUNT).map_err(|source| TemplateError::Statement { number, source })
}
