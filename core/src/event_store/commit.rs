//! A commit, and the one item that it is.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_dynamo::Item;
use uuid::Uuid;

use super::aggregate::{Aggregate, StoredEvent};
use super::idempotency::RequestHash;

/// The place of an event in its stream. The first is 1; 0 stands for "before the first".
pub type Version = u64;

/// The name of a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(String);

impl StreamId {
    /// The stream of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who caused a commit, and what it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The user or the producer that asked.
    pub actor: String,
    /// Shared by all that follows from one request from outside.
    pub correlation_id: String,
    /// The request or event that led to this commit directly: unique for each run, so it tells a repeat from an attempt
    /// whose answer was lost.
    pub causation_id: String,
    /// The request's fingerprint; there if, and only if, the request carried an idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_hash: Option<RequestHash>,
}

/// Events that were, or are to be, stored together.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit<E> {
    /// The stream.
    pub stream: StreamId,
    /// The version of the first event.
    pub first: Version,
    /// The events, at least one.
    pub events: Vec<E>,
    /// The name of this commit: the same for every attempt to store it.
    pub id: Uuid,
    /// When; never earlier than the commit before.
    pub recorded_at: DateTime<Utc>,
    /// Who and why.
    pub metadata: Metadata,
}

/// An item that is not a commit which this program can read.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The item lacks the attributes of a commit.
    #[error("the item of stream {stream} at version {version} is not a commit")]
    Malformed {
        /// The stream, `?` if the item does not say.
        stream: String,
        /// The item's version, 0 if it does not say.
        version: Version,
        /// What is wrong.
        #[source]
        source: serde_dynamo::Error,
    },
    /// An event of an unknown type or a newer schema: deploy the readers first.
    #[error("the event at version {version} of stream {stream} cannot be read")]
    Undecodable {
        /// The stream.
        stream: String,
        /// The event's version.
        version: Version,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CommitError {
    /// The version of what could not be read.
    pub fn version(&self) -> Version {
        match self {
            Self::Malformed { version, .. } | Self::Undecodable { version, .. } => *version,
        }
    }
}

/// The attributes of a commit item, less the snapshot, before its events are read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredCommit {
    pub stream_id: StreamId,
    pub version: Version,
    pub events: Vec<StoredEvent>,
    pub commit_id: Uuid,
    pub recorded_at: DateTime<Utc>,
    pub metadata: Metadata,
}

impl StoredCommit {
    /// # Errors
    /// [`CommitError::Malformed`].
    pub fn from_item(item: Item) -> Result<Self, CommitError> {
        let (stream, version) = place_of(&item);
        let commit = serde_dynamo::from_item(item).and_then(|commit: Self| {
            let last = commit.version.checked_add(commit.events.len() as Version);
            if commit.version > 0 && !commit.events.is_empty() && last.is_some() {
                return Ok(commit);
            }
            Err(serde::de::Error::custom("a commit holds one event at least, and versions count from 1"))
        });
        commit.map_err(|source| CommitError::Malformed { stream, version, source })
    }

    /// The version of the last event.
    pub fn last(&self) -> Version {
        self.version + (self.events.len() as Version - 1)
    }

    /// Reads the events.
    ///
    /// # Errors
    /// [`CommitError::Undecodable`].
    pub fn decode<A: Aggregate>(self) -> Result<Commit<A::Event>, CommitError> {
        let decode = |(version, stored)| {
            A::decode(stored).map_err(|source| CommitError::Undecodable {
                stream: self.stream_id.0.clone(),
                version,
                source: Box::new(source),
            })
        };
        Ok(Commit {
            first: self.version,
            events: (self.version..).zip(self.events).map(decode).collect::<Result<_, _>>()?,
            id: self.commit_id,
            recorded_at: self.recorded_at,
            metadata: self.metadata,
            stream: self.stream_id,
        })
    }
}

impl<E> Commit<E> {
    /// The version of the last event.
    pub fn last(&self) -> Version {
        self.first + (self.events.len() as Version - 1)
    }

    /// The events with their versions.
    pub fn versioned(&self) -> impl Iterator<Item = (Version, &E)> {
        (self.first..).zip(&self.events)
    }

    /// Reads the commit in an item of the event table or of its stream.
    ///
    /// # Errors
    /// See [`CommitError`]; both kinds last until the program or the item changes.
    pub fn from_item<A: Aggregate<Event = E>>(item: Item) -> Result<Self, CommitError> {
        StoredCommit::from_item(item)?.decode::<A>()
    }

    /// The commit's item, without a snapshot.
    pub(super) fn to_item<A: Aggregate<Event = E>>(&self) -> Result<Item, serde_dynamo::Error> {
        serde_dynamo::to_item(StoredCommit {
            stream_id: self.stream.clone(),
            version: self.first,
            events: self.events.iter().map(A::encode).collect(),
            commit_id: self.id,
            recorded_at: self.recorded_at,
            metadata: self.metadata.clone(),
        })
    }
}

/// Stream and version of an item, for an error's sake.
fn place_of(item: &Item) -> (String, Version) {
    let text = |name: &str| match item.get(name) {
        Some(serde_dynamo::AttributeValue::S(text) | serde_dynamo::AttributeValue::N(text)) => Some(text.clone()),
        _ => None,
    };
    (text("stream_id").unwrap_or_else(|| "?".into()), text("version").and_then(|v| v.parse().ok()).unwrap_or(0))
}
