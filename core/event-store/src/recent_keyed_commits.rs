//! The newest keyed commits of a stream, from which repeated requests are answered.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteArray;
use uuid::Uuid;

use super::idempotency::RequestHash;
use super::stream_id::Version;

/// How many keyed commits are retained per stream. A repeat of an older one is a new request.
const CAPACITY: usize = 32;

/// The newest keyed commits, oldest first. They are part of every snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RecentKeyedCommits<O>(VecDeque<KeyedCommit<O>>);

/// The retained part of a keyed commit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyedCommit<O> {
    pub id: Uuid,
    /// The version of its last event.
    pub version: Version,
    pub request_hash: RequestHash,
    pub outcome: O,
}

impl<O> Default for RecentKeyedCommits<O> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<O> RecentKeyedCommits<O> {
    pub fn push(&mut self, commit: KeyedCommit<O>) {
        if self.0.len() == CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(commit);
    }

    pub fn find(&self, id: Uuid) -> Option<&KeyedCommit<O>> {
        self.0.iter().rev().find(|commit| commit.id == id)
    }
}

/// The stored form: a list of `[id, version, request hash, outcome]`, about 45 bytes each.
type Compact<O> = (ByteArray<16>, Version, ByteArray<16>, O);

impl<O: Serialize> Serialize for RecentKeyedCommits<O> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|commit| -> Compact<&O> {
            let (id, hash) = (ByteArray::new(commit.id.into_bytes()), ByteArray::new(commit.request_hash.0));
            (id, commit.version, hash, &commit.outcome)
        }))
    }
}

impl<'de, O: DeserializeOwned> Deserialize<'de> for RecentKeyedCommits<O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Vec::<Compact<O>>::deserialize(deserializer)?;
        let mut recent = Self::default();
        for (id, version, hash, outcome) in stored {
            let (id, request_hash) = (Uuid::from_bytes(id.into_array()), RequestHash(hash.into_array()));
            recent.push(KeyedCommit { id, version, request_hash, outcome });
        }
        Ok(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(n: u64) -> KeyedCommit<String> {
        let id = Uuid::from_u128(n.into());
        KeyedCommit { id, version: n, request_hash: RequestHash(id.into_bytes()), outcome: format!("outcome {n}") }
    }

    #[test]
    fn the_newest_32_are_retained() {
        let mut recent = RecentKeyedCommits::default();
        (1..=40).for_each(|n| recent.push(keyed(n)));
        assert_eq!(recent.find(Uuid::from_u128(8)), None);
        assert_eq!(recent.find(Uuid::from_u128(9)), Some(&keyed(9)));
        assert_eq!(recent.find(Uuid::from_u128(40)), Some(&keyed(40)));
    }

    #[test]
    fn the_stored_form_round_trips() {
        let mut recent = RecentKeyedCommits::default();
        (1..=40).for_each(|n| recent.push(keyed(n)));
        let stored: serde_dynamo::AttributeValue = serde_dynamo::to_attribute_value(&recent).unwrap();
        assert_eq!(serde_dynamo::from_attribute_value::<_, RecentKeyedCommits<String>>(stored).unwrap(), recent);
    }
}
