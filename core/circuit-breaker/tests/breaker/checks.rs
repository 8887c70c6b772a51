//! What must hold whatever happens, checked against what really happened.

use std::collections::{BTreeMap, BTreeSet};

use dynamodb_circuit_breaker::{Action, Circuit, Counts, Item, Outcome, Settings, State, Permit, Transition, Value};

use crate::world::{LAG, SECOND, SKEW, TIMEOUT, Who};

pub struct Checks {
    settings: Settings,
    /// The first thing that did not hold.
    pub violation: Option<String>,
    /// When each generation ended.
    ended: BTreeMap<u64, u64>,
    /// How many calls of each generation failed, and how many succeeded, by their permits.
    failed: BTreeMap<u64, u64>,
    succeeded: BTreeMap<u64, u64>,
    /// The slots that calls have taken at the table.
    leases: BTreeMap<Who, Lease>,
    /// Probes' outcomes.
    outcomes: BTreeMap<Who, Outcome>,
    /// Wins of each generation by probes that held their slot.
    wins: BTreeMap<u64, u64>,
    /// Containers that the table has not answered.
    away: BTreeSet<usize>,
    /// The transitions that each container was told it made, and those that the table told it so.
    told: BTreeSet<(usize, Rank)>,
    answered: BTreeSet<(usize, Rank)>,
    /// Which container made a transition.
    makers: BTreeMap<Rank, usize>,
    /// How often it opened, closed, went from half-open to open, and did so by hand.
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
            wins: BTreeMap::new(),
            away: BTreeSet::new(),
            told: BTreeSet::new(),
            answered: BTreeSet::new(),
            makers: BTreeMap::new(),
            seen: [0; 4],
        }
    }

    pub fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    pub fn heard(&mut self, container: usize, answered: bool) {
        if answered {
            self.away.remove(&container)
        } else {
            self.away.insert(container)
        };
    }

    /// A call begins.
    pub fn admitted(&mut self, now: u64, who: Who, permit: Permit, item: &Item) {
        let late = 3 * SECOND + LAG + 2 * TIMEOUT;
        let connected = !self.away.contains(&who.container);
        if let Some(generation) = held_by_hand(item, now, |action| matches!(action, Action::ForceOpen { .. })) {
            let begun = self.ended.get(&(generation - 1)).copied().unwrap_or(now);
            let barred = connected && (now > begun + late || permit.generation() == generation);
            self.require(!barred, || format!("{who:?} passed while it was held open: {permit:?}"));
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

    /// The table has made a change.
    pub fn changed(&mut self, now: u64, who: Who, before: &Item, after: &Item) {
        let (Ok(old), Ok(new)) = (Circuit::read(before), Circuit::read(after)) else {
            return self.require(false, || format!("an item that cannot be read: {after:?}"));
        };
        let generation = old.generation;
        let rank = (new.generation, new.state == State::HalfOpen);
        if rank != (generation, old.state == State::HalfOpen) {
            self.makers.insert(rank, who.container);
        }
        match (old.state, new.state, new.generation.wrapping_sub(generation)) {
            (_, state, steps) if old.last_override != new.last_override => {
                self.require(steps == 1, || format!("an order was carried out that had met {old:?}: {new:?}"));
                self.require(state != State::HalfOpen, || format!("an order left {after:?}"));
                self.seen[3] += 1;
            }
            (State::Closed, State::Closed, 0) => {}
            (State::Closed, State::Open, 1) => {
                let failures = sum(before, 'f', generation);
                self.require(failures >= self.settings.failures, || format!("opened by {failures} failures"));
                let held = held_by_hand(before, now, |action| matches!(action, Action::ForceClosed { .. }));
                self.require(held.is_none(), || format!("opened while it was held closed: {before:?}"));
                self.seen[0] += 1;
            }
            (State::Open | State::HalfOpen, State::HalfOpen, 0) => self.probed(now, who, &old, before, after),
            (State::HalfOpen, State::Open, 1) => {
                self.holds_its_slot(who, generation, before, Outcome::Failure);
                self.require(new.open_until > old.open_until, || "opened again for no longer".into());
                self.seen[2] += 1;
            }
            (State::HalfOpen, State::Closed, 1) => {
                let wins = self.probe_successes.get(&generation).copied().unwrap_or_default();
                self.require(wins >= self.settings.successes, || format!("closed by {wins} successes"));
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

    /// A container's hook is told of a transition that the container made.
    pub fn told(&mut self, container: usize, transition: &Transition) {
        let rank = (transition.generation, transition.to == State::HalfOpen);
        let made = self.makers.get(&rank) == Some(&container);
        self.require(made, || format!("{container} was told that it made {transition:?}"));
        let once = self.told.insert((container, rank));
        self.require(once, || format!("{container} was told twice of {transition:?}"));
    }

    /// A container learns from the table that it made a transition, unless it did not change anything.
    pub fn answered(&mut self, container: usize, item: &Item) {
        let Ok(circuit) = Circuit::read(item) else { return };
        self.answered.insert((container, (circuit.generation, circuit.state == State::HalfOpen)));
    }

    /// What the table told, the hooks were told.
    pub fn all_is_told(&mut self) {
        let untold = self.answered.difference(&self.told).next().copied();
        self.require(untold.is_none(), || format!("nobody was told of {untold:?}"));
    }

    /// The container begins anew.
    pub fn crashed(&mut self, container: usize) {
        self.told.retain(|(told, _)| *told != container);
        self.answered.retain(|(answered, _)| *answered != container);
    }

    /// Nothing counts, now or for another clock or later, but what has happened in this generation, and each of it once.
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

    fn probed(&mut self, now: u64, who: Who, old: &Circuit, before: &Item, after: &Item) {
        let generation = old.generation;
        for slot in (0..10).map(|slot| format!("p{slot}")) {
            match (number(before, &slot), number(after, &slot)) {
                (held, taken) if held == taken => {}
                (held, Some(token)) => {
                    let barred = held_by_hand(before, now, |action| matches!(action, Action::ForceOpen { .. }));
                    let early = old.state == State::Open && (now + SKEW < old.open_until || barred.is_some());
                    self.require(!early, || format!("probed early: {before:?}"));
                    let robbed = held.is_some_and(|held| held > now + SKEW);
                    self.require(!robbed, || format!("{who:?} took {slot} from a probe whose lease was not over"));
                    self.leases.insert(who, Lease { generation, slot, token });
                }
                (_, None) => {
                    let outcome = self.outcomes.get(&who).copied().unwrap_or(Outcome::Ignored);
                    self.holds_its_slot(who, generation, before, outcome);
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

    /// The change must come from a probe with this outcome that has its slot yet.
    fn holds_its_slot(&mut self, who: Who, generation: u64, before: &Item, outcome: Outcome) {
        let lease = self.leases.get(&who).filter(|lease| lease.generation == generation).cloned();
        let holds = lease.is_some_and(|lease| number(before, &lease.slot) == Some(lease.token));
        self.require(holds, || format!("{who:?} changed a circuit without holding a slot of {before:?}"));
        let told = self.outcomes.get(&who).copied();
        self.require(told == Some(outcome), || format!("{who:?} reported {outcome:?} for {told:?}"));
    }
}

/// The generation of the order of this kind that holds the breaker, if it does so by every clock.
fn held_by_hand(item: &Item, now: u64, kind: fn(Action) -> bool) -> Option<u64> {
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
