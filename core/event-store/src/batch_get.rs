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

/// The items could not be read. The caller retries later.
#[derive(Debug, thiserror::Error)]
pub enum BatchGetError {
    /// DynamoDB rejected the request or does not respond; the SDK has retried already.
    #[error("the table {table} cannot be read")]
    Unavailable {
        /// The table.
        table: String,
        /// The reason.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// DynamoDB throttles the table: it left keys unprocessed in each of eight requests.
    #[error("the table {0} is throttled: it left keys unprocessed {ATTEMPTS} times")]
    Unprocessed(String),
}

/// The existing items of `keys`, in any order; only these `attributes` of them (a projection expression), if given.
/// DynamoDB rejects a key that is there twice.
///
/// One call for each 100 keys, which run concurrently. Keys that DynamoDB left unprocessed are requested again, after a wait.
///
/// # Errors
/// See [`BatchGetError`].
pub async fn batch_get(
    client: &Client,
    table: &str,
    keys: &[Item],
    consistency: Consistency,
    attributes: Option<&str>,
) -> Result<Vec<Item>, BatchGetError> {
    let unavailable = |source| BatchGetError::Unavailable { table: table.to_owned(), source };
    let calls = keys.chunks(MAX_KEYS).map(async |keys| {
        let (mut keys, mut items) = (keys.to_vec(), Vec::with_capacity(keys.len()));
        for attempt in 0..ATTEMPTS {
            if let Some(doublings) = attempt.checked_sub(1) {
                tokio::time::sleep(FIRST_WAIT.mul_f64(fastrand::f64()) * 2_u32.pow(doublings)).await;
            }
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(consistency == Consistency::Strong)
                .set_projection_expression(attributes.map(str::to_owned))
                .build()
                .map_err(|error| unavailable(error.into()))?;
            let output = client.batch_get_item().request_items(table, wanted).send().await;
            let output = output.map_err(|error| unavailable(error.into()))?;
            items.extend(output.responses.unwrap_or_default().into_values().flatten());
            let left = output.unprocessed_keys.and_then(|mut left| left.remove(table));
            keys = left.map(|left| left.keys).unwrap_or_default();
            if keys.is_empty() {
                return Ok(items);
            }
        }
        Err(BatchGetError::Unprocessed(table.to_owned()))
    });
    Ok(try_join_all(calls).await?.concat())
}
