//! Batch reads by key.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

type Item = HashMap<String, AttributeValue>;

/// The most keys per request (DynamoDB API reference, `BatchGetItem`).
pub(super) const MAX_KEYS: usize = 100;

/// The existing items of at most [`MAX_KEYS`] keys, in any order. With `strongly`, a consistent read of these
/// attributes.
pub(super) async fn batch_get(
    client: &Client,
    table: &str,
    mut keys: Vec<Item>,
    consistent_attributes: Option<&str>,
) -> Result<Vec<Item>, Box<dyn Error + Send + Sync>> {
    let mut items = Vec::with_capacity(keys.len());
    while !keys.is_empty() {
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(consistent_attributes.is_some())
            .set_projection_expression(consistent_attributes.map(str::to_owned))
            .build()?;
        let output = client.batch_get_item().request_items(table, wanted).send().await?;
        items.extend(output.responses.unwrap_or_default().into_values().flatten());
        let mut left = output.unprocessed_keys.unwrap_or_default();
        keys = left.remove(table).map(|left| left.keys).unwrap_or_default();
    }
    Ok(items)
}
