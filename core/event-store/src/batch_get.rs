//! Reading many items by their keys.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

type Item = HashMap<String, AttributeValue>;

/// The most items that are asked for at once (DynamoDB API reference, `BatchGetItem`).
pub(super) const MAX_KEYS: usize = 100;

/// The items of at most [`MAX_KEYS`] keys that there are, in any order; or these of their attributes, read strongly.
pub(super) async fn batch_get(
    client: &Client,
    table: &str,
    mut keys: Vec<Item>,
    strongly: Option<&str>,
) -> Result<Vec<Item>, Box<dyn Error + Send + Sync>> {
    let mut items = Vec::with_capacity(keys.len());
    while !keys.is_empty() {
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(strongly.is_some())
            .set_projection_expression(strongly.map(str::to_owned))
            .build()?;
        let answer = client.batch_get_item().request_items(table, wanted).send().await?;
        items.extend(answer.responses.unwrap_or_default().into_values().flatten());
        let mut left = answer.unprocessed_keys.unwrap_or_default();
        keys = left.remove(table).map(|left| left.keys).unwrap_or_default();
    }
    Ok(items)
}
