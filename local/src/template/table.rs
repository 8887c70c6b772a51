//! Tables of the template.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::intrinsics::{ACCOUNT, REGION, Scope};
use super::{TemplateError, properties, resource_policies};
use crate::iam::Statement;

/// A DynamoDB table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name in the template.
    pub logical_id: String,
    /// Its name in DynamoDB.
    pub name: String,
    /// `AttributeDefinitions`, `KeySchema` and `GlobalSecondaryIndexes`, as in the template and in DynamoDB's API.
    pub definition: Map<String, Value>,
    /// The images in the records of its stream, if it has one (`NEW_AND_OLD_IMAGES`).
    pub stream: Option<String>,
    /// The policy of the table itself.
    pub policy: Vec<Statement>,
    /// The attribute with the time at which an item expires.
    pub ttl: Option<String>,
}

/// The properties that are read. The others are about backup, billing and encryption, or rejected below.
const PROPERTIES: &[&str] = &[
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
    "StreamSpecification",
    "TimeToLiveSpecification",
    "ResourcePolicy",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Properties {
    stream_specification: Option<StreamSpecification>,
    time_to_live_specification: Option<TimeToLive>,
    local_secondary_indexes: Option<Value>,
    resource_policy: Option<Value>,
    #[serde(flatten)]
    definition: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StreamSpecification {
    stream_view_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TimeToLive {
    attribute_name: String,
    enabled: bool,
}

impl Table {
    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{}", self.name)
    }

    pub(super) fn read(id: &str, table: &Map<String, Value>, scope: &Scope) -> Result<Self, TemplateError> {
        let properties: Properties = properties(table, PROPERTIES, scope)?;
        if properties.local_secondary_indexes.is_some() {
            return Err(TemplateError::Unsupported("LocalSecondaryIndexes".into()));
        }
        Ok(Self {
            logical_id: id.to_owned(),
            name: scope.name_of(id)?,
            definition: properties.definition,
            policy: properties.resource_policy.map(resource_policies::of_property).transpose()?.unwrap_or_default(),
            stream: properties.stream_specification.map(|stream| stream.stream_view_type),
            ttl: properties.time_to_live_specification.filter(|ttl| ttl.enabled).map(|ttl| ttl.attribute_name),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::template::tests::error_with;

    #[test]
    fn a_local_secondary_index_is_rejected_by_name() {
        let table = "{AttributeDefinitions: [], KeySchema: [], LocalSecondaryIndexes: []}";
        let error = error_with(&format!("{{Type: AWS::DynamoDB::Table, Properties: {table}}}"));
        assert!(error.contains("Odd") && error.contains("LocalSecondaryIndexes"), "{error}");
    }
}
