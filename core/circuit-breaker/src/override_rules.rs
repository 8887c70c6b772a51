//! Manual overrides: forcing the breaker open or closed, or resetting it. Pure.
//!
//! An override starts a generation, so earlier results no longer count. It is in force while that generation lasts and
//! its end is not reached. The item keeps the last override as a record.

use super::change::{Change, Condition};
use super::circuit::{Circuit, State};
use super::counters::Place;
use super::overrides::{ACTION, AT, Action, AppliedOverride, BY, GENERATION, Override, UNTIL, WHY};
use super::transition::probing;

impl Circuit {
    /// The override in force.
    pub fn active_override(&self, now: u64) -> Option<&AppliedOverride> {
        let holds = |action: Action| action != Action::Reset && action.until().is_none_or(|until| now < until);
        self.generation_override().filter(|last| holds(last.requested.action))
    }

    /// The override that started this generation.
    pub(super) fn generation_override(&self) -> Option<&AppliedOverride> {
        self.last_override.as_ref().filter(|last| last.generation == self.generation)
    }

    /// Sets an override, if the circuit has not changed since.
    pub(super) fn set_override(&self, requested: &Override, now: u64) -> Change {
        let generation = self.generation.saturating_add(1);
        let state = match requested.action {
            Action::ForceOpen { .. } => State::Open,
            Action::ForceClosed { .. } | Action::Reset => State::Closed,
        };
        let mut set = vec![
            ("gen".to_owned(), generation.into()),
            ("st".into(), state.as_str().into()),
            ("since".into(), now.into()),
            (ACTION.into(), requested.action.as_str().into()),
            (GENERATION.into(), generation.into()),
            (BY.into(), requested.by.as_str().into()),
            (WHY.into(), requested.why.as_str().into()),
            (AT.into(), now.into()),
        ];
        // An older version of this library does not know overrides: without `open_until` it takes the breaker for due,
        // and the condition rejects its probe.
        let mut remove = vec!["open_until".to_owned(), "trips".into()];
        match requested.action.until() {
            Some(until) => set.push((UNTIL.into(), until.into())),
            None => remove.push(UNTIL.into()),
        }
        // Concurrent counts may remain, but belong to the old generation.
        remove.extend(self.parts.keys().flat_map(Place::counters).chain(probing()));
        Change { condition: self.is_unchanged(), set, add: vec![], remove }
    }

    /// Whether the same override is already in force.
    pub(super) fn already_applied(&self, requested: &Override, now: u64) -> bool {
        let last = match requested.action {
            Action::ForceOpen { .. } | Action::ForceClosed { .. } => self.active_override(now),
            Action::Reset => self.generation_override().filter(|_| self.has_counted_nothing()),
        };
        last.is_some_and(|last| last.requested == *requested)
    }

