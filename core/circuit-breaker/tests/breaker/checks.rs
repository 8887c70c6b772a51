//! The invariants, checked against what really happened.

use std::collections::{BTreeMap, BTreeSet};

use dynamodb_circuit_breaker::{Action, Circuit, Counts, Item, Outcome, Permit, Settings, State, Transition, Value};

use crate::world::{LAG, SECOND, SKEW, TIMEOUT, Who};

pub struct Checks {
    settings: Settings,
    /// The first violation.
    pub violation: Option<String>,
    /// When each generation ended.
    ended: BTreeMap<u64, u64>,
    /// How many calls of each generation failed and succeeded, by their permits.
    failed: BTreeMap<u64, u64>,
    succeeded: BTreeMap<u64, u64>,
    /// The slots taken at the table.
    leases: BTreeMap<Who, Lease>,
    /// Outcomes of probes.
    outcomes: BTreeMap<Who, Outcome>,
    /// Probe successes of each generation by probes that held their slot.
    probe_successes: BTreeMap<u64, u64>,
    /// Containers without the table.
    without_table: BTreeSet<usize>,
    /// The transitions of each container that its hook was called for, and those that the table confirmed to it.
    notified: BTreeSet<(usize, Rank)>,
    confirmed: BTreeSet<(usize, Rank)>,
    /// The container that made each transition.
    makers: BTreeMap<Rank, usize>,
    /// How often it opened, closed, reopened, and was overridden.
    pub seen: [u64; 4],
}

/// A transition: the generation, and whether it became half-open.
type Rank = (u64, bool);

#[derive(Clone)]
struct Lease {
    generation: u64,
    slot: String,
    token: u64,
}

