//! Holding the breaker open or closed by hand, or starting it anew. Pure.
//!
//! An order begins a generation of its own, so whatever was on its way before it changes nothing, and it is in force
//! while that generation lasts and its time is not over. The item keeps the last order as its record.

use super::change::{Change, Guard};
use super::circuit::{Circuit, State};
use super::counters::Place;
use super::intervention::{ACTION, AT, Action, BY, GENERATION, AppliedOverride, Order, UNTIL, WHY};
use super::transition::probing;

impl Circuit {
    /// The order that holds the breaker now, if one does.
    pub fn held(&self, now: u64) -> Option<&AppliedOverride> {
        let holds = |action: Action| action != Action::Reset && action.until().is_none_or(|until| now < until);
        self.began_by_hand().filter(|last| holds(last.requested.action))
    }

    /// The order that this generation began with.
    pub(super) fn began_by_hand(&self) -> Option<&AppliedOverride> {
        self.last_override.as_ref().filter(|last| last.generation == self.generation)
    }

    /// Carries an order out, if the breaker is still as it is here.
    pub(super) fn order(&self, order: &Order, now: u64) -> Change {
        let generation = self.generation.saturating_add(1);
        let state = match order.action {
            Action::ForceOpen { .. } => State::Open,
            Action::ForceClosed { .. } | Action::Reset => State::Closed,
        };
        let mut set = vec![
            ("gen".to_owned(), generation.into()),
            ("st".into(), state.word().into()),
            ("since".into(), now.into()),
            (ACTION.into(), order.action.word().into()),
            (GENERATION.into(), generation.into()),
            (BY.into(), order.by.as_str().into()),
            (WHY.into(), order.why.as_str().into()),
            (AT.into(), now.into()),
        ];
        // A container of an older program knows nothing of orders: without a time it takes an open breaker for one
        // that is due, and its probe is refused by the guard.
        let mut remove = vec!["open_until".to_owned(), "trips".into()];
        match order.action.until() {
            Some(until) => set.push((UNTIL.into(), until.into())),
            None => remove.push(UNTIL.into()),
        }
        // What others count at this moment may stay, but is of the generation that ends.
        remove.extend(self.parts.keys().flat_map(Place::counters).chain(probing()));
        Change { guard: self.is_unchanged(), set, add: vec![], remove }
    }

    /// Whether it is already as this order would have it, by the same order.
    pub(super) fn obeys(&self, order: &Order, now: u64) -> bool {
        let last = match order.action {
            Action::ForceOpen { .. } | Action::ForceClosed { .. } => self.active_override(now),
            Action::Reset => self.began_by_hand().filter(|_| self.has_counted_nothing()),
        };
        last.is_some_and(|last| last.order == *order)
    }

