//! The changes of a circuit, with their conditions. Pure.
//!
//! Every condition names the generation that the change was decided on, and every opening and closing raises it. So a
//! late or repeated change does not hold. A probe's result also names its token.

use std::collections::BTreeMap;

use super::change::{Change, Condition, Value};
use super::circuit::{Circuit, Lease, State, latest_valid, micros};
use super::counters::Place;
use super::overrides::{Action, UNTIL};
use super::settings::{MAX_PROBES, Settings};
use super::window::{PARTS, part};

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The callee succeeded.
    Success,
    /// The callee failed or was too slow.
    Failure,
    /// The caller made a mistake, which says nothing about the callee.
    Ignored,
}

impl Circuit {
    /// Counts failures, and successes by their part of the window, while the circuit is closed.
    pub(super) fn count_calls(
        &self,
        settings: &Settings,
        now: u64,
        failures: u64,
        successes: &BTreeMap<u64, u64>,
    ) -> Change {
        let current = part(settings, now);
        let kept = current.saturating_sub(2 * PARTS)..=current + 2 * PARTS;
        let at = |part| Place { generation: self.generation, part };
        let successes = successes.iter().filter(|(part, _)| kept.contains(part));
        let mut add: Vec<_> = successes.map(|(part, count)| (at(*part).successes(), *count)).collect();
        if failures > 0 {
            add.push((at(current).failures(), failures));
        }
        let lasts = |place: &Place| place.generation == self.generation && kept.contains(&place.part);
        let stale = self.parts.keys().filter(|place| !lasts(place));
        Change { condition: self.is_closed(), set: vec![], add, remove: stale.flat_map(Place::counters).collect() }
    }

    /// Opens the circuit, if it is closed and the window exceeds the thresholds.
    pub(super) fn trip(&self, settings: &Settings, now: u64) -> Option<Change> {
        let window = self.window(settings, now);
        let calls = window.failures.saturating_add(window.successes);
        let held =
            self.active_override(now).is_some_and(|held| matches!(held.requested.action, Action::ForceClosed { .. }));
        let tripped = self.state == State::Closed
            && !held
            && window.failures >= settings.failures
            && calls >= settings.calls
            && u128::from(window.failures) * 100 >= u128::from(calls) * u128::from(settings.ratio);
        // After this long it has recovered: the next opening counts as the first in a row.
        let recovered = now.saturating_sub(self.since) >= micros(settings.ramp + settings.window);
        let trips = if recovered { 1 } else { self.trips.saturating_add(1) };
        // The request may be delayed: the failures must still be there, not removed as too old.
        let failures = self.window_parts(settings, now).filter(|(_, counts)| counts.failures > 0);
        let there = failures.map(|(place, counts)| Condition::Above(place.failures(), counts.failures - 1));
        let conditions = [self.is_closed()].into_iter().chain(there).collect();
        tripped.then(|| self.opening(Condition::All(conditions), trips, settings, now))
    }

    /// Takes a probe slot, if probes are due and the slot is free.
    pub(super) fn take_slot(&self, settings: &Settings, lease: Lease, now: u64) -> Change {
        let over = |name: &str| Condition::Below(name.into(), now.saturating_add(1));
        let due = match self.generation_override() {
            // An override ends only at its own end, however late.
            Some(_) => over(UNTIL),
            None => {
                let impossible = Condition::Above("open_until".into(), latest_valid(settings.open_max, now));
                Condition::Any(vec![over("open_until"), impossible])
            }
        };
        let free = Condition::Any(vec![
            Condition::Absent(slot(lease.slot)),
            Condition::Below(slot(lease.slot), now),
            Condition::Above(slot(lease.slot), latest_valid(settings.lease, now)),
        ]);
        let mut set = vec![(slot(lease.slot), Value::Number(lease.token))];
        let mut conditions = vec![self.same_generation(), is(self.state), free];
        // One probe makes it half-open. Another that saw it open fails the condition and reads again.
        if self.state == State::Open {
            set.push(("st".into(), State::HalfOpen.as_str().into()));
            conditions.push(due);
        }
        Change { condition: Condition::All(conditions), set, add: vec![], remove: vec![] }
    }