impl Checks {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            violation: None,
            ended: BTreeMap::new(),
            failed: BTreeMap::new(),
            succeeded: BTreeMap::new(),
            leases: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            probe_successes: BTreeMap::new(),
            without_table: BTreeSet::new(),
            notified: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            makers: BTreeMap::new(),
            seen: [0; 4],
        }
    }

    pub fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    pub fn responded(&mut self, container: usize, confirmed: bool) {
        if confirmed {
            self.without_table.remove(&container)
        } else {
            self.without_table.insert(container)
        };
    }

    /// A call starts.
    pub fn admitted(&mut self, now: u64, who: Who, permit: Permit, item: &Item) {
        let late = 3 * SECOND + LAG + 2 * TIMEOUT;
        let connected = !self.without_table.contains(&who.container);
        if let Some(generation) = overridden(item, now, |action| matches!(action, Action::ForceOpen { .. })) {
            let begun = self.ended.get(&(generation - 1)).copied().unwrap_or(now);
            let barred = connected && (now > begun + late || permit.generation() == generation);
            self.require(!barred, || format!("{who:?} passed while it was held opening: {permit:?}"));
        }
        let stale = !permit.is_probe()
            && connected
            && self.ended.get(&permit.generation()).is_some_and(|ended| now > ended + late);
        self.require(!stale, || format!("{who:?} passed long after its generation ended: {permit:?}"));
    }

    /// A call ends.
    pub fn finished(&mut self, who: Who, permit: Permit, outcome: Outcome) {
        if permit.is_probe() {
            self.outcomes.insert(who, outcome);
            return;
        }
        let count = match outcome {
            Outcome::Failure => &mut self.failed,
            Outcome::Success => &mut self.succeeded,
            Outcome::Ignored => return,
        };
        *count.entry(permit.generation()).or_default() += 1;
    }

    /// The table has applied a change.
    pub fn changed(&mut self, now: u64, who: Who, before: &Item, after: &Item) {
        let (Ok(old), Ok(new)) = (Circuit::read(before), Circuit::read(after)) else {
            return self.require(false, || format!("a malformed item: {after:?}"));
        };
        let generation = old.generation;
        let rank = (new.generation, new.state == State::HalfOpen);
        if rank != (generation, old.state == State::HalfOpen) {
            self.makers.insert(rank, who.container);
        }
        match (old.state, new.state, new.generation.wrapping_sub(generation)) {
            (_, state, steps) if old.last_override != new.last_override => {
                self.require(steps == 1, || format!("an override of {old:?} was applied to a later circuit: {new:?}"));
                self.require(state != State::HalfOpen, || format!("an override left {after:?}"));
                self.seen[3] += 1;
            }
            (State::Closed, State::Closed, 0) => {}
            (State::Closed, State::Open, 1) => {
                let failures = sum(before, 'f', generation);
                self.require(failures >= self.settings.failures, || format!("opened by {failures} failures"));
                let held = overridden(before, now, |action| matches!(action, Action::ForceClosed { .. }));
                self.require(held.is_none(), || format!("opened while it was held closed: {before:?}"));
                self.seen[0] += 1;
            }
            (State::Open | State::HalfOpen, State::HalfOpen, 0) => self.finish_probe(now, who, &old, before, after),
            (State::HalfOpen, State::Open, 1) => {
                self.require_slot(who, generation, before, Outcome::Failure);
                self.require(new.open_until > old.open_until, || "reopened without a later end".into());
                self.seen[2] += 1;
            }
            (State::HalfOpen, State::Closed, 1) => {
                let probe_successes = self.probe_successes.get(&generation).copied().unwrap_or_default();
                self.require(probe_successes >= self.settings.successes, || {
                    format!("closed by {probe_successes} successes")
                });
                self.seen[1] += 1;
            }
            illegal => self.require(false, || format!("{illegal:?}: {before:?} became {after:?}")),
        }
        if new.state == State::Closed || old.last_override != new.last_override {
            self.counted(now, &new, before, after);
        }
        if new.generation != generation {
            let twice = self.ended.insert(generation, now).is_some();
            self.require(!twice, || format!("generation {generation} ended twice"));
        }
        self.require(after.len() <= 100, || format!("the item grows: {after:?}"));
    }

    /// A container's hook is called for a transition of its own.
    pub fn notified(&mut self, container: usize, transition: &Transition) {
        let rank = (transition.generation, transition.to == State::HalfOpen);
        let made = self.makers.get(&rank) == Some(&container);
        self.require(made, || format!("{container} did not make {transition:?}"));
        let once = self.notified.insert((container, rank));
        self.require(once, || format!("{container} was notified twice of {transition:?}"));
    }

    /// A container gets the table's response to a change. It may have been a transition.
    pub fn confirmed(&mut self, container: usize, item: &Item) {
        let Ok(circuit) = Circuit::read(item) else { return };
        self.confirmed.insert((container, (circuit.generation, circuit.state == State::HalfOpen)));
    }

    /// Every confirmed transition was passed to a hook.
    pub fn all_confirmed_were_notified(&mut self) {
        let missed = self.confirmed.difference(&self.notified).next().copied();
        self.require(missed.is_none(), || format!("no hook was called for {missed:?}"));
    }

    /// The container restarts.
    pub fn crashed(&mut self, container: usize) {
        self.notified.retain(|(notified, _)| *notified != container);
        self.confirmed.retain(|(confirmed, _)| *confirmed != container);
    }

    /// The counters never exceed what happened in this generation, for any clock or at any later time.
    fn counted(&mut self, now: u64, circuit: &Circuit, before: &Item, after: &Item) {
        let generation = circuit.generation;
        let windows = (now - 30 * SECOND..now + 30 * SECOND).step_by(5_000_000);
        let windows: Vec<_> = windows.map(|then| circuit.window(&self.settings, then)).collect();
        let most =
            |letter, of: fn(&Counts) -> u64| windows.iter().map(of).fold(sum(after, letter, generation), u64::max);
        let counted = [most('f', |counts| counts.failures), most('k', |counts| counts.successes)];
        let happened = [&self.failed, &self.succeeded].map(|truth| truth.get(&generation).copied().unwrap_or_default());
        let within = counted.iter().zip(&happened).all(|(counted, happened)| counted <= happened);
        self.require(within, || format!("{happened:?} in generation {generation}: {before:?} became {after:?}"));
    }

    fn finish_probe(&mut self, now: u64, who: Who, old: &Circuit, before: &Item, after: &Item) {
        let generation = old.generation;
        for slot in (0..10).map(|slot| format!("p{slot}")) {
            match (number(before, &slot), number(after, &slot)) {
                (held, taken) if held == taken => {}
                (held, Some(token)) => {
                    let barred = overridden(before, now, |action| matches!(action, Action::ForceOpen { .. }));
                    let early = old.state == State::Open && (now + SKEW < old.open_until || barred.is_some());
                    self.require(!early, || format!("probed early: {before:?}"));
                    let stolen = held.is_some_and(|held| held > now + SKEW);
                    self.require(!stolen, || format!("{who:?} took {slot} from a probe whose lease had not expired"));
                    self.leases.insert(who, Lease { generation, slot, token });
                }
                (_, None) => {
                    let outcome = self.outcomes.get(&who).copied().unwrap_or(Outcome::Ignored);
                    self.require_slot(who, generation, before, outcome);
                    let won = number(after, "wins") > number(before, "wins");
                    self.require(won == (outcome == Outcome::Success), || format!("{outcome:?} gave {after:?}"));
                    if won {
                        *self.probe_successes.entry(generation).or_default() += 1;
                    }
                    self.leases.remove(&who);
                }
            }
        }
        let running = |lease: &&Lease| lease.generation == generation && lease.token > now + SKEW;
        let probes = self.leases.values().filter(running).count();
        self.require(probes as u64 <= self.settings.probes, || format!("{probes} probes at a time"));
    }

    /// The change must come from a probe with this outcome that still holds its slot.
    fn require_slot(&mut self, who: Who, generation: u64, before: &Item, outcome: Outcome) {
        let lease = self.leases.get(&who).filter(|lease| lease.generation == generation).cloned();
        let holds = lease.is_some_and(|lease| number(before, &lease.slot) == Some(lease.token));
        self.require(holds, || format!("{who:?} changed a circuit without holding a slot of {before:?}"));
        let notified = self.outcomes.get(&who).copied();
        self.require(notified == Some(outcome), || format!("{who:?} reported {outcome:?} for {notified:?}"));
    }
}

/// The generation of an override of this kind that is in force by every clock.
fn overridden(item: &Item, now: u64, kind: fn(Action) -> bool) -> Option<u64> {
    let circuit = Circuit::read(item).ok()?;
    circuit.active_override(now + SKEW).filter(|held| kind(held.requested.action)).map(|held| held.generation)
}

fn number(item: &Item, name: &str) -> Option<u64> {
    match item.get(name) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

/// What the counters of a generation hold.
fn sum(item: &Item, letter: char, generation: u64) -> u64 {
    let of = |name: &&String| match name.strip_prefix(letter).map(|place| place.split_once('_').unwrap_or(("0", place)))
    {
        Some((of, _)) => *of == *generation.to_string(),
        None => false,
    };
    item.keys().filter(of).filter_map(|name| number(item, name)).sum()
}
