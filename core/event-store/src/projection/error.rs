//! Why a row is not brought up to its events.

use std::error::Error;

use dynamodb_event_store::{StoreError, Version};

use super::patch::Misplaced;

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// A row could not be brought up to its events.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// Trying again does not help: this program cannot make a row of these events. A mended one can.
    #[error("the order cannot be projected from version {version} on: {reason}")]
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
    pub(super) fn unreadable(version: Version, source: impl Into<Cause>) -> Self {
        let reason = "an event cannot be read by this version of the service";
        Self::Unprojectable { version, reason, source: source.into() }
    }

    pub(super) fn corrupt(version: Version, source: impl Into<Cause>) -> Self {
        Self::Unprojectable { version, reason: "the events contradict each other", source: source.into() }
    }
}

impl From<Misplaced> for ProjectionError {
    fn from(misplaced: Misplaced) -> Self {
        Self::corrupt(misplaced.version, misplaced)
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
