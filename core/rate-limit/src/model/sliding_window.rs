//! Tests of the sliding window against an exact log.

use std::sync::Arc;

use fastrand::Rng;

use super::super::algorithm::{Algorithm, Item, Step, Update};
use super::super::decision::Micros;
use super::super::sliding_window::SlidingWindow;
use super::{Broken, Trace, assert_caught, assert_holds, expression, world};
use world::Conditions;

#[derive(Clone, Copy, Debug)]
struct Case {
    limit: u32,
    window: Micros,
    parts: u32,
    conditions: Conditions,
}

impl Case {
    fn sound(&self) -> SlidingWindow {
        SlidingWindow::new(self.limit, self.window, self.parts)
    }

    fn part(&self) -> Micros {
        self.window / Micros::from(self.parts)
    }

    /// No window is exceeded, and nothing is rejected that an exact log over one more sub-window would admit.
    fn holds(&self, trace: &Trace) -> Result<(), String> {
        let error = 2 * trace.error();
        for (place, event) in trace.events.iter().enumerate() {
            let within = |span: Micros| {
                let before = trace.events[..place].iter().filter(|other| other.admitted && other.at > event.at - span);
                before.map(|other| other.cost).sum::<u32>() + event.cost
            };
            if event.admitted && within(self.window - error) > self.limit {
                return Err(format!("{} units with {event:?}", within(self.window - error)));
            }
            if !event.admitted && within(self.window + self.part() + error) <= self.limit {
                return Err(format!("{event:?} rejected without reason"));
            }
        }
        Ok(())
    }
}

impl super::Case for Case {
    fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(!seed);
        let window = [1_000_000, 1_000_003, 59, 60_000_000][rng.usize(..4)];
        let parts = [10, 20, 60][rng.usize(..3)].min(u32::try_from(window).unwrap_or(10));
        let part = window / Micros::from(parts);
        let conditions = Conditions {
            skew: [0, 0, part / 3, part * 2, window / 3][rng.usize(..5)],
            delays: rng.bool(),
            lost: [0, 0, 10, 40][rng.usize(..4)],
            crashes: rng.bool(),
            counts_rejected: false,
        };
        Self { limit: rng.u32(1..=12), window, parts, conditions }
    }

    fn run(&self, algorithm: &Arc<dyn Algorithm>, seed: u64) -> (Trace, Result<(), String>) {
        let trace = world::run(algorithm, self.conditions, self.part(), self.window, seed);
        let holds = self.holds(&trace);
        (trace, holds)
    }
}

fn broken(case: &Case, mutate: fn(&SlidingWindow, &mut Update, Option<&Item>, Micros)) -> Arc<dyn Algorithm> {
    Arc::new(Broken { sound: case.sound(), mutate })
}

fn value(update: &Update, name: &str) -> i64 {
    update.values.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
}

fn set(update: &mut Update, name: &str, change: impl Fn(i64) -> i64) {
    for (known, value) in &mut update.values {
        if *known == name {
            *value = change(*value);
        }
    }
}

#[test]
fn under_any_interleaving_no_window_is_exceeded_and_no_request_rejected_without_reason() {
    assert_holds(|case: &mut Case| Arc::new(case.sound()));
}

/// Totals of a window and of an exact log that decides by itself.
#[derive(Debug, Default)]
struct Comparison {
    asked: usize,
    admitted: usize,
    admitted_by_log: usize,
    /// Rejected by the window, admitted by the log.
    only_by_log: usize,
}

/// An hour of bursts of requests, at 1.5 times the admitted rate.
fn compare(parts: u32, seed: u64) -> Comparison {
    let (limit, length, hour) = (100, 60_000_000, 3_600_000_000);
    let window = SlidingWindow::new(limit, length, parts);
    let (mut rng, mut item, mut result) = (Rng::with_seed(seed), None::<Item>, Comparison::default());
    let (mut own, mut exact): (Vec<Micros>, Vec<Micros>) = Default::default();
    let begin = 1_700_000_000_000_000;
    let mut now = begin;
    while now < begin + hour {
        now += if rng.u8(..10) == 0 { rng.i64(0..7_200_000) } else { rng.i64(0..100_000) };
        let room = |log: &[Micros], span| log.iter().rev().take_while(|at| **at > now - span).count() < 100;
        let by_log = room(&exact, length);
        exact.extend(by_log.then_some(now));
        let decided = window.step(item.as_ref(), now, 1);
        let admitted = matches!(decided, Step::Try(_));
        if let Step::Try(update) = decided {
            assert!(room(&own, length), "over the limit");
            item = expression::apply(&update, item.as_ref());
            assert!(item.is_some(), "an item that was just seen predicts the branch");
            own.push(now);
        } else {
            assert!(!room(&own, length + length / Micros::from(parts)), "rejected without reason");
        }
        result.asked += 1;
        result.only_by_log += usize::from(by_log && !admitted);
    }
    (result.admitted, result.admitted_by_log) = (own.len(), exact.len());
    result
}

