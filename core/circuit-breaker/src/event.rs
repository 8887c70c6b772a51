//! Transitions, as passed to the hook.

use std::fmt;

use super::circuit::{Circuit, State};
use super::overrides::AppliedOverride;

/// A transition of the circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The breaker's name.
    pub breaker: String,
    /// The generation after it. Of two transitions reported concurrently, the one with the greater generation is newer.
    pub generation: u64,
    /// The state before it; if this process missed transitions, the state it last knew.
    pub from: State,
    /// The state after it.
    pub to: State,
    /// The reason.
    pub why: Reason,
    /// Who made it.
    pub origin: Origin,
}

/// Why a circuit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The window held too many failures.
    Failures,
    /// A probe failed.
    ProbeFailed,
    /// Its open time elapsed, and the first probe started.
    OpenTimeElapsed,
    /// Enough probes succeeded.
    Recovered,
    /// An override was set.
    Override(AppliedOverride),
    /// Unknown: this process missed earlier transitions.
    Missed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures => f.write_str("too many calls failed"),
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::OpenTimeElapsed => f.write_str("the open time elapsed"),
            Self::Recovered => f.write_str("enough probes succeeded"),
            Self::Override(applied) => write!(f, "{} by hand", applied.requested.action),
            Self::Missed => f.write_str("changed by other processes"),
        }
    }
}

/// Who made a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This process, for all. It is reported so in no other process.
    ThisProcess,
    /// This process, in memory only, because the table was unavailable.
    LocalOnly,
    /// Another process, or the item was deleted.
    OtherProcess,
}

impl Transition {
    pub(super) fn new(breaker: &str, from: &Circuit, to: &Circuit, origin: Origin) -> Self {
        let next = to.generation == from.generation.saturating_add(1);
        let why = match (to.state, to.generation_override()) {
            (State::HalfOpen, _) => Reason::OpenTimeElapsed,
            (_, Some(applied)) => Reason::Override(applied.clone()),
            (State::Open, None) if next && from.state == State::Closed => Reason::Failures,
            (State::Open, None) if next => Reason::ProbeFailed,
            (State::Closed, None) if to.generation > from.generation => Reason::Recovered,
            _ => Reason::Missed,
        };
        Self { breaker: breaker.to_owned(), generation: to.generation, from: from.state, to: to.state, why, origin }
    }
}

#[cfg(test)]
mod tests {
    use super::super::overrides::{Action, Override};
    use super::*;

    fn why(from: (u64, State), to: (u64, State), by_hand: Option<u64>) -> Reason {
        let requested = || Override { action: Action::Reset, by: String::new(), why: String::new() };
        let last_override = by_hand.map(|generation| AppliedOverride { requested: requested(), at: 0, generation });
        let circuit = |(generation, state)| Circuit { generation, state, ..Circuit::default() };
        let to = Circuit { last_override, ..circuit(to) };
        Transition::new("callee", &circuit(from), &to, Origin::ThisProcess).why
    }

    #[test]
    fn the_reason_follows_from_the_circuits_before_and_after() {
        use State::{Closed, HalfOpen, Open};
        assert_eq!(why((0, Closed), (1, Open), None), Reason::Failures);
        assert_eq!(why((1, Open), (1, HalfOpen), None), Reason::OpenTimeElapsed);
        assert_eq!(why((1, HalfOpen), (2, Open), None), Reason::ProbeFailed);
        assert_eq!(why((1, HalfOpen), (2, Closed), None), Reason::Recovered);
        assert!(matches!(why((1, HalfOpen), (2, Closed), Some(2)), Reason::Override(_)));
        assert_eq!(why((2, Open), (2, HalfOpen), Some(2)), Reason::OpenTimeElapsed, "after the end of an override");
        assert_eq!(why((2, Closed), (3, Open), Some(2)), Reason::Failures, "the override was an earlier one");
        assert_eq!(why((1, Closed), (5, Open), None), Reason::Missed);
        assert_eq!(why((4, Open), (0, Closed), None), Reason::Missed, "the item was deleted");
        assert_eq!(why((1, Open), (6, Closed), None), Reason::Recovered, "nothing else closes it");
    }
}
