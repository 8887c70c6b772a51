//! What a command brings along.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::commit::Metadata;
use super::idempotency::CommitKey;
use super::stream_id::Version;

/// How long a caller waits unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a command brings along, whatever it decides.
#[derive(Clone, Debug)]
pub struct Request {
    /// The identity of the commit.
    pub key: CommitKey,
    /// Who and why.
    pub metadata: Metadata,
    /// The versions that the caller accepts as the newest, if it matters to them.
    pub if_match: Option<Versions>,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

impl Request {
    /// A request for this commit: by nobody in particular, under any condition, with ten seconds' patience.
    pub fn new(key: CommitKey) -> Self {
        // Each run is told from the others by it, so that a repeat is not taken for an answer that was lost.
        let causation_id = Uuid::new_v4().to_string();
        let metadata = Metadata { causation_id, ..Metadata::default() };
        Self { key, metadata, if_match: None, deadline: Instant::now() + PATIENCE }
    }

    /// A request without an idempotency key: a repeat of it is another request.
    pub fn unkeyed() -> Self {
        Self::new(CommitKey::unkeyed())
    }

    /// The same, caused by this.
    #[must_use]
    pub fn with_metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    /// The same, on condition of the stream's version.
    #[must_use]
    pub fn if_match(self, versions: Versions) -> Self {
        Self { if_match: Some(versions), ..self }
    }

    /// The same, with a caller who waits until then.
    #[must_use]
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline, ..self }
    }
}

/// Versions that a caller accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Versions {
    /// One of these; of an empty list, none.
    OneOf(Vec<Version>),
    /// Any but these.
    NoneOf(Vec<Version>),
}

impl Versions {
    /// Whether this one is accepted.
    pub fn contains(&self, version: Version) -> bool {
        match self {
            Self::OneOf(versions) => versions.contains(&version),
            Self::NoneOf(versions) => !versions.contains(&version),
        }
    }
}