    /// Before the first transition the item has no generation.
    fn is_unchanged(&self) -> Condition {
        match self.generation {
            0 => Condition::Absent("gen".into()),
            generation => Condition::All(vec![
                Condition::Is("gen".into(), generation.into()),
                Condition::Is("st".into(), self.state.as_str().into()),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::change::{Changed, Item, Malformed, Value};
    use super::super::circuit::{Rejected, Step};
    use super::super::counters::Counts;
    use super::super::settings::Settings;
    use super::super::transition::Outcome;
    use super::*;

    const NOW: u64 = 1_800_000_000_000_000;
    const SECOND: u64 = 1_000_000;
    const DAY: u64 = 86_400 * SECOND;

    fn settings() -> Settings {
        "failures=3; calls=3; open=5s; successes=1; ramp=10s".parse().unwrap()
    }

    fn requested(action: Action) -> Override {
        Override { action, by: "admin".into(), why: "the provider answers wrongly".into() }
    }

    fn made(change: &Change, item: &Item) -> Item {
        match change.apply(item.clone()) {
            Changed::Applied(item) => item,
            Changed::ConditionFailed(item) => panic!("{change:?} was refused by {item:?}"),
        }
    }

    fn read(item: &Item) -> Circuit {
        Circuit::read(item).unwrap()
    }

    /// The item after that many failures in a row.
    fn failed(item: &Item, failures: u64, now: u64) -> Item {
        made(&read(item).count_calls(&settings(), now, failures, &BTreeMap::new()), item)
    }

    fn overridden(item: &Item, action: Action, now: u64) -> Item {
        made(&read(item).set_override(&requested(action), now), item)
    }

    /// An item of a circuit that opened without an override.
    fn opened() -> Item {
        let counted = failed(&Item::new(), 3, NOW);
        made(&read(&counted).trip(&settings(), NOW).unwrap(), &counted)
    }

    #[test]
    fn forced_open_rejects_calls_and_probes_until_its_end() {
        for (until, retry_after) in [(None, None), (Some(NOW + DAY), Some(std::time::Duration::from_secs(86_399)))] {
            let item = overridden(&opened(), Action::ForceOpen { until }, NOW);
            let later = NOW + SECOND;
            let rejected = Step::Reject(Rejected::ForcedOpen { retry_after });
            assert_eq!(read(&item).admit(&settings(), later, 7), rejected);
        }
        let endless = overridden(&Item::new(), Action::ForceOpen { until: None }, NOW);
        assert!(matches!(read(&endless).admit(&settings(), NOW + 1_000 * DAY, 7), Step::Reject(_)));
    }

    #[test]
    fn after_the_end_of_forced_open_probes_decide() {
        let until = NOW + DAY;
        let item = overridden(&Item::new(), Action::ForceOpen { until: Some(until) }, NOW);
        let Step::Probe(permit, change) = read(&item).admit(&settings(), until, 7) else { panic!("no probe") };
        assert_eq!(change.apply(item.clone()), Changed::Applied(made(&change, &item)));
        let half = made(&change, &item);
        let won = read(&half).finish_probe(&settings(), permit.probe.unwrap(), Outcome::Success, until + 1);
        let won = made(&won, &half);
        let closed = read(&made(&read(&won).close(&settings(), until + 2).unwrap(), &won));
        assert_eq!((closed.state, closed.generation, closed.active_override(until + 2)), (State::Closed, 2, None));
        let lost = read(&half).finish_probe(&settings(), permit.probe.unwrap(), Outcome::Failure, until + 1);
        let reopened = read(&made(&lost, &half));
        assert_eq!((reopened.trips, reopened.open_until), (1, until + 1 + 5 * SECOND));
        assert_eq!(reopened.active_override(NOW), None, "not even by a slow clock");
    }

    #[test]
    fn a_probe_by_a_version_without_overrides_fails_its_condition() {
        let item = overridden(&Item::new(), Action::ForceOpen { until: Some(NOW + DAY) }, NOW);
        let mut without_override = read(&item);
        without_override.last_override = None;
        // An older version does not know overrides: it sees an open breaker that is due.
        let Step::Probe(_, change) = without_override.admit(&settings(), NOW + SECOND, 7) else { panic!("no probe") };
        assert_eq!(change.apply(item.clone()), Changed::ConditionFailed(item));
    }

    #[test]
    fn forced_closed_counts_failures_and_stays_closed_until_its_end() {
        let until = NOW + 10 * SECOND;
        let item = overridden(&opened(), Action::ForceClosed { until: Some(until) }, NOW);
        assert!(matches!(read(&item).admit(&settings(), NOW, u64::MAX), Step::Admit(_)), "without a ramp");
        let failed = failed(&item, 100, NOW + SECOND);
        let circuit = read(&failed);
        assert_eq!(circuit.window(&settings(), NOW + SECOND).failures, 100);
        assert_eq!(circuit.trip(&settings(), NOW + SECOND), None);
        assert!(circuit.trip(&settings(), until).is_some(), "it follows its own rules again");
    }

    #[test]
    fn a_reset_closes_it_with_an_empty_window_and_without_a_ramp() {
        let half = {
            let open = opened();
            let Step::Probe(_, change) = read(&open).admit(&settings(), NOW + 5 * SECOND, 7) else { panic!() };
            made(&change, &open)
        };
        let counted = failed(&Item::new(), 2, NOW);
        let forced = overridden(&Item::new(), Action::ForceOpen { until: None }, NOW);
        for item in [Item::new(), counted, opened(), half, forced] {
            let circuit = read(&overridden(&item, Action::Reset, NOW + 6 * SECOND));
            assert_eq!((circuit.state, circuit.generation), (State::Closed, read(&item).generation + 1));
            assert!(
                circuit.parts.is_empty()
                    && circuit.slots.is_empty()
                    && circuit.trips == 0
                    && circuit.probe_successes == 0
            );
            assert_eq!(circuit.active_override(NOW + 6 * SECOND), None);
            assert!(matches!(circuit.admit(&settings(), NOW + 6 * SECOND, u64::MAX), Step::Admit(_)));
        }
    }

    #[test]
    fn counts_from_before_an_override_never_count_after_it() {
        for action in [Action::Reset, Action::ForceClosed { until: Some(NOW + SECOND) }] {
            for late in [0, SECOND, 11 * SECOND, 60 * SECOND, DAY] {
                let before = overridden(&Item::new(), Action::Reset, NOW);
                let change = read(&before).set_override(&requested(action), NOW);
                // Meanwhile others count, in parts of the window that are not seen here.
                let item = made(&change, &failed(&before, 5, NOW + late));
                let counted = |item| read(item).window(&settings(), NOW + late).failures;
                assert_eq!(counted(&item), 0, "{late} µs late: {item:?}");
                assert!(read(&item).already_applied(&requested(action), NOW), "{late} µs late");
                let next = failed(&item, 1, NOW + late);
                assert_eq!((counted(&next), read(&next).trip(&settings(), NOW + late)), (1, None));
                assert_eq!(read(&next).parts.len(), 1, "obsolete counters are removed: {next:?}");
            }
        }
    }

    #[test]
    fn counts_from_before_forced_open_are_hidden_and_removed_when_it_closes() {
        let late = NOW + 60 * SECOND;
        let seen = |item: &Item| read(item).window(&settings(), late);
        let change = read(&Item::new()).set_override(&requested(Action::ForceOpen { until: Some(late) }), NOW);
        let forced = made(&change, &failed(&Item::new(), 5, late));
        let Step::Probe(permit, slot) = read(&forced).admit(&settings(), late, 7) else { panic!("no probe") };
        let half = made(&slot, &forced);
        let finish_probe =
            |outcome| made(&read(&half).finish_probe(&settings(), permit.probe.unwrap(), outcome, late), &half);
        let (reopened, won) = (finish_probe(Outcome::Failure), finish_probe(Outcome::Success));
        let closed = made(&read(&won).close(&settings(), late).unwrap(), &won);
        for item in [&forced, &half, &reopened, &closed] {
            assert_eq!(seen(item), Counts::default(), "{item:?}");
        }
        assert!(read(&closed).parts.is_empty());
    }

    #[test]
    fn changes_decided_before_an_override_are_rejected_after_it() {
        let counted = failed(&Item::new(), 3, NOW);
        let trip = read(&counted).trip(&settings(), NOW).unwrap();
        let open = opened();
        let Step::Probe(permit, slot) = read(&open).admit(&settings(), NOW + 5 * SECOND, 7) else { panic!() };
        let half = made(&slot, &open);
        let late = read(&half).finish_probe(&settings(), permit.probe.unwrap(), Outcome::Success, NOW);
        let actions = [Action::Reset, Action::ForceOpen { until: None }, Action::ForceClosed { until: None }];
        for (before, change) in [(&counted, trip), (&open, slot), (&half, late)] {
            for action in actions {
                let item = overridden(before, action, NOW + 6 * SECOND);
                assert_eq!(change.apply(item.clone()), Changed::ConditionFailed(item));
            }
        }
        // Of two concurrent overrides, one is retried.
        let requested = read(&open).set_override(&requested(Action::Reset), NOW);
        let after = made(&requested, &open);
        assert_eq!(requested.apply(after.clone()), Changed::ConditionFailed(after));
    }

    #[test]
    fn an_override_is_stored_with_its_author_and_reason_and_is_idempotent() {
        let until = Some(NOW + DAY);
        let item = overridden(&opened(), Action::ForceOpen { until }, NOW);
        let circuit = read(&item);
        let kept = AppliedOverride { requested: requested(Action::ForceOpen { until }), at: NOW, generation: 2 };
        assert_eq!(circuit.last_override, Some(kept.clone()));
        assert_eq!(circuit.active_override(NOW), Some(&kept));
        assert!(circuit.already_applied(&kept.requested, NOW) && !circuit.already_applied(&kept.requested, NOW + DAY));
        assert!(!circuit.already_applied(&requested(Action::ForceOpen { until: None }), NOW));
        assert!(!circuit.already_applied(&Override { by: "another".into(), ..kept.requested.clone() }, NOW));
        let reset = read(&overridden(&item, Action::Reset, NOW + SECOND));
        assert_eq!(
            reset.last_override.clone().unwrap().requested.action,
            Action::Reset,
            "the record outlives the override"
        );
        assert!(reset.already_applied(&requested(Action::Reset), NOW + SECOND));
        let counted = read(&failed(&overridden(&item, Action::Reset, NOW), 1, NOW));
        assert!(!counted.already_applied(&requested(Action::Reset), NOW), "a reset empties the window");
    }

    #[test]
    fn a_malformed_override_names_its_attribute() {
        let item = overridden(&Item::new(), Action::ForceOpen { until: Some(NOW) }, NOW);
        for (name, value) in [("manual", "ajar".into()), ("manual", Value::Number(1)), ("manual_until", "soon".into())]
        {
            let mut item = item.clone();
            item.insert(name.to_owned(), value);
            assert_eq!(Circuit::read(&item), Err(Malformed(name.to_owned())));
        }
    }
}
