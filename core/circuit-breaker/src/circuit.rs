//! What a breaker's item says, and whether a call may pass. Pure: time and chance are given.

use std::time::Duration;
use std::{collections::BTreeMap, fmt};

use super::change::{Change, Item, Malformed, Value};
use super::counters::{Counts, Place, whole};
use super::intervention::{Action, AppliedOverride};
use super::settings::Settings;

/// How far two clocks may differ. What is further ahead than the settings and this allow was written by a clock that
/// had gone wrong, and counts as past.
pub(super) const CLOCK_TOLERANCE: u64 = 60_000_000;
/// The attribute with the mark of the process that made the newest transition.
pub(super) const MAKER: &str = "maker";

/// A breaker as its item describes it. Times are microseconds since 1970. Without an item it is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    /// Grows by one whenever the breaker opens or closes: what belongs to an older one has no say any more.
    pub generation: u64,
    /// What it does with calls.
    pub state: State,
    /// When it last opened or closed; 0 if it never did.
    pub since: u64,
    /// When the first probe may go, while it is open.
    pub open_until: u64,
    /// How often in a row it has opened.
    pub trips: u64,
    /// How many probes have succeeded, while it is half-open.
    pub wins: u64,
    /// What somebody last ordered by hand; [`Circuit::held`] says whether it is in force.
    pub intervention: Option<AppliedOverride>,
    /// The mark of the process that made the newest transition; 0 if none did.
    pub(super) maker: u64,
    pub(super) slots: BTreeMap<u64, u64>,
    pub(super) parts: BTreeMap<Place, Counts>,
}

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// They pass.
    #[default]
    Closed,
    /// They do not.
    Open,
    /// A few pass, to see how the callee is.
    HalfOpen,
}

impl State {
    /// Its name in the item.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::HalfOpen { "half-open" } else { self.word() })
    }
}

/// The permission to make one call, and what its result will be held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub(super) generation: u64,
    pub(super) probe: Option<Lease>,
    /// Whether a container allowed it that went on without its table: its result is nobody else's business.
    pub(super) alone: bool,
}

impl Permit {
    /// The generation that allowed the call.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the call is a probe, after which others wait.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// A probe's place: whoever's token is in the slot holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub slot: u64,
    /// When the lease ends, with low bits that make it unique: lease and fence in one.
    pub token: u64,
}

/// What to do with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Admit(Permit),
    /// It may go as a probe, if this change is made.
    Probe(Permit, Change),
    Reject(Rejected),
}

/// Why a call was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The breaker is open.
    #[error("the circuit is open")]
    Open {
        /// For how long yet.
        retry_after: Duration,
    },
    /// Somebody holds the breaker open by hand.
    #[error("the circuit is held open by hand")]
    Forced {
        /// For how long yet, if that is known.
        retry_after: Option<Duration>,
    },
    /// The breaker is half-open, and others are probing.
    #[error("the circuit is half-open, and others are probing")]
    Probing,
    /// The breaker has just closed, and lets a growing share of the calls through.
    #[error("the circuit has just closed, and lets a growing share of the calls through")]
    Ramping,
    /// The table did not say whether this call may be a probe.
    #[error("the table did not say whether this call may be a probe")]
    Unanswered,
}

