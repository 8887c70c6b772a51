//! The rolling window of calls. Pure.

use super::circuit::{Circuit, State, micros};
use super::counters::{Counts, Place};
use super::settings::Settings;

/// The number of parts of the window. A call counts for 9 to 10 of them.
pub(super) const PARTS: u64 = 10;

impl Circuit {
    /// The calls of this generation in the window; while it is not closed, those that opened it.
    pub fn window(&self, settings: &Settings, now: u64) -> Counts {
        self.window_parts(settings, now).fold(Counts::default(), |sum, (_, counts)| Counts {
            failures: sum.failures.saturating_add(counts.failures),
            successes: sum.successes.saturating_add(counts.successes),
        })
    }

    /// The parts of the window. Parts ahead of this clock were written by others and count.
    pub(super) fn window_parts(&self, settings: &Settings, now: u64) -> impl Iterator<Item = (Place, Counts)> {
        let generation = match self.state {
            State::Closed => self.generation,
            // Nothing is counted now: the newest generation with counts applies, unless an override is newer.
            State::Open | State::HalfOpen => {
                let newest = self.parts.keys().next_back().map(|place| place.generation);
                newest.max(self.last_override.as_ref().map(|last| last.generation)).unwrap_or_default()
            }
        };
        let (current, at) = (part(settings, now), |part| Place { generation, part });
        let window_parts = at((current + 1).saturating_sub(PARTS))..at(current + PARTS);
        self.parts.range(window_parts).map(|(place, counts)| (*place, *counts))
    }

    /// Whether this generation has no counts yet.
    pub(super) fn has_counted_nothing(&self) -> bool {
        self.parts.keys().all(|place| place.generation != self.generation)
    }
}

/// The part of the window that contains `now`.
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
    fn the_window_drops_older_parts_and_includes_parts_ahead_of_this_clock() {
        let settings = settings();
        let current = part(&settings, NOW);
        let at = |part| Circuit { generation: 3, parts: counted(&[3], part), ..Circuit::default() };
        for window_parts in [current - 9, current, current + 9] {
            assert_eq!(at(window_parts).window(&settings, NOW), COUNTS);
        }
        for outside in [current - 10, current + 10, 3 * current] {
            assert_eq!(at(outside).window(&settings, NOW), Counts::default());
        }
        assert_eq!(at(0).window(&settings, 0), COUNTS);
    }

    #[test]
    fn while_closed_only_calls_of_its_generation_count() {
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
    fn while_not_closed_the_last_counts_are_shown() {
        let settings = settings();
        for state in [State::Open, State::HalfOpen] {
            let parts = counted(&[0, 2, 3], part(&settings, NOW));
            let circuit = Circuit { generation: 5, state, parts, ..Circuit::default() };
            assert_eq!(circuit.window(&settings, NOW), COUNTS);
            assert_eq!(
                circuit.window_parts(&settings, NOW).map(|(place, _)| place.generation).collect::<Vec<_>>(),
                [3]
            );
        }
    }
}
