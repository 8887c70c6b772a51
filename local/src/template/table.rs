//! Tables of the template.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::intrinsics::Scope;
use super::{TemplateError, properties};

/// A DynamoDB table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Table {
    /// Its name in the template.
    #[serde(skip)]
    pub logical_id: String,
    /// Its name in DynamoDB.
    #[serde(skip)]
    pub name: String,
    /// Attributes of keys with their types.
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// Key attributes, the partition key first.
    pub key_schema: Vec<KeyElement>,
    /// Global secondary indexes.
    #[serde(default)]
    pub global_secondary_indexes: Vec<GlobalIndex>,
    /// The stream, if there is one.
    #[serde(rename = "StreamSpecification")]
    pub stream: Option<StreamSpecification>,
    /// The attribute that says when an item expires.
    #[serde(rename = "TimeToLiveSpecification")]
    pub ttl: Option<TimeToLive>,
}

/// An attribute of a key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AttributeDefinition {
    /// Its name.
    pub attribute_name: String,
    /// `S`, `N` or `B`.
    pub attribute_type: String,
}

/// A part of a key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct KeyElement {
    /// The attribute.
    pub attribute_name: String,
    /// `HASH` or `RANGE`.
    pub key_type: String,
}

/// A global secondary index.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GlobalIndex {
    /// Its name.
    pub index_name: String,
    /// Key attributes, the partition key first.
    pub key_schema: Vec<KeyElement>,
    /// The attributes that it has.
    pub projection: Projection,
}

/// The attributes that an index has.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Projection {
    /// `ALL`, `KEYS_ONLY` or `INCLUDE`.
    pub projection_type: String,
    /// With `INCLUDE`: these beside the keys.
    pub non_key_attributes: Option<Vec<String>>,
}

/// A table's stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct StreamSpecification {
    /// The images that a record has: `NEW_AND_OLD_IMAGES`, …
    pub stream_view_type: String,
}

/// How items expire.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TimeToLive {
    /// The attribute with the time, in seconds since 1970.
    pub attribute_name: String,
    /// Whether it is in use.
    pub enabled: bool,
}

/// The properties that are read. The others are about backup, billing, encryption and access, or refused below.
const PROPERTIES: &[&str] = &[
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
    "StreamSpecification",
    "TimeToLiveSpecification",
];

impl Table {
    pub(super) fn read(id: &str, table: &Map<String, Value>, scope: &Scope) -> Result<Self, TemplateError> {
        Ok(Self { logical_id: id.to_owned(), name: scope.name_of(id)?, ..properties(table, PROPERTIES, scope)? })
    }
}

#[cfg(test)]
mod tests {
    use crate::template::tests::{error_with, template};

    #[test]
    fn a_local_secondary_index_is_refused_by_name() {
        let table = "{AttributeDefinitions: [], KeySchema: [], LocalSecondaryIndexes: []}";
        let error = error_with(&format!("{{Type: AWS::DynamoDB::Table, Properties: {table}}}"));
        assert!(error.contains("Odd") && error.contains("LocalSecondaryIndexes"), "{error}");
    }

    #[test]
    fn a_table_has_its_physical_name() {
        assert_eq!(template().table("Rows").unwrap().name, "Rows");
    }
}
