//! The state in a breaker's item, and whether a call is allowed. Pure: time and randomness are arguments.

use std::time::Duration;
use std::{collections::BTreeMap, fmt};

use super::change::{Change, Item, Malformed, Value};
use super::counters::{Counts, Place, whole};
use super::overrides::{Action, AppliedOverride};
use super::settings::Settings;

/// The largest tolerated clock skew. A time further ahead than the settings and this allow is invalid and counts as
/// past.
pub(super) const CLOCK_TOLERANCE: u64 = 60_000_000;
/// The attribute with the id of the process that made the newest transition.
pub(super) const MAKER: &str = "maker";

/// A circuit as its item describes it, closed without an item. Times are microseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    /// Grows by one whenever the circuit opens or closes. Results of an older generation are ignored.
    #[doc(alias = "epoch")]
    pub generation: u64,
    /// How it handles calls.
    pub state: State,
    /// When it last opened or closed; 0 if never.
    pub since: u64,
    /// When the first probe is allowed, while it is open.
    pub open_until: u64,
    /// How often it has opened in a row.
    pub trips: u64,
    /// How many probes have succeeded, while it is half-open.
    pub probe_successes: u64,
    /// The last override; [`Circuit::active_override`] says whether it is in force.
    pub last_override: Option<AppliedOverride>,
    /// The id of the process that made the newest transition; 0 if none did.
    pub(super) maker: u64,
    pub(super) slots: BTreeMap<u64, u64>,
    pub(super) parts: BTreeMap<Place, Counts>,
}

/// How a circuit handles calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Calls are allowed.
    #[default]
    Closed,
    /// Calls are rejected.
    Open,
    /// A few calls are allowed as probes.
    HalfOpen,
}

impl State {
    /// Its text in the item.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::HalfOpen { "half-open" } else { self.as_str() })
    }
}

/// The permission to make one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub(super) generation: u64,
    pub(super) probe: Option<Lease>,
    /// Whether the container was without its table, so that the outcome only counts locally.
    pub(super) local_only: bool,
}

impl Permit {
    /// The generation that allowed the call.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the call is a probe.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// A probe's slot, held by the call whose token is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub slot: u64,
    /// The end of the lease, with random low bits: lease and fencing token in one.
    #[doc(alias = "fencing_token")]
    pub token: u64,
}

/// What to do with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Admit(Permit),
    /// Allowed as a probe, if this change is applied.
    Probe(Permit, Change),
    Reject(Rejected),
}

/// Why a call was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The breaker is open.
    #[error("the circuit is open")]
    Open {
        /// The remaining time.
        retry_after: Duration,
    },
    /// The breaker is held open by an override.
    #[error("the circuit is forced open")]
    ForcedOpen {
        /// The remaining time, if the override has an end.
        retry_after: Option<Duration>,
    },
    /// The breaker is half-open, and all probe slots are taken.
    #[error("the circuit is half-open and all probe slots are taken")]
    Probing,
    /// The breaker has just closed and allows a growing share of the calls.
    #[error("the circuit has just closed and allows only a share of the calls")]
    Ramping,
    /// The table did not respond to the request for a probe slot.
    #[error("the circuit breaker table did not respond to the request for a probe slot")]
    TableUnavailable,
}

impl Circuit {
    /// Parses an item. Unknown attributes are ignored.
    ///
    /// # Errors
    /// [`Malformed`]: the item was edited by hand. Correct or delete it.
    pub fn read(item: &Item) -> Result<Self, Malformed> {
        let mut circuit = Self { last_override: AppliedOverride::read(item)?, ..Self::default() };
        for (name, value) in item {
            let number = || match value {
                Value::Number(number) => Ok(*number),
                Value::Text(_) => Err(Malformed(name.clone())),
            };
            match (name.as_str(), value) {
                ("st", Value::Text(word)) => {
                    let states = [State::Closed, State::Open, State::HalfOpen];
                    let state = states.into_iter().find(|state| state.as_str() == word);
                    circuit.state = state.ok_or_else(|| Malformed(name.clone()))?;
                }
                ("st", _) => return Err(Malformed(name.clone())),
                ("gen", _) => circuit.generation = number()?,
                ("since", _) => circuit.since = number()?,
                ("open_until", _) => circuit.open_until = number()?,
                ("trips", _) => circuit.trips = number()?,
                ("wins", _) => circuit.probe_successes = number()?,
                (MAKER, _) => circuit.maker = number()?,
                (name, _) => {
                    let (letter, rest) = name.split_at_checked(1).unwrap_or_default();
                    match (letter, whole(rest), Place::read(rest)) {
                        ("p", Some(slot), _) => _ = circuit.slots.insert(slot, number()?),
                        ("f", _, Some(place)) => circuit.parts.entry(place).or_default().failures = number()?,
                        ("k", _, Some(place)) => circuit.parts.entry(place).or_default().successes = number()?,
                        _ => {}
                    }
                }
            }
        }
        Ok(circuit)
    }