    /// Records a probe's outcome and frees its slot.
    pub(super) fn finish_probe(&self, settings: &Settings, lease: Lease, outcome: Outcome, now: u64) -> Change {
        let fence = Condition::Is(slot(lease.slot), Value::Number(lease.token));
        let condition = Condition::All(vec![self.same_generation(), is(State::HalfOpen), fence]);
        let add = match outcome {
            Outcome::Failure => return self.opening(condition, self.trips.saturating_add(1), settings, now),
            Outcome::Success => vec![("wins".into(), 1)],
            Outcome::Ignored => vec![],
        };
        Change { condition, set: vec![], add, remove: vec![slot(lease.slot)] }
    }

    /// Closes the circuit, if it is half-open and enough probes have succeeded. Removes the counters of all earlier
    /// generations; nothing is counted while it is not closed.
    pub(super) fn close(&self, settings: &Settings, now: u64) -> Option<Change> {
        let closes = self.state == State::HalfOpen && self.probe_successes >= settings.successes;
        let enough = Condition::Above("wins".into(), settings.successes - 1);
        closes.then(|| Change {
            condition: Condition::All(vec![self.same_generation(), is(State::HalfOpen), enough]),
            set: vec![
                ("gen".into(), Value::Number(self.generation.saturating_add(1))),
                ("st".into(), State::Closed.as_str().into()),
                ("since".into(), Value::Number(now)),
            ],
            add: vec![],
            remove: self.parts.keys().flat_map(Place::counters).chain(probing()).collect(),
        })
    }

    fn opening(&self, condition: Condition, trips: u64, settings: &Settings, now: u64) -> Change {
        let doublings = u32::try_from(trips.saturating_sub(1)).unwrap_or(u32::MAX);
        let open = settings.open.saturating_mul(2_u32.saturating_pow(doublings)).min(settings.open_max);
        Change {
            condition,
            set: vec![
                ("gen".into(), Value::Number(self.generation.saturating_add(1))),
                ("st".into(), State::Open.as_str().into()),
                ("since".into(), Value::Number(now)),
                ("open_until".into(), Value::Number(now.saturating_add(micros(open)))),
                ("trips".into(), Value::Number(trips)),
            ],
            add: vec![],
            remove: probing().collect(),
        }
    }

    /// Before the first transition the item has no generation.
    fn is_closed(&self) -> Condition {
        match self.generation {
            0 => Condition::Absent("gen".into()),
            _ => Condition::All(vec![self.same_generation(), is(State::Closed)]),
        }
    }

    fn same_generation(&self) -> Condition {
        Condition::Is("gen".into(), Value::Number(self.generation))
    }
}

fn is(state: State) -> Condition {
    Condition::Is("st".into(), state.as_str().into())
}

fn slot(slot: u64) -> String {
    format!("p{slot}")
}

/// The attributes of a half-open circuit.
pub(super) fn probing() -> impl Iterator<Item = String> {
    (0..MAX_PROBES).map(slot).chain(["wins".to_owned()])
}

#[cfg(test)]
mod tests {
    use super::super::change::{Changed, Item};
    use super::super::circuit::Step;
    use super::super::counters::Counts;
    use super::*;

    const NOW: u64 = 1_800_000_000_000_000;
    const SECOND: u64 = 1_000_000;

    fn settings(text: &str) -> Settings {
        text.parse().unwrap()
    }

    fn made(change: &Change, item: &Item) -> Item {
        match change.apply(item.clone()) {
            Changed::Applied(item) => item,
            Changed::ConditionFailed(item) => panic!("{change:?} was refused by {item:?}"),
        }
    }

    fn refused(change: &Change, item: &Item) -> bool {
        change.apply(item.clone()) == Changed::ConditionFailed(item.clone())
    }

    fn place(generation: u64, part: u64) -> Place {
        Place { generation, part }
    }

    fn read(item: &Item) -> Circuit {
        Circuit::read(item).unwrap()
    }

    /// An item that has just opened.
    fn opened(settings: &Settings) -> Item {
        let counted =
            made(&Circuit::default().count_calls(settings, NOW, settings.failures, &BTreeMap::new()), &Item::new());
        made(&read(&counted).trip(settings, NOW).unwrap(), &counted)
    }

