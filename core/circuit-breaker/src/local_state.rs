//! A container's state of its breaker between reads of the table, and without it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::change::{Change, Changed, Item};
use super::circuit::{Circuit, Permit, State, micros};
use super::settings::Settings;
use super::transition::Outcome;
use super::window::{PARTS, part};

/// How many cache times an open circuit is cached: only an override could allow a call earlier.
const OPEN_CACHE_TIMES: u32 = 10;

/// Orders transitions: within a generation a circuit only becomes half-open.
type Rank = (u64, bool);

fn rank(circuit: &Circuit) -> Rank {
    (circuit.generation, circuit.state == State::HalfOpen)
}

#[derive(Debug, Default)]
pub(super) struct LocalState {
    /// The item and its circuit as last read, or as continued in memory while [`LocalState::local_only`].
    item: Item,
    pub circuit: Circuit,
    /// The circuit last read from the table.
    pub last_read: Circuit,
    /// Whether the item has changes that are not in the table.
    pub local_only: bool,
    /// The newest generation read from the table.
    pub newest_generation: u64,
    /// Whether the circuit is known, not only assumed.
    is_known: bool,
    /// The newest transition read from the table.
    rank: Rank,
    /// The newest transition of this process that was notified.
    notified: Rank,
    /// When the cached item is valid, and when the table is not called at all.
    cached: Range<u64>,
    table_down: Range<u64>,
    /// Successes of this generation not yet reported to the table, by part of the window.
    unreported: BTreeMap<u64, u64>,
    reported_at: u64,
}

impl LocalState {
    /// Whether to read the table before the next call.
    pub fn needs_read(&self, now: u64) -> bool {
        !self.is_table_down(now) && !self.cached.contains(&now)
    }

    /// Whether the table is not called for now.
    pub fn is_table_down(&self, now: u64) -> bool {
        self.table_down.contains(&now)
    }

    /// Adopts the item from the table. The circuit before it, if there is a transition to notify.
    pub fn update_from_table(
        &mut self,
        settings: &Settings,
        item: Item,
        circuit: Circuit,
        now: u64,
    ) -> Option<Circuit> {
        let (rank, back) = (rank(&circuit), circuit.generation < self.newest_generation);
        if back {
            (self.rank, self.notified) = Default::default();
        }
        // A stale replica shows no new transition.
        let is_new = back || rank > self.rank || (self.local_only && !circuit.same_state(&self.circuit));
        let before = Some(self.circuit.clone()).filter(|_| self.is_known && is_new);
        self.rank = self.rank.max(rank);
        self.newest_generation = circuit.generation;
        self.cached = jittered(settings.cache, now);
        if let Some(until) = circuit.no_calls_until(settings, now) {
            let next_look = jittered(settings.cache * OPEN_CACHE_TIMES, now).end;
            self.cached.end = self.cached.end.max(until.min(next_look));
        }
        self.table_down = 0..0;
        self.last_read = circuit.clone();
        self.replace(item, circuit, false);
        before
    }

    /// Whether this transition was not notified yet. Its response and concurrent reads may show it in any order, but
    /// each transition was decided on the one before.
    pub fn mark_notified(&mut self, circuit: &Circuit) -> bool {
        let is_new = rank(circuit) > self.notified;
        self.notified = self.notified.max(rank(circuit));
        is_new
    }

    /// The table failed: it is not called for a while.
    pub fn table_failed(&mut self, settings: &Settings, now: u64) {
        self.table_down = jittered(settings.cache, now);
        self.is_known = true;
    }

    /// Applies a change in memory. The circuit after it, if its condition held.
    pub fn apply(&mut self, change: &Change) -> Option<Circuit> {
        let Changed::Applied(item) = change.apply(self.item.clone()) else { return None };
        let circuit = Circuit::read(&item).ok()?;
        self.replace(item, circuit.clone(), true);
        Some(circuit)
    }

    fn replace(&mut self, item: Item, circuit: Circuit, local_only: bool) {
        if circuit.generation != self.circuit.generation {
            self.unreported.clear();
        }
        self.is_known = true;
        (self.item, self.circuit, self.local_only) = (item, circuit, local_only);
    }

    /// The change that records an outcome, if any.
    pub fn report(&mut self, settings: &Settings, permit: Permit, outcome: Outcome, now: u64) -> Option<Change> {
        if permit.generation != self.circuit.generation || (permit.local_only && !self.local_only) {
            return None;
        }
        let failures = match (permit.probe, outcome) {
            (Some(lease), _) => return Some(self.circuit.finish_probe(settings, lease, outcome, now)),
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
        // These are reported at most once, even if the response is lost.
        let successes = std::mem::take(&mut self.unreported);
        self.reported_at = now;
        Some(self.circuit.count_calls(settings, now, failures, &successes))
    }
}

/// A cache time from now, with jitter of up to half as much again. It begins a little earlier, because concurrent calls
/// may have read the clock a moment before.
fn jittered(time: Duration, now: u64) -> Range<u64> {
    let time = micros(time);
    now.saturating_sub(time)..now.saturating_add(time).saturating_add(fastrand::u64(0..=time / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_an_older_generation_or_of_memory_only_is_not_reported() {
        let circuit = Circuit { generation: 3, ..Circuit::default() };
        let mut state = LocalState { circuit, ..LocalState::default() };
        let mut reported = |generation, local_only| {
            let permit = Permit { generation, probe: None, local_only };
            state.report(&Settings::default(), permit, Outcome::Failure, 1_800_000_000_000_000).is_some()
        };
        assert_eq!([reported(3, false), reported(2, false), reported(3, true)], [true, false, false]);
    }
}
