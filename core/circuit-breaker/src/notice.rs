//! What a process is told of its circuit's transitions.

use std::fmt;

use super::circuit::{Circuit, State};
use super::intervention::AppliedOverride;

/// A circuit has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The breaker's name.
    pub breaker: String,
    /// The generation after it. Of two transitions that are told at the same time, the greater one is the later one.
    pub generation: u64,
    /// What it did with calls before; where others have changed it several times meanwhile, as this process last saw it.
    pub from: State,
    /// What it does with them now.
    pub to: State,
    /// Why.
    pub why: Why,
    /// Whose doing it was.
    pub origin: Origin,
}

/// Why a circuit has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The window held too many failures.
    Failures,
    /// A probe failed.
    ProbeFailed,
    /// Its time open was over, and the first probe goes.
    TimeOver,
    /// Enough probes succeeded.
    Recovered,
    /// Somebody ordered it.
    Ordered(AppliedOverride),
    /// This process missed what came before.
    Missed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures => f.write_str("too many calls failed"),
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::TimeOver => f.write_str("its time open is over"),
            Self::Recovered => f.write_str("enough probes succeeded"),
            Self::Ordered(intervention) => write!(f, "{} by hand", intervention.requested.action),
            Self::Missed => f.write_str("others have changed it meanwhile"),
        }
    }
}

/// Whose doing a transition was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This process made it, for all. No other process is told so of the same one.
    Here,
    /// This process made it for itself alone, while the table did not answer.
    Alone,
    /// Another process made it, or somebody deleted the item.
    Elsewhere,
}

impl Transition {
    pub(super) fn new(breaker: &str, from: &Circuit, to: &Circuit, origin: Origin) -> Self {
        let next = to.generation == from.generation.saturating_add(1);
        let why = match (to.state, to.began_by_hand()) {
            (State::HalfOpen, _) => Reason::OpenTimeElapsed,
            (_, Some(intervention)) => Reason::Override(intervention.clone()),
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
    use super::super::intervention::{Action, Order};
    use super::*;

    fn why(from: (u64, State), to: (u64, State), by_hand: Option<u64>) -> Why {
        let order = || Order { action: Action::Reset, by: String::new(), why: String::new() };
        let intervention = by_hand.map(|generation| AppliedOverride { order: order(), at: 0, generation });
        let circuit = |(generation, state)| Circuit { generation, state, ..Circuit::default() };
        let to = Circuit { intervention, ..circuit(to) };
        Transition::new("callee", &circuit(from), &to, Origin::ThisProcess).why
    }

    #[test]
    fn the_reason_follows_from_what_was_before_and_what_is_now() {
        use State::{Closed, HalfOpen, Open};
        assert_eq!(why((0, Closed), (1, Open), None), Reason::Failures);
        assert_eq!(why((1, Open), (1, HalfOpen), None), Reason::OpenTimeElapsed);
        assert_eq!(why((1, HalfOpen), (2, Open), None), Reason::ProbeFailed);
        assert_eq!(why((1, HalfOpen), (2, Closed), None), Reason::Recovered);
        assert!(matches!(why((1, HalfOpen), (2, Closed), Some(2)), Reason::Override(_)));
        assert_eq!(why((2, Open), (2, HalfOpen), Some(2)), Reason::OpenTimeElapsed, "after the end of what was forced open");
        assert_eq!(why((2, Closed), (3, Open), Some(2)), Reason::Failures, "the order was an earlier one");
        assert_eq!(why((1, Closed), (5, Open), None), Reason::Missed);
        assert_eq!(why((4, Open), (0, Closed), None), Reason::Missed, "somebody deleted the item");
        assert_eq!(why((1, Open), (6, Closed), None), Reason::Recovered, "nothing else closes it");
    }
}
