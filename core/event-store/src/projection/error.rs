//! Errors of projections.

use std::error::Error;

use crate::error::StoreError;
use crate::stream_id::Version;

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// A row could not be brought up to its events.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// These events cannot be projected by this program. Do not retry before the next deployment.
    #[error("the stream cannot be projected from version {version}: {reason}")]
    Unprojectable {
        /// The event that prevents it.
        version: Version,
        /// The reason, as stored in the row.
        reason: &'static str,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// A transient failure. Retry later.
    #[error("the row is temporarily unavailable for writing")]
    Unavailable(#[source] Cause),
}

impl ProjectionError {
    pub(super) fn unprojectable(version: Version, reason: &'static str, source: impl Into<Cause>) -> Self {
        Self::Unprojectable { version, reason, source: source.into() }
    }

    pub(super) fn unreadable(version: Version, source: impl Into<Cause>) -> Self {
        Self::unprojectable(version, "an event cannot be read by this version of the service", source)
    }

    pub(super) fn corrupt(version: Version, source: impl Into<Cause>) -> Self {
        Self::unprojectable(version, "the events contradict each other", source)
    }

    pub(super) fn unavailable(source: impl Into<Cause>) -> Self {
        Self::Unavailable(source.into())
    }

    /// Every attempt met a concurrent change.
    pub(super) fn contended() -> Self {
        Self::unavailable("the row changed during every attempt to write it")
    }
}

impl From<StoreError> for ProjectionError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) => Self::Unavailable(error.into()),
            StoreError::Unreadable(unreadable) => Self::unreadable(unreadable.version(), error),
            StoreError::Corrupt(corrupt) => Self::corrupt(corrupt.version, error),
        }
    }
}