    /// Whether generation and state are the same.
    pub(super) fn same_state(&self, other: &Self) -> bool {
        (self.generation, self.state) == (other.generation, other.state)
    }

    /// Whether the next call is allowed. `draw` is a random number.
    pub(super) fn admit(&self, settings: &Settings, now: u64, draw: u64) -> Step {
        let held = self.active_override(now).map(|held| held.requested.action);
        if let Some(Action::ForceOpen { until }) = held {
            let retry_after = until.map(|until| Duration::from_micros(until - now));
            return Step::Reject(Rejected::ForcedOpen { retry_after });
        }
        match self.state {
            State::Closed if self.rejected_by_ramp(settings, now, draw) => Step::Reject(Rejected::Ramping),
            State::Closed => Step::Admit(Permit { generation: self.generation, probe: None, local_only: false }),
            State::Open if !self.is_probe_due(settings, now) => {
                let retry_after = Duration::from_micros(self.open_until - now);
                Step::Reject(Rejected::Open { retry_after })
            }
            State::Open | State::HalfOpen => {
                let slots = (0..settings.probes).map(|slot| (slot + draw) % settings.probes);
                match { slots }.find(|slot| self.is_free(settings, *slot, now)) {
                    Some(slot) => {
                        let lease = Lease { slot, token: token(settings, now, draw) };
                        let permit = Permit { generation: self.generation, probe: Some(lease), local_only: false };
                        Step::Probe(permit, self.take_slot(settings, lease, now))
                    }
                    None => Step::Reject(Rejected::Probing),
                }
            }
        }
    }

    /// The end of the time in which no call is allowed unless an override is set.
    pub(super) fn no_calls_until(&self, settings: &Settings, now: u64) -> Option<u64> {
        let waits =
            self.state == State::Open && self.generation_override().is_none() && !self.is_probe_due(settings, now);
        waits.then_some(self.open_until)
    }

    fn is_probe_due(&self, settings: &Settings, now: u64) -> bool {
        self.open_until <= now || self.open_until > latest_valid(settings.open_max, now)
    }

    fn is_free(&self, settings: &Settings, slot: u64, now: u64) -> bool {
        let taken = |token| token >= now && token <= latest_valid(settings.lease, now);
        !self.slots.get(&slot).copied().is_some_and(taken)
    }

    /// Whether this call is rejected while admission ramps up from a tenth to all. There is no ramp after an override.
    fn rejected_by_ramp(&self, settings: &Settings, now: u64, draw: u64) -> bool {
        if self.generation_override().is_some() {
            return false;
        }
        let ramp = micros(settings.ramp);
        let elapsed = now.saturating_sub(self.since);
        let sane = self.since <= now.saturating_add(CLOCK_TOLERANCE);
        sane && elapsed < ramp && draw % ramp >= ramp / 10 + elapsed / 10 * 9
    }
}

/// The latest valid time of a deadline `ahead` of its writer's clock.
pub(super) fn latest_valid(ahead: Duration, now: u64) -> u64 {
    now.saturating_add(micros(ahead)).saturating_add(CLOCK_TOLERANCE)
}