    /// A breaker that never changed has no generation in its item.
    fn is_unchanged(&self) -> Guard {
        match self.generation {
            0 => Guard::Absent("gen".into()),
            generation => Guard::All(vec![
                Guard::Is("gen".into(), generation.into()),
                Guard::Is("st".into(), self.state.word().into()),
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

    fn order(action: Action) -> Order {
        Order { action, by: "admin".into(), why: "the provider answers wrongly".into() }
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

    /// The item after so many failures in a row.
    fn failed(item: &Item, failures: u64, now: u64) -> Item {
        made(&read(item).count(&settings(), now, failures, &BTreeMap::new()), item)
    }

    fn ordered(item: &Item, action: Action, now: u64) -> Item {
        made(&read(item).set_override(&order(action), now), item)
    }

    /// An item that has opened by itself.
    fn opened() -> Item {
        let counted = failed(&Item::new(), 3, NOW);
        made(&read(&counted).trip(&settings(), NOW).unwrap(), &counted)
    }

    #[test]
    fn what_is_forced_open_lets_nothing_pass_and_nothing_probe_until_its_end() {
        for (until, retry_after) in [(None, None), (Some(NOW + DAY), Some(std::time::Duration::from_secs(86_399)))] {
            let item = ordered(&opened(), Action::ForceOpen { until }, NOW);
            let later = NOW + SECOND;
            let rejected = Step::Reject(Rejected::ForcedOpen { retry_after });
            assert_eq!(read(&item).admit(&settings(), later, 7), rejected);
        }
        let endless = ordered(&Item::new(), Action::ForceOpen { until: None }, NOW);
        assert!(matches!(read(&endless).admit(&settings(), NOW + 1_000 * DAY, 7), Step::Reject(_)));
    }

    #[test]
    fn after_the_end_of_what_is_forced_open_probes_decide() {
        let until = NOW + DAY;
        let item = ordered(&Item::new(), Action::ForceOpen { until: Some(until) }, NOW);
        let Step::Probe(permit, change) = read(&item).admit(&settings(), until, 7) else { panic!("no probe") };
        assert_eq!(change.apply(item.clone()), Changed::Applied(made(&change, &item)));
        let half = made(&change, &item);
        let won = read(&half).probed(&settings(), permit.probe.unwrap(), Outcome::Success, until + 1);
        let won = made(&won, &half);
        let closed = read(&made(&read(&won).close(&settings(), until + 2).unwrap(), &won));
        assert_eq!((closed.state, closed.generation, closed.active_override(until + 2)), (State::Closed, 2, None));
        let lost = read(&half).probed(&settings(), permit.probe.unwrap(), Outcome::Failure, until + 1);
        let reopened = read(&made(&lost, &half));
        assert_eq!((reopened.trips, reopened.open_until), (1, until + 1 + 5 * SECOND));
        assert_eq!(reopened.active_override(NOW), None, "not even by a clock that is behind");
    }

    #[test]
    fn a_probe_that_a_fast_clock_sends_early_is_refused_by_the_table_of_a_slow_one_only_by_time() {
        let item = ordered(&Item::new(), Action::ForceOpen { until: Some(NOW + DAY) }, NOW);
        let mut unheld = read(&item);
        unheld.last_override = None;
        // An older program does not know of orders: to it the breaker is open, and its time is over.
        let Step::Probe(_, change) = unheld.admit(&settings(), NOW + SECOND, 7) else { panic!("no probe") };
        assert_eq!(change.apply(item.clone()), Changed::ConditionFailed(item));
    }

    #[test]
    fn what_is_forced_closed_counts_failures_and_stays_closed_until_its_end() {
        let until = NOW + 10 * SECOND;
        let item = ordered(&opened(), Action::ForceClosed { until: Some(until) }, NOW);
        assert!(matches!(read(&item).admit(&settings(), NOW, u64::MAX), Step::Admit(_)), "without a ramp");
        let failed = failed(&item, 100, NOW + SECOND);
        let circuit = read(&failed);
        assert_eq!(circuit.window(&settings(), NOW + SECOND).failures, 100);
        assert_eq!(circuit.trip(&settings(), NOW + SECOND), None);
        assert!(circuit.trip(&settings(), until).is_some(), "it lives by its own rules again");
    }

    #[test]
    fn a_reset_closes_it_with_an_empty_window_and_without_a_ramp() {
        let half = {
            let open = opened();
            let Step::Probe(_, change) = read(&open).admit(&settings(), NOW + 5 * SECOND, 7) else { panic!() };
            made(&change, &open)
        };
        let counted = failed(&Item::new(), 2, NOW);
        let forced = ordered(&Item::new(), Action::ForceOpen { until: None }, NOW);
        for item in [Item::new(), counted, opened(), half, forced] {
            let circuit = read(&ordered(&item, Action::Reset, NOW + 6 * SECOND));
            assert_eq!((circuit.state, circuit.generation), (State::Closed, read(&item).generation + 1));
            assert!(circuit.parts.is_empty() && circuit.slots.is_empty() && circuit.trips == 0 && circuit.probe_successes == 0);
            assert_eq!(circuit.active_override(NOW + 6 * SECOND), None);
            assert!(matches!(circuit.admit(&settings(), NOW + 6 * SECOND, u64::MAX), Step::Admit(_)));
        }
    }

    #[test]
    fn what_was_counted_before_an_order_does_not_count_after_it_however_late_it_arrives() {
        for action in [Action::Reset, Action::ForceClosed { until: Some(NOW + SECOND) }] {
            for late in [0, SECOND, 11 * SECOND, 60 * SECOND, DAY] {
                let before = ordered(&Item::new(), Action::Reset, NOW);
                let change = read(&before).set_override(&order(action), NOW);
                // Meanwhile others count, in parts of the window that are not seen here.
                let item = made(&change, &failed(&before, 5, NOW + late));
                let counted = |item| read(item).window(&settings(), NOW + late).failures;
                assert_eq!(counted(&item), 0, "{late} µs late: {item:?}");
                assert!(read(&item).obeys(&order(action), NOW), "{late} µs late");
                let next = failed(&item, 1, NOW + late);
                assert_eq!((counted(&next), read(&next).trip(&settings(), NOW + late)), (1, None));
                assert_eq!(read(&next).parts.len(), 1, "what does not count any more is not kept: {next:?}");
            }
        }
    }

    #[test]
    fn what_was_counted_before_it_was_forced_open_is_not_seen_while_it_is_open_and_goes_when_it_closes() {
        let late = NOW + 60 * SECOND;
        let seen = |item: &Item| read(item).window(&settings(), late);
        let change = read(&Item::new()).set_override(&order(Action::ForceOpen { until: Some(late) }), NOW);
        let forced = made(&change, &failed(&Item::new(), 5, late));
        let Step::Probe(permit, slot) = read(&forced).admit(&settings(), late, 7) else { panic!("no probe") };
        let half = made(&slot, &forced);
        let probed = |outcome| made(&read(&half).probed(&settings(), permit.probe.unwrap(), outcome, late), &half);
        let (reopened, won) = (probed(Outcome::Failure), probed(Outcome::Success));
        let closed = made(&read(&won).close(&settings(), late).unwrap(), &won);
        for item in [&forced, &half, &reopened, &closed] {
            assert_eq!(seen(item), Counts::default(), "{item:?}");
        }
        assert!(read(&closed).parts.is_empty());
    }

    #[test]
    fn what_was_decided_before_an_order_changes_nothing_after_it() {
        let counted = failed(&Item::new(), 3, NOW);
        let trip = read(&counted).trip(&settings(), NOW).unwrap();
        let open = opened();
        let Step::Probe(permit, slot) = read(&open).admit(&settings(), NOW + 5 * SECOND, 7) else { panic!() };
        let half = made(&slot, &open);
        let late = read(&half).probed(&settings(), permit.probe.unwrap(), Outcome::Success, NOW);
        let actions = [Action::Reset, Action::ForceOpen { until: None }, Action::ForceClosed { until: None }];
        for (before, change) in [(&counted, trip), (&open, slot), (&half, late)] {
            for action in actions {
                let item = ordered(before, action, NOW + 6 * SECOND);
                assert_eq!(change.apply(item.clone()), Changed::ConditionFailed(item));
            }
        }
        // And of two orders that were given at once, one is given again.
        let order = read(&open).set_override(&order(Action::Reset), NOW);
        let after = made(&order, &open);
        assert_eq!(order.apply(after.clone()), Changed::ConditionFailed(after));
    }

    #[test]
    fn an_order_is_kept_with_who_and_why_and_the_same_order_is_obeyed_already() {
        let until = Some(NOW + DAY);
        let item = ordered(&opened(), Action::ForceOpen { until }, NOW);
        let circuit = read(&item);
        let kept = AppliedOverride { order: order(Action::ForceOpen { until }), at: NOW, generation: 2 };
        assert_eq!(circuit.last_override, Some(kept.clone()));
        assert_eq!(circuit.active_override(NOW), Some(&kept));
        assert!(circuit.obeys(&kept.order, NOW) && !circuit.obeys(&kept.order, NOW + DAY));
        assert!(!circuit.obeys(&order(Action::ForceOpen { until: None }), NOW));
        assert!(!circuit.obeys(&Order { by: "another".into(), ..kept.order.clone() }, NOW));
        let reset = read(&ordered(&item, Action::Reset, NOW + SECOND));
        assert_eq!(
            reset.last_override.clone().unwrap().requested.action,
            Action::Reset,
            "the record outlives what it orders"
        );
        assert!(reset.obeys(&order(Action::Reset), NOW + SECOND));
        let counted = read(&failed(&ordered(&item, Action::Reset, NOW), 1, NOW));
        assert!(!counted.obeys(&order(Action::Reset), NOW), "a reset empties the window");
    }

    #[test]
    fn an_order_that_cannot_be_read_is_named() {
        let item = ordered(&Item::new(), Action::ForceOpen { until: Some(NOW) }, NOW);
        for (name, value) in [("manual", "ajar".into()), ("manual", Value::Number(1)), ("manual_until", "soon".into())]
        {
            let mut item = item.clone();
            item.insert(name.to_owned(), value);
            assert_eq!(Circuit::read(&item), Err(Malformed(name.to_owned())));
        }
    }
}
