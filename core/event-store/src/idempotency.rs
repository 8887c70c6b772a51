//! Idempotency keys, and the commit ids that follow from them.
//!
//! A key makes a commit's id, so a repeat of the request finds its own commit wherever it looks for a conflict: no
//! table of keys and no extra call. The header's form is draft-ietf-httpapi-idempotency-key-header.

use std::fmt;

use super::stream_id::StreamId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The namespace of every id derived here.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_51f4_60d3_4b0f_9a3c_0a54_6c27_8f11);

/// What names a request once for all its repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// A text that is no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1-255 visible ASCII characters: once, in double quotes, or bare and without a comma")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// Reads a header's value: a structured-field string in double quotes (RFC 9651), or a bare token as most clients
    /// send it. `"abc"` and `abc` are the same key.
    ///
    /// # Errors
    /// [`InvalidKey`]: the caller mends the header.
    pub fn parse(header: &str) -> Result<Self, InvalidKey> {
        let header = header.trim_matches([' ', '\t']);
        let key = match header.strip_prefix('"') {
            Some(rest) => unescape(rest.strip_suffix('"').ok_or(InvalidKey)?)?,
            // A header that came twice is joined with a comma by everything that it passes through.
            None if header.contains([' ', '"', '\\', ',']) => return Err(InvalidKey),
            None => header.to_owned(),
        };
        let valid = (1..=255).contains(&key.len()) && key.bytes().all(|b| (0x20..=0x7e).contains(&b));
        valid.then_some(Self(key)).ok_or(InvalidKey)
    }

    /// The key that an event carries in its own id, which may be any text: only clients' headers have a grammar.
    pub fn of_event(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id that follows from this key and `parts`, and from nothing else.
    pub fn derive(&self, parts: &[&str]) -> Uuid {
        derived_id(&[parts, &[self.as_str()]].concat())
    }
}

/// An id that follows from `parts`, and from nothing else: UUIDv5 over the length-prefixed texts, so that no two lists
/// of parts run together.
pub fn derived_id(parts: &[&str]) -> Uuid {
    let mut name = Vec::new();
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

/// The inside of a structured-field string: `\"` and `\\` are its only escapes.
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

/// The fingerprint of a request: the first 128 bits of a SHA-256 over the command's kind and its parsed body.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestHash(pub(super) [u8; 16]);

impl RequestHash {
    /// The fingerprint of a command of this kind with this parsed body, whose serialised form must not depend on
    /// chance: structs and lists do well, hash maps do not.
    ///
    /// # Errors
    /// The body does not serialise.
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

/// The identity of the commit that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitKey {
    pub(super) id: Uuid,
    pub(super) request_hash: Option<RequestHash>,
}

impl CommitKey {
    /// The commit of a keyed request. `origin` names who chose the key, such as a user or a service, and keeps apart the
    /// keys of different callers.
    pub fn keyed(stream: &StreamId, origin: &str, key: &IdempotencyKey, request_hash: RequestHash) -> Self {
        Self { id: key.derive(&[stream.as_str(), origin]), request_hash: Some(request_hash) }
    }

    /// The commit of a request without a key: safe against lost answers within one run, not against repeats of the
    /// client's.
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
    fn a_key_is_the_same_quoted_and_bare() {
        assert_eq!(key("\"8e03978e\""), Ok("8e03978e".into()));
        assert_eq!(key("  8e03978e "), Ok("8e03978e".into()));
        assert_eq!(key(r#""a\"b\\c""#), Ok(r#"a"b\c"#.into()));
    }

    #[test]
    fn what_is_no_key_is_refused() {
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
    fn keys_of_a_header_that_came_twice_are_no_key() {
        for text in ["a,b", "a, b", "a,a", "\"a\",b", "a,\"b\"", "\"a\",\"b\"", "\"a\" , \"b\"", ",", "a,", ",a"] {
            assert_eq!(key(text), Err(InvalidKey), "{text}");
        }
        assert_eq!(key("\"a,b\""), Ok("a,b".into()), "a comma within quotes belongs to the key");
    }

    #[test]
    fn parts_do_not_run_together() {
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
    fn a_hash_depends_on_kind_and_body_and_survives_its_text() {
        let hash = |kind, body: &str| RequestHash::of(kind, &body).unwrap();
        assert_eq!(hash("pay", "x"), hash("pay", "x"));
        assert_ne!(hash("pay", "x"), hash("ship", "x"));
        assert_ne!(hash("pay", "x"), hash("pay", "y"));
        assert_eq!(RequestHash::try_from(String::from(hash("pay", "x"))), Ok(hash("pay", "x")));
    }
}