/// Settings are at most hours.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The lease's end, rounded up to 2^16 µs, with 16 random low bits.
fn token(settings: &Settings, now: u64, draw: u64) -> u64 {
    ((now.saturating_add(micros(settings.lease)) >> 16) + 1) << 16 | draw >> 48
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000_000;
    const SECOND: u64 = 1_000_000;

    fn circuit(state: State) -> Circuit {
        Circuit { generation: 3, state, since: NOW - 100 * SECOND, ..Circuit::default() }
    }

    fn settings(text: &str) -> Settings {
        text.parse().unwrap()
    }

    #[test]
    fn without_an_item_it_is_closed() {
        let circuit = Circuit::read(&Item::new()).unwrap();
        let permit = Permit { generation: 0, probe: None, local_only: false };
        assert_eq!(circuit.admit(&Settings::default(), NOW, 0), Step::Admit(permit));
    }

    #[test]
    fn an_item_is_parsed_and_a_malformed_attribute_is_named() {
        let mut item = Item::from([
            ("gen".to_owned(), 4.into()),
            ("st".to_owned(), "half".into()),
            ("p1".to_owned(), NOW.into()),
            ("f4_7".to_owned(), 2.into()),
            ("k4_7".to_owned(), 5.into()),
            ("later".to_owned(), "unknown".into()),
        ]);
        let read = Circuit::read(&item).unwrap();
        assert_eq!((read.generation, read.state, read.slots[&1]), (4, State::HalfOpen, NOW));
        assert_eq!(read.parts[&Place { generation: 4, part: 7 }], Counts { failures: 2, successes: 5 });
        for (name, value) in [("st", "ajar".into()), ("st", Value::Number(1)), ("gen", "x".into()), ("f8", "x".into())]
        {
            item.insert(name.to_owned(), value);
            assert_eq!(Circuit::read(&item), Err(Malformed(name.to_owned())));
            item.remove(name);
        }
    }

    #[test]
    fn an_open_breaker_rejects_until_its_time_and_then_offers_a_probe_slot() {
        let open = Circuit { open_until: NOW + SECOND, ..circuit(State::Open) };
        let settings = Settings::default();
        let retry_after = Duration::from_secs(1);
        assert_eq!(open.admit(&settings, NOW, 0), Step::Reject(Rejected::Open { retry_after }));
        assert!(matches!(open.admit(&settings, NOW + SECOND, 0), Step::Probe(..)));
    }

    #[test]
    fn an_impossibly_late_time_does_not_hold_it_open() {
        let settings = Settings::default();
        let year = 365 * 86_400 * SECOND;
        let open = Circuit { open_until: NOW + year, ..circuit(State::Open) };
        assert!(matches!(open.admit(&settings, NOW, 0), Step::Probe(..)));
        let held = Circuit { slots: BTreeMap::from([(0, NOW + year)]), ..circuit(State::HalfOpen) };
        assert!(matches!(held.admit(&settings, NOW, 0), Step::Probe(..)));
        let closed = Circuit { since: NOW + year, ..circuit(State::Closed) };
        assert!(matches!(closed.admit(&settings, NOW, u64::MAX), Step::Admit(_)));
    }

    #[test]
    fn a_slot_is_offered_when_it_is_free_or_its_lease_has_expired() {
        let settings = settings("probes=2");
        let mut half = circuit(State::HalfOpen);
        half.slots = BTreeMap::from([(0, NOW + 5), (1, NOW + SECOND)]);
        assert_eq!(half.admit(&settings, NOW, 7), Step::Reject(Rejected::Probing));
        for draw in 0..4 {
            let Step::Probe(permit, _) = half.admit(&settings, NOW + 6, draw) else { panic!("slot 0 is free") };
            assert_eq!(permit.probe.map(|lease| lease.slot), Some(0));
        }
    }

    #[test]
    fn tokens_outlast_the_lease_and_are_unique() {
        let settings = Settings::default();
        let tokens = [0, 1 << 48, u64::MAX].map(|draw| token(&settings, NOW, draw));
        assert!(tokens.iter().all(|token| (10 * SECOND + 1..10 * SECOND + 131_072).contains(&(token - NOW))));
        assert!(tokens[0] < tokens[1] && tokens[1] < tokens[2]);
    }

    #[test]
    fn admission_ramps_up_after_closing() {
        let settings = settings("ramp=10s");
        let share = |elapsed: u64| {
            let closed = Circuit { since: NOW - elapsed, ..circuit(State::Closed) };
            let draws = (0..1_000).map(|n| n * 10 * SECOND / 1_000);
            draws.filter(|draw| matches!(closed.admit(&settings, NOW, *draw), Step::Admit(_))).count()
        };
        let shares = [0, 1, 5, 9, 10].map(|seconds| share(seconds * SECOND));
        assert_eq!(shares, [100, 190, 550, 910, 1_000]);
    }
}
