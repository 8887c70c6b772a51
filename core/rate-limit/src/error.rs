//! What can go wrong with the table.

use std::error::Error;

/// The table was of no help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It did not answer in time, or with an error.
    #[error("the rate limit table did not answer: {0}")]
    Unavailable(String),
    /// The item is not one of ours.
    #[error("the rate limit item {key} cannot be read: {why}")]
    Malformed {
        /// The item's key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The item changed under every update.
    #[error("the rate limit item {0} changed too often")]
    Contended(String),
}

/// An error with all that led to it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
