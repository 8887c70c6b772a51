//! Errors of the table.

use std::error::Error;

/// The table could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It did not respond in time, or with an error.
    #[error("the rate limit table is unavailable: {0}")]
    Unavailable(String),
    /// The item was not written by this library.
    #[error("the rate limit item {key} is malformed: {why}")]
    Malformed {
        /// The item's key.
        key: String,
        /// What is malformed.
        why: String,
    },
    /// Every conditional update met a changed item.
    #[error("the rate limit item {0} changed during every attempt to update it")]
    Contended(String),
}

/// The error with its chain of sources.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