    /// The item after another probe took its slot.
    fn probe(settings: &Settings, item: &Item, now: u64) -> (Item, Lease) {
        let Step::Probe(permit, change) = read(item).admit(settings, now, now) else { panic!("no slot is free") };
        (made(&change, item), permit.probe.unwrap())
    }

    #[test]
    fn it_opens_at_the_thresholds_of_failures_calls_and_ratio() {
        let settings = settings("failures=3; calls=5; ratio=50%");
        let opens = |failures, successes| {
            let parts = BTreeMap::from([(place(0, part(&settings, NOW)), Counts { failures, successes })]);
            Circuit { parts, ..Circuit::default() }.trip(&settings, NOW).is_some()
        };
        assert!(opens(3, 2) && opens(3, 3) && opens(5, 0));
        assert!(!opens(2, 3), "too few failures");
        assert!(!opens(3, 1), "too few calls");
        assert!(!opens(3, 4), "too low a ratio");
        assert!(opens(u64::MAX, u64::MAX) && !opens(3, u64::MAX));
    }

    #[test]
    fn successes_are_counted_in_their_part_and_old_counters_removed() {
        let settings = settings("window=10s");
        let current = part(&settings, NOW);
        let old = Counts { failures: 1, successes: 1 };
        let (older, oldest, kept) = (place(2, current), place(3, current - 21), place(3, current - 20));
        let parts = BTreeMap::from([(older, old), (oldest, old), (kept, old)]);
        let circuit = Circuit { generation: 3, parts, ..Circuit::default() };
        let successes = BTreeMap::from([(current - 21, 9), (current - 3, 2), (current, 4)]);
        let change = circuit.count_calls(&settings, NOW, 1, &successes);
        let name = |letter, part| format!("{letter}3_{part}");
        assert_eq!(change.add, [(name("k", current - 3), 2), (name("k", current), 4), (name("f", current), 1)]);
        assert_eq!(change.remove, [older.counters(), oldest.counters()].concat());
    }

    #[test]
    fn only_one_of_many_concurrent_changes_opens_it() {
        let settings = Settings::default();
        let counted = made(&Circuit::default().count_calls(&settings, NOW, 5, &BTreeMap::new()), &Item::new());
        let change = read(&counted).trip(&settings, NOW).unwrap();
        let opened = made(&change, &counted);
        assert!(refused(&change, &opened));
        let circuit = read(&opened);
        assert_eq!((circuit.generation, circuit.state, circuit.open_until), (1, State::Open, NOW + 5 * SECOND));
    }

    #[test]
    fn a_delayed_change_does_not_open_it_once_its_failures_are_removed() {
        let settings = Settings::default();
        let mut item = made(&Circuit::default().count_calls(&settings, NOW, 5, &BTreeMap::new()), &Item::new());
        let change = read(&item).trip(&settings, NOW).unwrap();
        item.remove(&place(0, part(&settings, NOW)).failures()).unwrap();
        assert!(refused(&change, &item));
    }

    #[test]
    fn enough_probes_close_it_and_the_next_generation_counts_from_zero() {
        let settings = settings("successes=2");
        let mut item = opened(&settings);
        for probe_successes in [1, 2] {
            assert_eq!(read(&item).close(&settings, NOW), None);
            let (probing, lease) = probe(&settings, &item, NOW + 5 * SECOND);
            item = made(&read(&probing).finish_probe(&settings, lease, Outcome::Success, NOW + 6 * SECOND), &probing);
            assert_eq!(read(&item).probe_successes, probe_successes);
        }
        let item = made(&read(&item).close(&settings, NOW + 6 * SECOND).unwrap(), &item);
        let (generation, since, open_until) = (2, NOW + 6 * SECOND, NOW + 5 * SECOND);
        let closed = Circuit { generation, since, open_until, trips: 1, ..Circuit::default() };
        assert_eq!(read(&item), closed);
    }

