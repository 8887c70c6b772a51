//! Epochs of a store that was restored to an earlier point.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of the history that commits are recorded in.
///
/// After a restore to an earlier point, the lost versions are assigned to other events. The epoch, stored with every
/// commit, distinguishes the new events from the lost ones. A store that was never restored has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[doc(alias = "timeline")]
pub struct Epoch(String);

/// Not a valid epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an epoch must be 1-32 of a-z, 0-9 and -")]
pub struct InvalidEpoch;

impl Epoch {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Epoch {
    type Error = InvalidEpoch;
    fn try_from(text: String) -> Result<Self, InvalidEpoch> {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        ((1..=32).contains(&text.len()) && text.bytes().all(valid)).then_some(Self(text)).ok_or(InvalidEpoch)
    }
}

impl FromStr for Epoch {
    type Err = InvalidEpoch;
    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        text.to_owned().try_into()
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_valid_suffix_of_a_table_name() {
        for valid in ["2", "2026-11-28", "a", &"x".repeat(32)] {
            let epoch: Epoch = valid.parse().unwrap();
            assert_eq!((epoch.to_string().as_str(), epoch.as_str()), (valid, valid));
        }
        for invalid in ["", "A", "a b", "a_b", "é", &"x".repeat(33)] {
            assert_eq!(invalid.parse::<Epoch>(), Err(InvalidEpoch), "{invalid}");
        }
    }
}
