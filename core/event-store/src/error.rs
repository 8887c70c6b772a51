//! The store's errors, and how to handle them.

use std::error::Error;

use super::stream_id::{StreamId, Version};

/// The store could not serve the request.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB did not respond or responded with an error, after the SDK's retries. Retry later.
    #[error("the event table is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The stream contradicts itself. Do not retry; raise an alarm.
    #[error(transparent)]
    Corrupt(#[from] CorruptStream),
    /// A commit of a newer program, or not a commit. Do not retry before the next deployment.
    #[error(transparent)]
    Unreadable(#[from] CommitError),
}

impl StoreError {
    pub(super) fn unavailable(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// An item that this program cannot read as a commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The item lacks the attributes of a commit.
    #[error("the item of stream {stream} at version {version} is not a commit")]
    Malformed {
        /// The stream, `?` if the item does not say.
        stream: String,
        /// The item's version, 0 if it does not say.
        version: Version,
        /// The cause.
        #[source]
        source: serde_dynamo::Error,
    },
    /// An unknown event type or a newer schema: deploy readers before writers.
    #[error(
        "the event `{event_type}` at version {version} of stream {stream} cannot be decoded as an event of `{aggregate}`"
    )]
    Undecodable {
        /// The stream.
        stream: String,
        /// The event's version.
        version: Version,
        /// The event type.
        event_type: String,
        /// The store's aggregate.
        aggregate: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stream of another aggregate: the store was given a wrong table or stream.
    #[error(
        "stream {stream} belongs to the aggregate `{found}` by its snapshot at version {version}, but was read as `{expected}`"
    )]
    Foreign {
        /// The stream.
        stream: String,
        /// The commit's version.
        version: Version,
        /// The stream's aggregate.
        found: String,
        /// The store's aggregate.
        expected: &'static str,
    },
}

impl CommitError {
    /// The version that could not be read.
    pub fn version(&self) -> Version {
        match self {
            Self::Malformed { version, .. } | Self::Undecodable { version, .. } | Self::Foreign { version, .. } => {
                *version
            }
        }
    }
}

/// A stream that contradicts itself. Nothing is written to it; it needs manual inspection.
#[derive(Debug, thiserror::Error)]
#[error("stream {stream} is corrupt at version {version}: {why}")]
pub struct CorruptStream {
    /// The stream.
    pub stream: StreamId,
    /// The version.
    pub version: Version,
    /// The contradiction.
    pub why: String,
}

/// A command that was not run, or whose outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The aggregate's rules reject the command. Evaluated on a consistent read; nothing was stored.
    #[error("rejected: {0}")]
    Rejected(R),
    /// The stream is not at an accepted version. Nothing was stored.
    #[error("the stream is at version {current}")]
    PreconditionFailed {
        /// The current version.
        current: Version,
    },
    /// The idempotency key was used for another request. Nothing was stored; use a new key.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Too many concurrent writes. Nothing was stored; retry later.
    #[error("too many concurrent writes to the stream")]
    Contended,
    /// It is unknown whether the commit was stored. Repeating the request with the same idempotency key resolves it.
    #[error("it is unknown whether the commit was stored")]
    OutcomeUnknown(#[source] StoreError),
    /// The commit exceeds the maximum item size. Nothing was stored.
    #[error("the commit has {bytes} bytes, more than a DynamoDB item can hold")]
    TooLarge {
        /// The size.
        bytes: usize,
    },
    /// The store could not serve the request; nothing was stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The error with its chain of sources.
pub(super) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
