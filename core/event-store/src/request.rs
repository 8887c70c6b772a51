//! The parameters of a command besides its decision.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::commit::Metadata;
use super::idempotency::CommitKey;
use super::stream_id::Version;

/// The default timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The parameters of a command besides its decision.
#[derive(Clone, Debug)]
pub struct Request {
    /// The identity of the commit.
    pub key: CommitKey,
    /// Who caused it.
    pub metadata: Metadata,
    /// The accepted versions of the stream, if the caller requires any.
    #[doc(alias = "expected_version")]
    pub if_match: Option<Versions>,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

impl Request {
    /// A request for this commit, without metadata or condition, with a timeout of ten seconds.
    pub fn new(key: CommitKey) -> Self {
        // Unique per run, so that a repeated request is not taken for an attempt whose response was lost.
        let causation_id = Uuid::new_v4().to_string();
        let metadata = Metadata { causation_id, ..Metadata::default() };
        Self { key, metadata, if_match: None, deadline: Instant::now() + DEFAULT_TIMEOUT }
    }

    /// A request without an idempotency key: a repeat is a new request.
    pub fn unkeyed() -> Self {
        Self::new(CommitKey::unkeyed())
    }

    /// Sets the metadata.
    #[must_use]
    pub fn with_metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    /// Requires the stream's version.
    #[must_use]
    pub fn if_match(self, versions: Versions) -> Self {
        Self { if_match: Some(versions), ..self }
    }

    /// Sets the deadline.
    #[must_use]
    pub fn with_deadline(self, deadline: Instant) -> Self {
        Self { deadline, ..self }
    }
}

/// The versions that a caller accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Versions {
    /// One of these; if empty, none.
    OneOf(Vec<Version>),
    /// Any except these.
    NoneOf(Vec<Version>),
}

impl Versions {
    /// Whether the version is accepted.
    pub fn contains(&self, version: Version) -> bool {
        match self {
            Self::OneOf(versions) => versions.contains(&version),
            Self::NoneOf(versions) => !versions.contains(&version),
        }
    }
}
