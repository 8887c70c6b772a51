//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a retried command runs once.

use dynamodb_event_store::{CommitKey, IdempotencyKey, RequestHash, StreamId};
use orders_core::domain::{Decide, UserId};
use serde::Serialize;

use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::Request;

/// The request's key, if it has one.
///
/// # Errors
/// 400 when the header is malformed.
pub fn key(request: &Request) -> Result<Option<IdempotencyKey>, Problem> {
    let header = request.header("idempotency-key");
    header
        .map(IdempotencyKey::parse)
        .transpose()
        .map_err(|error| Problem::invalid_field("Idempotency-Key", error.to_string()))
}

/// The identity of a command's commit. Keys of different callers are independent.
///
/// # Errors
/// 500 if the command cannot be serialized.
pub fn commit_key<C: Decide + Serialize>(
    key: Option<&IdempotencyKey>,
    stream: &StreamId,
    caller: &Caller,
    command: &C,
) -> Result<CommitKey, Problem> {
    let Some(key) = key else { return Ok(CommitKey::unkeyed()) };
    let hash = RequestHash::of(C::NAME, command).map_err(Problem::internal)?;
    Ok(CommitKey::keyed(stream, &origin(caller.user()), key, hash))
}

fn origin(user: &UserId) -> String {
    format!("http|{user}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn parsed(header: &str) -> Result<Option<String>, u16> {
        let request = testing::request(json!({"headers": {"Idempotency-Key": header}}));
        let key = key(&request).map_err(|problem| problem.status())?;
        Ok(key.map(|key| key.as_str().to_owned()))
    }

    #[test]
    fn a_key_is_read_quoted_and_bare() {
        assert_eq!(parsed("\"pay-1\""), Ok(Some("pay-1".into())));
        assert_eq!(parsed("pay-1"), Ok(Some("pay-1".into())));
        assert!(key(&testing::request(json!({}))).unwrap().is_none());
    }

    #[test]
    fn a_malformed_key_is_rejected() {
        for header in ["", " ", "\"", "\"\"", "a b", "ä", &"x".repeat(256)] {
            assert_eq!(parsed(header), Err(400), "{header:?}");
        }
    }
}
