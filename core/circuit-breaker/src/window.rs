//! The calls of the rolling window. Pure.

use super::circuit::{Circuit, State, micros};
use super::counters::{Counts, Place};
use super::settings::Settings;

/// Into how many parts the window is divided. A call is counted for 9 to 10 of them.
pub(super) const PARTS: u64 = 10;

impl Circuit {
    /// What the window holds: calls of this generation. A breaker that has opened keeps to be seen what opened it.
    pub fn window(&self, settings: &Settings, now: u64) -> Counts {
        self.inside(settings, now).fold(Counts::default(), |sum, (_, counts)| Counts {
            failures: sum.failures.saturating_add(counts.failures),
            successes: sum.successes.saturating_add(counts.successes),
        })
    }

    /// The parts of the window. Those that are said to lie ahead come from other clocks, and count.
    pub(super) fn inside(&self, settings: &Settings, now: u64) -> impl Iterator<Item = (Place, Counts)> {
        let generation = match self.state {
            State::Closed => self.generation,
            // Nothing is counted then: the newest is what was counted last, unless an order has come since.
            State::Open | State::HalfOpen => {
                let newest = self.parts.keys().next_back().map(|place| place.generation);
                newest.max(self.last_override.as_ref().map(|last| last.generation)).unwrap_or_default()
            }
        };
        let (current, at) = (part(settings, now), |part| Place { generation, part });
        let inside = at((current + 1).saturating_sub(PARTS))..at(current + PARTS);
        self.parts.range(inside).map(|(place, counts)| (*place, *counts))
    }

    /// Whether this generation has counted nothing yet.
    pub(super) fn has_counted_nothing(&self) -> bool {
        self.parts.keys().all(|place| place.generation != self.generation)
    }
}

/// The part of the window that `now` falls in.
pub(super) fn part(settings: &Settings, now: u64) -> u64 {
    now / (micros(settings.window) / PARTS).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: u64 = 1_800_000_000_000_000;
    const COUNTS: Counts = Counts { failures: 1, successes: 2 };

    fn settings() -> Settings {
        "window=10s".parse().unwrap()
    }

    fn counted(generations: &[u64], part: u64) -> BTreeMap<Place, Counts> {
        generations.iter().map(|generation| (Place { generation: *generation, part }, COUNTS)).collect()
    }

    #[test]
    fn the_window_forgets_what_is_older_and_keeps_what_other_clocks_wrote_ahead() {
        let settings = settings();
        let current = part(&settings, NOW);
        let at = |part| Circuit { generation: 3, parts: counted(&[3], part), ..Circuit::default() };
        for inside in [current - 9, current, current + 9] {
            assert_eq!(at(inside).window(&settings, NOW), COUNTS);
        }
        for outside in [current - 10, current + 10, 3 * current] {
            assert_eq!(at(outside).window(&settings, NOW), Counts::default());
        }
        assert_eq!(at(0).window(&settings, 0), COUNTS);
    }

    #[test]
    fn while_it_is_closed_only_calls_of_its_own_generation_count() {
        let settings = settings();
        let window = |generation, counts: &[u64]| {
            let parts = counted(counts, part(&settings, NOW));
            Circuit { generation, parts, ..Circuit::default() }.window(&settings, NOW)
        };
        assert_eq!(window(3, &[0, 2, 3, 4]), COUNTS);
        assert_eq!(window(3, &[0, 2, 4]), Counts::default());
        assert_eq!(window(0, &[0, 2]), COUNTS);
    }

    #[test]
    fn while_it_is_not_closed_what_was_counted_last_is_seen() {
        let settings = settings();
        for state in [State::Open, State::HalfOpen] {
            let parts = counted(&[0, 2, 3], part(&settings, NOW));
            let circuit = Circuit { generation: 5, state, parts, ..Circuit::default() };
            assert_eq!(circuit.window(&settings, NOW), COUNTS);
            assert_eq!(circuit.inside(&settings, NOW).map(|(place, _)| place.generation).collect::<Vec<_>>(), [3]);
        }
    }
}