#[test]
fn it_is_never_over_the_limit_and_admits_nearly_as_much_as_an_exact_log() {
    let seed = fastrand::u64(..);
    let results = [10, 20, 60].map(|parts| (parts, compare(parts, seed)));
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole as f64;
    for (parts, result) in &results {
        let (rejected, passed) = (result.asked - result.admitted, percent(result.admitted, result.admitted_by_log));
        println!(
            "seed {seed}, {parts} sub-windows: {rejected} of {} requests rejected, {:.1} % of all only by the window; \
             {passed:.1} % as many admitted as by the log",
            result.asked,
            percent(result.only_by_log, result.asked)
        );
        assert!(rejected > 1000 && passed > 100.0 - 200.0 / f64::from(*parts), "seed {seed}: {result:?}");
    }
    let [tenth, _, sixtieth] = results.map(|(_, result)| result.only_by_log);
    assert!(sixtieth < tenth, "seed {seed}");
}

#[test]
fn a_window_without_its_cap_is_caught() {
    assert_caught(|case: &mut Case| broken(case, |_, update, _, _| set(update, ":cap", |_| i64::MAX)));
}

#[test]
fn a_window_whose_base_is_a_sub_window_too_late_is_caught() {
    assert_caught(|case: &mut Case| {
        broken(case, |sound, update, seen, _| {
            let Some(seen) = seen else { return };
            let (limit, cost) = (i64::from(sound.limit()), value(update, ":n"));
            let checkpoints = seen.iter().filter(|(name, _)| name.starts_with('s')).map(|(_, count)| *count);
            let mut counts: Vec<i64> = checkpoints.chain([seen["c"]]).collect();
            counts.sort_unstable();
            set(update, ":cap", |cap| {
                let base = cap - limit + cost;
                counts.iter().copied().find(|count| *count > base).unwrap_or(base) + limit - cost
            });
        })
    });
}

#[test]
fn a_window_that_lets_a_slow_clock_write_to_the_past_is_caught() {
    assert_caught(|case: &mut Case| {
        broken(case, |_, update, _, _| {
            update.condition = update.condition.replace("hi <= :idx", "hi > :zero OR hi <= :zero")
        })
    });
}

#[test]
fn a_window_that_counts_rejected_requests_is_caught() {
    assert_caught(|case: &mut Case| {
        case.conditions.counts_rejected = true;
        Arc::new(case.sound())
    });
}

#[test]
fn a_window_that_mixes_up_expired_and_recreated_items_is_caught() {
    assert_caught(|case: &mut Case| {
        broken(case, |sound, update, seen, _| {
            let Some(seen) = seen.filter(|_| update.condition.contains(":seen")) else { return };
            let cap = seen["c"] + i64::from(sound.limit()) - value(update, ":n");
            update.condition = update.condition.replace("hi = :seen", "(c <= :seen AND hi <= :idx)");
            set(update, ":seen", |_| cap);
        })
    });
}

#[test]
fn a_window_whose_item_expires_too_early_is_caught() {
    assert_caught(|case: &mut Case| broken(case, |_, update, _, _| set(update, ":expires", |_| 0)));
}

#[test]
fn a_window_that_removes_needed_checkpoints_is_caught() {
    assert_caught(|case: &mut Case| {
        broken(case, |_, update, seen, _| {
            let first = seen.and_then(|seen| seen.keys().find(|name| name.starts_with('s')));
            let Some(first) = first.filter(|_| update.names.len() == 1) else { return };
            if update.names.iter().all(|(_, path)| path != first) {
                update.update.push_str(" REMOVE #x");
                update.names.push(("#x".to_owned(), first.clone()));
            }
        })
    });
}
