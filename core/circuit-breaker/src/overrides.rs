//! Manual overrides, and their record in the item.

use std::fmt;

use super::change::{Item, Malformed, Value};

/// What an override does. Times are microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// All calls are rejected, without probes, until the end or the next override. Then probes decide.
    ForceOpen {
        /// The end, if any.
        until: Option<u64>,
    },
    /// All calls are allowed until the end or the next override. Failures are counted but do not open it.
    ForceClosed {
        /// The end, if any.
        until: Option<u64>,
    },
    /// The breaker closes with empty counters and follows its own rules again. All calls are allowed at once, without a
    /// ramp.
    Reset,
}

impl Action {
    /// When it ends by itself.
    pub fn until(self) -> Option<u64> {
        match self {
            Self::ForceOpen { until } | Self::ForceClosed { until } => until,
            Self::Reset => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ForceOpen { .. } => "open",
            Self::ForceClosed { .. } => "closed",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForceOpen { .. } => "forced open",
            Self::ForceClosed { .. } => "forced closed",
            Self::Reset => "reset",
        })
    }
}

/// A requested override.
#[doc(alias = "manual_trip")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// What it does.
    pub action: Action,
    /// Who requests it.
    pub by: String,
    /// The reason.
    pub why: String,
}

/// An override that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedOverride {
    /// The request.
    pub requested: Override,
    /// When, in microseconds since the Unix epoch.
    pub at: u64,
    /// The generation that it started.
    pub generation: u64,
}

/// The attributes of an override.
pub(super) const ACTION: &str = "manual";
pub(super) const GENERATION: &str = "manual_gen";
pub(super) const BY: &str = "manual_by";
pub(super) const WHY: &str = "manual_why";
pub(super) const AT: &str = "manual_at";
pub(super) const UNTIL: &str = "manual_until";

impl AppliedOverride {
    /// The last override in the item.
    pub(super) fn read(item: &Item) -> Result<Option<Self>, Malformed> {
        let malformed = |name: &str| Malformed(name.to_owned());
        let number = |name: &str| match item.get(name) {
            Some(Value::Number(number)) => Ok(Some(*number)),
            None => Ok(None),
            Some(Value::Text(_)) => Err(malformed(name)),
        };
        let word = |name: &str| match item.get(name) {
            Some(Value::Text(word)) => Ok(Some(word.clone())),
            None => Ok(None),
            Some(Value::Number(_)) => Err(malformed(name)),
        };
        let Some(action) = word(ACTION)? else { return Ok(None) };
        let until = number(UNTIL)?;
        let action = match action.as_str() {
            "open" => Action::ForceOpen { until },
            "closed" => Action::ForceClosed { until },
            "reset" => Action::Reset,
            _ => return Err(malformed(ACTION)),
        };
        let (by, why) = (word(BY)?.unwrap_or_default(), word(WHY)?.unwrap_or_default());
        let (at, generation) = (number(AT)?.unwrap_or_default(), number(GENERATION)?.unwrap_or_default());
        Ok(Some(Self { requested: Override { action, by, why }, at, generation }))
    }
}
