//! What must hold whatever happens, checked against what really happened.

use std::collections::{BTreeMap, BTreeSet};

use dynamodb_circuit_breaker::{Circuit, Item, Outcome, Settings, State, Ticket, Value};

use crate::world::{LAG, SECOND, SKEW, TIMEOUT, Who};

pub struct Checks {
    settings: Settings,
    /// The first thing that did not hold.
    pub violation: Option<String>,
    /// When each generation ended.
    ended: BTreeMap<u64, u64>,
    /// How many calls of each generation failed, and how many succeeded, by their tickets.
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
    /// How often it opened, closed, and went from half-open to open.
    pub seen: [u64; 3],
}

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
            seen: [0; 3],
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
    pub fn admitted(&mut self, now: u64, who: Who, ticket: Ticket) {
        let late = 3 * SECOND + LAG + 2 * TIMEOUT;
        let stale = !ticket.is_probe()
            && !self.away.contains(&who.container)
            && self.ended.get(&ticket.generation()).is_some_and(|ended| now > ended + late);
        self.require(!stale, || format!("{who:?} passed long after its generation ended: {ticket:?}"));
    }

    /// A call ends.
    pub fn finished(&mut self, who: Who, ticket: Ticket, outcome: Outcome) {
        if ticket.is_probe() {
            self.outcomes.insert(who, outcome);
            return;
        }
        let count = match outcome {
            Outcome::Failure => &mut self.failed,
            Outcome::Success => &mut self.succeeded,
            Outcome::Ignored => return,
        };
        *count.entry(ticket.generation()).or_default() += 1;
    }

    /// The table has made a change.
    pub fn changed(&mut self, now: u64, who: Who, before: &Item, after: &Item) {
        let (Ok(old), Ok(new)) = (Circuit::read(before), Circuit::read(after)) else {
            return self.require(false, || format!("an item that cannot be read: {after:?}"));
        };
        let generation = old.generation;
        match (old.state, new.state, new.generation.wrapping_sub(generation)) {
            (State::Closed, State::Closed, 0) => self.counted(generation, before, after),
            (State::Closed, State::Open, 1) => {
                let failures = sum(before, 'f');
                self.require(failures >= self.settings.failures, || format!("opened by {failures} failures"));
                self.seen[0] += 1;
            }
            (State::Open | State::HalfOpen, State::HalfOpen, 0) => self.probed(now, who, &old, before, after),
            (State::HalfOpen, State::Open, 1) => {
                self.holds_its_slot(who, generation, before, Outcome::Failure);
                self.require(new.open_until > old.open_until, || "opened again for no longer".into());
                self.seen[2] += 1;
            }
            (State::HalfOpen, State::Closed, 1) => {
                let wins = self.wins.get(&generation).copied().unwrap_or_default();
                self.require(wins >= self.settings.successes, || format!("closed by {wins} successes"));
                self.require(sum(after, 'f') + sum(after, 'k') == 0, || "closed with counters".into());
                self.seen[1] += 1;
            }
            illegal => self.require(false, || format!("{illegal:?}: {before:?} became {after:?}")),
        }
        if new.generation != generation {
            let twice = self.ended.insert(generation, now).is_some();
            self.require(!twice, || format!("generation {generation} ended twice"));
        }
        self.require(after.len() <= 100, || format!("the item grows: {after:?}"));
    }

    fn counted(&mut self, generation: u64, before: &Item, after: &Item) {
        for letter in ['f', 'k'] {
            let truth = if letter == 'f' { &self.failed } else { &self.succeeded };
            let (counted, happened) = (sum(after, letter), truth.get(&generation).copied().unwrap_or_default());
            self.require(counted <= happened, || {
                format!("generation {generation} has had {happened} of {letter}: {before:?} became {after:?}")
            });
        }
    }

    fn probed(&mut self, now: u64, who: Who, old: &Circuit, before: &Item, after: &Item) {
        let generation = old.generation;
        for slot in (0..10).map(|slot| format!("p{slot}")) {
            match (number(before, &slot), number(after, &slot)) {
                (held, taken) if held == taken => {}
                (held, Some(token)) => {
                    let early = old.state == State::Open && now + SKEW < old.open_until;
                    self.require(!early, || format!("probed {} µs early", old.open_until - now));
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
                        *self.wins.entry(generation).or_default() += 1;
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

fn number(item: &Item, name: &str) -> Option<u64> {
    match item.get(name) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

fn sum(item: &Item, letter: char) -> u64 {
    let counters = item.keys().filter(|name| name.starts_with(letter));
    counters.filter_map(|name| number(item, name)).sum()
}