    #[test]
    fn counts_concurrent_with_a_delayed_change_open_it_only_once() {
        let settings = settings("successes=1");
        for late in [SECOND, 60 * SECOND, 3_600 * SECOND] {
            let seen = made(&Circuit::default().count_calls(&settings, NOW, 5, &BTreeMap::new()), &Item::new());
            let trip = read(&seen).trip(&settings, NOW).unwrap();
            let counted = made(&Circuit::default().count_calls(&settings, NOW + late, 9, &BTreeMap::new()), &seen);
            let (half, lease) = probe(&settings, &made(&trip, &counted), NOW + 5 * SECOND);
            let won = made(&read(&half).finish_probe(&settings, lease, Outcome::Success, NOW + 6 * SECOND), &half);
            let closed = read(&made(&read(&won).close(&settings, NOW + 6 * SECOND).unwrap(), &won));
            assert_eq!((closed.parts.len(), closed.trip(&settings, NOW + late)), (0, None));
        }
    }

    #[test]
    fn one_failed_probe_reopens_it_for_longer() {
        let settings = settings("open=5s; open-max=15s");
        let mut item = opened(&settings);
        let mut now = NOW;
        for (generation, seconds) in [(2, 10), (3, 15), (4, 15)] {
            now = read(&item).open_until;
            let (probing, lease) = probe(&settings, &item, now);
            item = made(&read(&probing).finish_probe(&settings, lease, Outcome::Failure, now), &probing);
            let circuit = read(&item);
            assert_eq!((circuit.generation, circuit.state), (generation, State::Open));
            assert_eq!(circuit.open_until, now + seconds * SECOND);
            assert!(circuit.slots.is_empty());
        }
        let longest = Circuit { trips: u64::MAX, state: State::HalfOpen, ..Circuit::default() };
        let change = longest.finish_probe(&settings, Lease { slot: 0, token: 1 }, Outcome::Failure, now);
        assert!(change.set.contains(&("open_until".into(), Value::Number(now + 15 * SECOND))));
    }

    #[test]
    fn reopening_lasts_longer_unless_it_had_recovered() {
        let settings = settings("ramp=10s; window=20s");
        let trips = |seconds| {
            let now = NOW + seconds * SECOND;
            let parts = BTreeMap::from([(place(2, part(&settings, now)), Counts { failures: 5, successes: 0 })]);
            let closed = Circuit { generation: 2, since: NOW, trips: 3, parts, ..Circuit::default() };
            closed.trip(&settings, now).unwrap().set.into_iter().find(|(name, _)| name == "trips").unwrap().1
        };
        assert_eq!(trips(29), Value::Number(4));
        assert_eq!(trips(30), Value::Number(1));
    }

    #[test]
    fn a_probe_that_lost_its_slot_or_generation_is_ignored() {
        let settings = settings("lease=1s");
        let (half, late) = probe(&settings, &opened(&settings), NOW + 5 * SECOND);
        let (half, lease) = probe(&settings, &half, NOW + 7 * SECOND);
        assert_eq!(late.slot, lease.slot);
        for outcome in [Outcome::Success, Outcome::Failure, Outcome::Ignored] {
            assert!(refused(&read(&half).finish_probe(&settings, late, outcome, NOW), &half));
        }
        let reopened = made(&read(&half).finish_probe(&settings, lease, Outcome::Failure, NOW + 8 * SECOND), &half);
        let (again, _) = probe(&settings, &reopened, NOW + 60 * SECOND);
        assert!(refused(&read(&half).finish_probe(&settings, lease, Outcome::Success, NOW), &again));
    }

    #[test]
    fn a_probe_that_failed_by_the_caller_only_frees_its_slot() {
        let settings = Settings::default();
        let (half, lease) = probe(&settings, &opened(&settings), NOW + 5 * SECOND);
        let after = read(&made(&read(&half).finish_probe(&settings, lease, Outcome::Ignored, NOW), &half));
        assert_eq!((after.state, after.probe_successes, after.slots.len()), (State::HalfOpen, 0, 0));
    }

    #[test]
    fn nothing_is_counted_while_it_is_open() {
        let settings = Settings::default();
        let opened = opened(&settings);
        assert!(refused(&Circuit::default().count_calls(&settings, NOW, 1, &BTreeMap::new()), &opened));
        assert!(refused(&read(&opened).count_calls(&settings, NOW, 1, &BTreeMap::new()), &opened));
    }
}
