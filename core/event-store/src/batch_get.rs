//! Batch reads by key.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::future::try_join_all;

use super::loaded::Consistency;

type Item = HashMap<String, AttributeValue>;

/// The most keys per request (DynamoDB API reference, `BatchGetItem`).
pub(super) const MAX_KEYS: usize = 100;
/// How often the keys that DynamoDB left unprocessed are requested.
const ATTEMPTS: u32 = 8;
/// The longest wait before the second request. It doubles with each further request.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// DynamoDB throttles the table.
#[derive(Debug, thiserror::Error)]
#[error("keys of the table {0} were left unprocessed {ATTEMPTS} times: its reads are throttled")]
struct Unprocessed(String);

/// The existing items of `keys`, in any order; only these `attributes` of them (a projection expression), if given.
/// DynamoDB rejects a key that is there twice.
///
/// One call for each 100 keys, which run concurrently. Keys that DynamoDB left unprocessed are requested again, after a wait.
///
/// # Errors
/// The table cannot be read, or is still throttled after eight requests. The caller retries later.
pub async fn batch_get(
    client: &Client,
    table: &str,
    keys: &[Item],
    consistency: Consistency,
    attributes: Option<&str>,
) -> Result<Vec<Item>, Box<dyn Error + Send + Sync>> {
    let calls = keys.chunks(MAX_KEYS).map(|keys| chunk(client, table, keys, consistency, attributes));
    Ok(try_join_all(calls).await?.concat())
}

async fn chunk(
    client: &Client,
    table: &str,
    keys: &[Item],
    consistency: Consistency,
    attributes: Option<&str>,
) -> Result<Vec<Item>, Box<dyn Error + Send + Sync>> {
    let (mut keys, mut items) = (keys.to_vec(), Vec::with_capacity(keys.len()));
    for attempt in 0..ATTEMPTS {
        if let Some(doublings) = attempt.checked_sub(1) {
            tokio::time::sleep(FIRST_WAIT.mul_f64(fastrand::f64()) * 2_u32.pow(doublings)).await;
        }
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(consistency == Consistency::Strong)
            .set_projection_expression(attributes.map(str::to_owned))
            .build()?;
        let output = client.batch_get_item().request_items(table, wanted).send().await?;
        items.extend(output.responses.unwrap_or_default().into_values().flatten());
        keys =
            output.unprocessed_keys.and_then(|mut left| left.remove(table)).map(|left| left.keys).unwrap_or_default();
        if keys.is_empty() {
            return Ok(items);
        }
    }
    Err(Unprocessed(table.to_owned()).into())
}
