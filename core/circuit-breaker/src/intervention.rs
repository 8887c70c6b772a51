//! What somebody orders by hand, and the record of it in the item.

use std::fmt;

use super::change::{Item, Malformed, Value};

/// What to do. Times are microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// No call passes, and none probes, until then or until the next order. Then probes decide.
    ForceOpen {
        /// The end, if it has one.
        until: Option<u64>,
    },
    /// Every call passes, until then or until the next order. Failures are counted and do not open it.
    ForceClosed {
        /// The end, if it has one.
        until: Option<u64>,
    },
    /// It is closed, nothing is counted, and it goes on by its own rules. All calls pass at once, without a ramp.
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

    pub(super) fn word(self) -> &'static str {
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

/// An order, and who is answerable for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub action: Action,
    /// Who orders it.
    pub by: String,
    /// Why.
    pub why: String,
}

/// An order that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedOverride {
    /// The order.
    pub order: Order,
    /// When, in microseconds since 1970.
    pub at: u64,
    /// The generation that it began.
    pub generation: u64,
}

/// The attributes of an intervention.
pub(super) const ACTION: &str = "manual";
pub(super) const GENERATION: &str = "manual_gen";
pub(super) const BY: &str = "manual_by";
pub(super) const WHY: &str = "manual_why";
pub(super) const AT: &str = "manual_at";
pub(super) const UNTIL: &str = "manual_until";

impl AppliedOverride {
    /// The last one that the item tells of.
    pub(super) fn read(item: &Item) -> Result<Option<Self>, Malformed> {
        let malformed = |name: &str| Malformed(name.to_owned());
        let number = |name: &str| match item.get(name) {
            Some(Value::Number(number)) => Ok(Some(*number)),
            None => Ok(None),
            Some(Value::Word(_)) => Err(malformed(name)),
        };
        let word = |name: &str| match item.get(name) {
            Some(Value::Word(word)) => Ok(Some(word.clone())),
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
        Ok(Some(Self { order: Order { action, by, why }, at, generation }))
    }
}
