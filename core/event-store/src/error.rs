//! What can go wrong, and what the caller does about it.

use std::error::Error;

use super::stream_id::{StreamId, Version};

/// The store could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB did not answer, or not with a result; the SDK has retried already. The caller tries again later.
    #[error("the event table does not answer")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The stream contradicts itself. Trying again does not help: raise an alarm.
    #[error(transparent)]
    Corrupt(#[from] CorruptStream),
    /// A commit of a newer program, or no commit at all. Trying again does not help before the next deployment.
    #[error(transparent)]
    Unreadable(#[from] CommitError),
}

impl StoreError {
    pub(super) fn unavailable(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }
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
    #[error("the event `{event_type}` at version {version} of stream {stream} cannot be read as one of `{aggregate}`")]
    Undecodable {
        /// The stream.
        stream: String,
        /// The event's version.
        version: Version,
        /// What the event is called.
        event_type: String,
        /// Whose events the store reads.
        aggregate: &'static str,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stream of another aggregate: the store was given another's table, or another's stream.
    #[error(
        "stream {stream}, by its snapshot in the commit at version {version}, is one of `{found}`; it was read as one of \
         `{expected}`"
    )]
    Foreign {
        /// The stream.
        stream: String,
        /// The commit's version.
        version: Version,
        /// Whose stream it is.
        found: String,
        /// Whose streams the store reads.
        expected: &'static str,
    },
}

impl CommitError {
    /// The version of what could not be read.
    pub fn version(&self) -> Version {
        match self {
            Self::Malformed { version, .. } | Self::Undecodable { version, .. } | Self::Foreign { version, .. } => {
                *version
            }
        }
    }
}

/// A stream that contradicts itself. Nothing is written to it, and a person has to look.
#[derive(Debug, thiserror::Error)]
#[error("stream {stream} is corrupt at version {version}: {why}")]
pub struct CorruptStream {
    /// The stream.
    pub stream: StreamId,
    /// Where.
    pub version: Version,
    /// What is wrong.
    pub why: String,
}

/// A command that was not run, or of which nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The rules say no. Decided on a strongly consistent read; nothing was stored.
    #[error("refused: {0}")]
    Rejected(R),
    /// The stream is not at a version that the caller accepts. Nothing was stored.
    #[error("the stream is at version {current}")]
    PreconditionFailed {
        /// Where it is.
        current: Version,
    },
    /// The idempotency key belongs to another request. Nothing was stored; the caller takes a new key.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Other writers always came first. Nothing was stored; the caller tries again later.
    #[error("other writers always came first")]
    Contended,
    /// It could not be found out whether the commit was stored. A repeat with the same idempotency key settles it.
    #[error("it is not known whether the commit was stored")]
    OutcomeUnknown(#[source] StoreError),
    /// The commit is larger than an item may be. Nothing was stored.
    #[error("the commit would take {bytes} bytes")]
    TooLarge {
        /// How large.
        bytes: usize,
    },
    /// The store could not do its work; nothing was stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An error with all that led to it.
pub(super) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
