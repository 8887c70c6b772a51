//! Tables of the template.

use serde::Deserialize;
use serde_json::Value;

use super::TemplateError;

/// A DynamoDB table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name in the template.
    pub logical_id: String,
    /// Its name in DynamoDB.
    pub name: String,
    /// Attributes of keys with their types (`S`, `N` or `B`).
    pub attributes: Vec<(String, String)>,
    /// Key attributes, the partition key first.
    pub key: Vec<(String, KeyType)>,
    /// Global secondary indexes.
    pub indexes: Vec<GlobalIndex>,
    /// What the stream shows, when there is one (`NEW_AND_OLD_IMAGES`).
    pub stream: Option<String>,
    /// The attribute that says when an item expires.
    pub ttl: Option<String>,
}

/// A global secondary index.
#[derive(Clone, Debug)]
pub struct GlobalIndex {
    /// Its name.
    pub name: String,
    /// Key attributes, the partition key first.
    pub key: Vec<(String, KeyType)>,
    /// What it shows.
    pub projection: Projection,
}

/// The part of an attribute in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyType {
    /// Partition key.
    Hash,
    /// Sort key.
    Range,
}

/// What an index shows of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Everything.
    All,
    /// Keys.
    KeysOnly,
    /// Keys and these.
    Include(Vec<String>),
}

/// The properties that [`Table::read`] reads.
pub(super) const PROPERTIES: &[&str] = &[
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
    "StreamSpecification",
    "TimeToLiveSpecification",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Properties {
    attribute_definitions: Vec<AttributeDefinition>,
    key_schema: Vec<KeyElement>,
    #[serde(default)]
    global_secondary_indexes: Vec<Index>,
    local_secondary_indexes: Option<Value>,
    stream_specification: Option<Stream>,
    time_to_live_specification: Option<TimeToLive>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttributeDefinition {
    attribute_name: String,
    attribute_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyElement {
    attribute_name: String,
    key_type: KeyType,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    index_name: String,
    key_schema: Vec<KeyElement>,
    projection: IndexProjection,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IndexProjection {
    projection_type: String,
    #[serde(default)]
    non_key_attributes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stream {
    stream_view_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TimeToLive {
    attribute_name: Option<String>,
    #[serde(deserialize_with = "super::loose::value")]
    enabled: bool,
}

impl Table {
    pub(super) fn read(logical_id: &str, name: &str, properties: Value) -> Result<Self, TemplateError> {
        let properties: Properties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
        if properties.local_secondary_indexes.is_some() {
            return Err(TemplateError::UnknownIntrinsic("LocalSecondaryIndexes".into()));
        }
        let key = |elements: Vec<KeyElement>| elements.into_iter().map(|e| (e.attribute_name, e.key_type)).collect();
        let indexes = properties.global_secondary_indexes.into_iter().map(|index| {
            let projection = match index.projection.projection_type.as_str() {
                "ALL" => Projection::All,
                "KEYS_ONLY" => Projection::KeysOnly,
                "INCLUDE" => Projection::Include(index.projection.non_key_attributes),
                other => return Err(TemplateError::UnknownIntrinsic(format!("the projection type {other}"))),
            };
            Ok(GlobalIndex { name: index.index_name, key: key(index.key_schema), projection })
        });
        Ok(Self {
            logical_id: logical_id.to_owned(),
            name: name.to_owned(),
            attributes: properties
                .attribute_definitions
                .into_iter()
                .map(|attribute| (attribute.attribute_name, attribute.attribute_type))
                .collect(),
            indexes: indexes.collect::<Result<_, _>>()?,
            key: key(properties.key_schema),
            stream: properties.stream_specification.map(|stream| stream.stream_view_type),
            ttl: properties.time_to_live_specification.filter(|ttl| ttl.enabled).and_then(|ttl| ttl.attribute_name),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::template::fixture;

    use super::*;

    #[test]
    fn keys_indexes_stream_and_expiry_are_read() {
        let template = fixture::template();
        let events = template.table("Events").unwrap();
        assert_eq!(events.key, [("stream_id".into(), KeyType::Hash), ("version".into(), KeyType::Range)]);
        assert_eq!(events.stream.as_deref(), Some("NEW_AND_OLD_IMAGES"));
        let rows = template.table("Rows").unwrap();
        assert_eq!(rows.indexes[0].projection, Projection::Include(vec!["status".into()]));
        assert_eq!(rows.ttl.as_deref(), Some("expires_at"));
        assert_eq!(rows.stream, None);
    }

    #[test]
    fn a_local_secondary_index_is_refused_by_name() {
        let properties = serde_json::json!({"AttributeDefinitions": [], "KeySchema": [], "LocalSecondaryIndexes": []});
        let error = Table::read("T", "T", properties).unwrap_err().to_string();
        assert!(error.contains("LocalSecondaryIndexes"), "{error}");
    }
}
