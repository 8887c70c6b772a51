//! What a container knows of its breaker between two looks at the table, and how it goes on without one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::change::{Change, Changed, Item};
use super::circuit::{Circuit, State, Permit, micros};
use super::settings::Settings;
use super::transition::Outcome;
use super::window::{PARTS, part};

/// How many cache times a circuit that is open by itself is believed: nothing but an order can let a call pass earlier.
const REST: u32 = 10;

/// The order of transitions: within a generation a circuit only becomes half-open.
type Rank = (u64, bool);

fn rank(circuit: &Circuit) -> Rank {
    (circuit.generation, circuit.state == State::HalfOpen)
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The item, and what it says: as last seen, or, while [`Memory::alone`], as it lives on here.
    item: Item,
    pub circuit: Circuit,
    /// The circuit that the table has shown last.
    pub shown: Circuit,
    /// Whether the item holds changes that the table has not.
    pub alone: bool,
    /// The newest generation that the table has shown.
    pub newest: u64,
    /// Whether anything is known, and not only assumed.
    known: bool,
    /// The newest transition that the table has shown.
    rank: Rank,
    /// The newest transition of this process that it was told of.
    told: Rank,
    /// When the item is believed, and when the table is not asked at all.
    fresh: Range<u64>,
    away: Range<u64>,
    /// Successes of this generation that the table has not been told, by part of the window.
    unreported: BTreeMap<u64, u64>,
    reported_at: u64,
}

impl Memory {
    /// Whether the table is to be asked before the next call is let through.
    pub fn is_due(&self, now: u64) -> bool {
        !self.is_away(now) && !self.fresh.contains(&now)
    }

    /// Whether the table is left alone.
    pub fn is_away(&self, now: u64) -> bool {
        self.away.contains(&now)
    }

    /// The table has shown its item. The circuit as it was before, if there is something to tell.
    pub fn saw(&mut self, settings: &Settings, item: Item, circuit: Circuit, now: u64) -> Option<Circuit> {
        let (rank, back) = (rank(&circuit), circuit.generation < self.newest);
        if back {
            (self.rank, self.told) = Default::default();
        }
        // What a replica shows that lags behind is nothing new.
        let news = back || rank > self.rank || (self.alone && !circuit.is_like(&self.circuit));
        let before = Some(self.circuit.clone()).filter(|_| self.known && news);
        self.rank = self.rank.max(rank);
        self.newest = circuit.generation;
        self.fresh = a_while(settings.cache, now);
        if let Some(until) = circuit.rests(settings, now) {
            let next_look = a_while(settings.cache * REST, now).end;
            self.fresh.end = self.fresh.end.max(until.min(next_look));
        }
        self.away = 0..0;
        self.shown = circuit.clone();
        self.replace(item, circuit, false);
        before
    }

    /// Whether a transition of this process is news yet: its answer and what others of this process read may tell of it
    /// in any order, but each was decided on the one before.
    pub fn is_news(&mut self, circuit: &Circuit) -> bool {
        let news = rank(circuit) > self.told;
        self.told = self.told.max(rank(circuit));
        news
    }

    /// The table has failed: it is left alone for a while.
    pub fn table_is_away(&mut self, settings: &Settings, now: u64) {
        self.away = a_while(settings.cache, now);
        self.known = true;
    }

    /// Makes a change here. The circuit after it, if its guard held.
    pub fn make(&mut self, change: &Change) -> Option<Circuit> {
        let Changed::Applied(item) = change.apply(self.item.clone()) else { return None };
        let circuit = Circuit::read(&item).ok()?;
        self.replace(item, circuit.clone(), true);
        Some(circuit)
    }

    fn replace(&mut self, item: Item, circuit: Circuit, alone: bool) {
        if circuit.generation != self.circuit.generation {
            self.unreported.clear();
        }
        self.known = true;
        (self.item, self.circuit, self.alone) = (item, circuit, alone);
    }

    /// The change that a result asks for, if any.
    pub fn report(&mut self, settings: &Settings, permit: Permit, outcome: Outcome, now: u64) -> Option<Change> {
        if permit.generation != self.circuit.generation || (permit.alone && !self.alone) {
            return None;
        }
        let failures = match (permit.probe, outcome) {
            (Some(lease), _) => return Some(self.circuit.probed(settings, lease, outcome, now)),
            (None, Outcome::Ignored) => return None,
            (None, Outcome::Failure) => 1,
            (None, Outcome::Success) => {
                let current = part(settings, now);
                *self.unreported.entry(current).or_default() += 1;
                self.unreported.retain(|part, _| part.abs_diff(current) < PARTS);
                let since = now.checked_sub(self.reported_at);
                let early = since.is_some_and(|since| since < micros(settings.cache));
                if early || self.circuit.window(settings, now).failures == 0 {
                    return None;
                }
                0
            }
        };
        // Whether or not an answer comes back, these are told once.
        let successes = std::mem::take(&mut self.unreported);
        self.reported_at = now;
        Some(self.circuit.count(settings, now, failures, &successes))
    }
}

/// A time and up to half as much again, from now on. It reaches back a little too: others in this process may have looked
/// at the clock a moment earlier.
fn a_while(time: Duration, now: u64) -> Range<u64> {
    let time = micros(time);
    now.saturating_sub(time)..now.saturating_add(time).saturating_add(fastrand::u64(0..=time / 2))
}
