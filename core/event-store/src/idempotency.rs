//! Idempotency keys, and the commit ids derived from them.
//!
//! A repeated request derives the same commit id, so it finds its own commit where it looks for conflicts. That needs
//! no table of keys and no extra call. The header follows draft-ietf-httpapi-idempotency-key-header.

use std::fmt;

use super::stream_id::StreamId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The namespace of all derived ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_51f4_60d3_4b0f_9a3c_0a54_6c27_8f11);

/// Identifies a request across all its repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Not a valid idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1-255 visible ASCII characters: once, in double quotes, or bare and without a comma")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// Parses a header value: a structured-field string in double quotes (RFC 9651) or a bare token, as most clients
    /// send. `"abc"` and `abc` are the same key.
    ///
    /// # Errors
    /// [`InvalidKey`]: the caller must correct the header.
    pub fn parse(header: &str) -> Result<Self, InvalidKey> {
        let header = header.trim_matches([' ', '\t']);
        let key = match header.strip_prefix('"') {
            Some(rest) => unescape(rest.strip_suffix('"').ok_or(InvalidKey)?)?,
            // Intermediaries join repeated headers with a comma.
            None if header.contains([' ', '"', '\\', ',']) => return Err(InvalidKey),
            None => header.to_owned(),
        };
        let valid = (1..=255).contains(&key.len()) && key.bytes().all(|b| (0x20..=0x7e).contains(&b));
        valid.then_some(Self(key)).ok_or(InvalidKey)
    }

    /// The key of an event by its own id, which may be any text.
    pub fn of_event(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id derived from this key and `parts` only.
    pub fn derive(&self, parts: &[&str]) -> Uuid {
        derived_id(&[parts, &[self.as_str()]].concat())
    }
}

/// An id derived from `parts` only: UUIDv5 over the length-prefixed texts, so that different lists never collide.
pub fn derived_id(parts: &[&str]) -> Uuid {
    let mut name = Vec::new();
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

/// The content of a structured-field string, whose only escapes are `\"` and `\\`.
fn unescape(quoted: &str) -> Result<String, InvalidKey> {
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().filter(|c| matches!(c, '"' | '\\')).ok_or(InvalidKey)?),
            '"' => return Err(InvalidKey),
            c => text.push(c),
        }
    }
    Ok(text)
}

/// The hash of a request: the first 128 bits of a SHA-256 over the command's kind and its parsed body.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestHash(pub(super) [u8; 16]);

impl RequestHash {
    /// The hash of a command. The body must serialize deterministically, so it must not contain hash maps.
    ///
    /// # Errors
    /// The body does not serialize.
    pub fn of(kind: &str, body: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut hash = Sha256::new();
        hash.update((kind.len() as u64).to_be_bytes());
        hash.update(kind);
        hash.update(serde_json::to_vec(body)?);
        let mut short = [0; 16];
        short.copy_from_slice(&hash.finalize()[..16]);
        Ok(Self(short))
    }
}

impl fmt::Debug for RequestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestHash({})", String::from(*self))
    }
}

impl From<RequestHash> for String {
    fn from(hash: RequestHash) -> String {
        Uuid::from_bytes(hash.0).simple().to_string()
    }
}

impl TryFrom<String> for RequestHash {
    type Error = uuid::Error;
    fn try_from(text: String) -> Result<Self, uuid::Error> {
        Uuid::try_parse(&text).map(|bits| Self(bits.into_bytes()))
    }
}

/// The identity of a request's commit.
#[doc(alias = "idempotency_token")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitKey {
    pub(super) id: Uuid,
    pub(super) request_hash: Option<RequestHash>,
}

impl CommitKey {
    /// The commit of a keyed request. `origin` names who chose the key, such as a user or a service, and separates the
    /// keys of different callers.
    pub fn keyed(stream: &StreamId, origin: &str, key: &IdempotencyKey, request_hash: RequestHash) -> Self {
        Self { id: key.derive(&[stream.as_str(), origin]), request_hash: Some(request_hash) }
    }

    /// The commit of a request without a key. Lost responses are resolved within one run; repeats of the request are
    /// new requests.
    pub fn unkeyed() -> Self {
        Self { id: Uuid::new_v4(), request_hash: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<String, InvalidKey> {
        IdempotencyKey::parse(text).map(|key| key.0)
    }

    #[test]
    fn quoted_and_bare_keys_are_equal() {
        assert_eq!(key("\"8e03978e\""), Ok("8e03978e".into()));
        assert_eq!(key("  8e03978e "), Ok("8e03978e".into()));
        assert_eq!(key(r#""a\"b\\c""#), Ok(r#"a"b\c"#.into()));
    }

    #[test]
    fn an_invalid_key_is_rejected() {
        for text in [
            "",
            "a b",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "\"a\"b\"",
            "\"a\\n\"",
            "\"a\\\"",
            "ä",
            "\u{7f}",
            "a\tb",
            &"k".repeat(256),
        ] {
            assert_eq!(key(text), Err(InvalidKey), "{text:?}");
        }
        assert!(key(&"k".repeat(255)).is_ok());
    }

    #[test]
    fn a_repeated_header_is_rejected() {
        for text in ["a,b", "a, b", "a,a", "\"a\",b", "a,\"b\"", "\"a\",\"b\"", "\"a\" , \"b\"", ",", "a,", ",a"] {
            assert_eq!(key(text), Err(InvalidKey), "{text}");
        }
        assert_eq!(key("\"a,b\""), Ok("a,b".into()), "a comma within quotes belongs to the key");
    }

    #[test]
    fn parts_are_separated() {
        let key = IdempotencyKey("k".into());
        assert_ne!(key.derive(&["ab", "c"]), key.derive(&["a", "bc"]));
        assert_eq!(key.derive(&["ab", "c"]), key.derive(&["ab", "c"]));
    }

    #[test]
    fn derived_ids_never_change() {
        let key = IdempotencyKey("k".into());
        assert_eq!(key.derive(&["s", "http|u"]).to_string(), "0ef0b458-f674-5e8e-bab0-b5ee3ab30ef9");
    }

    #[test]
    fn a_hash_depends_on_kind_and_body_and_round_trips() {
        let hash = |kind, body: &str| RequestHash::of(kind, &body).unwrap();
        assert_eq!(hash("pay", "x"), hash("pay", "x"));
        assert_ne!(hash("pay", "x"), hash("ship", "x"));
        assert_ne!(hash("pay", "x"), hash("pay", "y"));
        assert_eq!(RequestHash::try_from(String::from(hash("pay", "x"))), Ok(hash("pay", "x")));
    }
}
