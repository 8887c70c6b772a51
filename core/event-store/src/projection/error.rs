//! Why a row is not brought up to its events.

use std::error::Error;

use crate::error::StoreError;
use crate::stream_id::Version;

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// A row could not be brought up to its events.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// Trying again does not help: this program cannot make a row of these events. A mended one can.
    #[error("the stream cannot be projected from version {version} on: {reason}")]
    Unprojectable {
        /// The event that is in the way.
        version: Version,
        /// Why, in words that may be kept in the row.
        reason: &'static str,
        /// Why, in full.
        #[source]
        source: Cause,
    },
    /// Trying again later may help.
    #[error("the row could not be written for now")]
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

    /// Others were faster, every time.
    pub(super) fn contended() -> Self {
        Self::unavailable("others wrote the row between all attempts")
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