impl Circuit {
    /// Reads an item. Attributes with unknown names are passed over.
    ///
    /// # Errors
    /// [`Malformed`]: somebody wrote to the table by hand; they put the item right, or delete it.
    pub fn read(item: &Item) -> Result<Self, Malformed> {
        let mut circuit = Self { intervention: AppliedOverride::read(item)?, ..Self::default() };
        for (name, value) in item {
            let number = || match value {
                Value::Number(number) => Ok(*number),
                Value::Word(_) => Err(Malformed(name.clone())),
            };
            match (name.as_str(), value) {
                ("st", Value::Word(word)) => {
                    let states = [State::Closed, State::Open, State::HalfOpen];
                    let state = states.into_iter().find(|state| state.word() == word);
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

    /// Whether no transition lies between the two.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.generation, self.state) == (other.generation, other.state)
    }

    /// Whether the next call may pass. `draw` is a random number.
    pub(super) fn admit(&self, settings: &Settings, now: u64, draw: u64) -> Step {
        let held = self.active_override(now).map(|held| held.requested.action);
        if let Some(Action::ForceOpen { until }) = held {
            let retry_after = until.map(|until| Duration::from_micros(until - now));
            return Step::Reject(Rejected::ForcedOpen { retry_after });
        }
        match self.state {
            State::Closed if self.ramps(settings, now, draw) => Step::Reject(Rejected::Ramping),
            State::Closed => Step::Admit(Permit { generation: self.generation, probe: None, alone: false }),
            State::Open if !self.is_due(settings, now) => {
                let retry_after = Duration::from_micros(self.open_until - now);
                Step::Reject(Rejected::Open { retry_after })
            }
            State::Open | State::HalfOpen => {
                let slots = (0..settings.probes).map(|slot| (slot + draw) % settings.probes);
                match { slots }.find(|slot| self.is_free(settings, *slot, now)) {
                    Some(slot) => {
                        let lease = Lease { slot, token: token(settings, now, draw) };
                        let permit = Permit { generation: self.generation, probe: Some(lease), alone: false };
                        Step::Probe(permit, self.take_slot(settings, lease, now))
                    }
                    None => Step::Reject(Rejected::Probing),
                }
            }
        }
    }

    /// Until when no call can pass, unless somebody orders it: as long as the circuit is open by itself.
    pub(super) fn rests(&self, settings: &Settings, now: u64) -> Option<u64> {
        let rests = self.state == State::Open && self.began_by_hand().is_none() && !self.is_due(settings, now);
        rests.then_some(self.open_until)
    }

    fn is_due(&self, settings: &Settings, now: u64) -> bool {
        self.open_until <= now || self.open_until > furthest(settings.open_max, now)
    }

    fn is_free(&self, settings: &Settings, slot: u64, now: u64) -> bool {
        let taken = |token| token >= now && token <= furthest(settings.lease, now);
        !self.slots.get(&slot).copied().is_some_and(taken)
    }

    /// Whether this call is left out while admission grows from a tenth to all. Whoever closes it by hand wants all.
    fn ramps(&self, settings: &Settings, now: u64, draw: u64) -> bool {
        if self.began_by_hand().is_some() {
            return false;
        }
        let ramp = micros(settings.ramp);
        let elapsed = now.saturating_sub(self.since);
        let sane = self.since <= now.saturating_add(CLOCK_TOLERANCE);
        sane && elapsed < ramp && draw % ramp >= ramp / 10 + elapsed / 10 * 9
    }
}

/// The latest time that a sound clock could have written, `ahead` of its own now.
pub(super) fn furthest(ahead: Duration, now: u64) -> u64 {
    now.saturating_add(micros(ahead)).saturating_add(CLOCK_TOLERANCE)
}

/// Settings are hours at most.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The lease's end, rounded up to 2^16 µs, with 16 random bits below.
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
        let permit = Permit { generation: 0, probe: None, alone: false };
        assert_eq!(circuit.admit(&Settings::default(), NOW, 0), Step::Admit(permit));
    }

    #[test]
    fn an_item_is_read_and_what_cannot_be_read_is_named() {
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
    fn an_open_breaker_refuses_until_its_time_and_then_offers_a_slot() {
        let open = Circuit { open_until: NOW + SECOND, ..circuit(State::Open) };
        let settings = Settings::default();
        let retry_after = Duration::from_secs(1);
        assert_eq!(open.admit(&settings, NOW, 0), Step::Reject(Rejected::Open { retry_after }));
        assert!(matches!(open.admit(&settings, NOW + SECOND, 0), Step::Probe(..)));
    }

    #[test]
    fn a_time_that_no_sound_clock_wrote_does_not_hold_it_open() {
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
    fn a_slot_is_offered_when_it_is_free_or_its_lease_is_over() {
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
    fn tokens_outlast_the_lease_and_differ_by_the_draw() {
        let settings = Settings::default();
        let tokens = [0, 1 << 48, u64::MAX].map(|draw| token(&settings, NOW, draw));
        assert!(tokens.iter().all(|token| (10 * SECOND + 1..10 * SECOND + 131_072).contains(&(token - NOW))));
        assert!(tokens[0] < tokens[1] && tokens[1] < tokens[2]);
    }

    #[test]
    fn admission_grows_after_closing() {
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
