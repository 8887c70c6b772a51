//! Tests of the limiters against reference models in random interleavings.

pub(super) mod expression;
mod sliding_window;
mod token_bucket;
mod world;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::algorithm::{Algorithm, Item, Step, Update};
use super::checked::Checked;
use super::decision::Micros;
use world::Trace;

/// Interleavings per property.
const RUNS: u64 = 10_000;

/// An algorithm's settings and the conditions of a run.
trait Case: Debug {
    fn of(seed: u64) -> Self;

    /// Runs one interleaving and checks the properties.
    fn run(&self, algorithm: &Arc<dyn Algorithm>, seed: u64) -> (Trace, Result<(), String>);
}

/// Totals over all runs.
#[derive(Debug, Default)]
struct Tally {
    admitted: usize,
    rejected: usize,
    rejected_without_call: usize,
    failed: usize,
    expired: usize,
    error: Micros,
    calls: [usize; 4],
}

/// Runs the algorithm that `make` returns for each case, up to the first failure.
fn run_all<C: Case>(make: impl Fn(&mut C) -> Arc<dyn Algorithm>) -> Result<Tally, String> {
    let base = fastrand::u64(..);
    let mut tally = Tally::default();
    for seed in (0..RUNS).map(|run| base.wrapping_add(run)) {
        let mut case = C::of(seed);
        let algorithm = make(&mut case);
        let (trace, holds) = case.run(&algorithm, seed);
        holds.map_err(|why| format!("run {}, seed {seed}, {case:?}: {why}", seed.wrapping_sub(base)))?;
        tally.add(&trace);
    }
    Ok(tally)
}

/// Asserts that the properties do not hold in all runs.
fn assert_caught<C: Case>(make: impl Fn(&mut C) -> Arc<dyn Algorithm>) {
    match run_all(make) {
        Err(why) => println!("caught: {why}"),
        Ok(tally) => panic!("not caught in {RUNS} runs: {tally:?}"),
    }
}

/// Asserts that the properties hold in all runs, and that enough happened in them.
fn assert_holds<C: Case>(make: impl Fn(&mut C) -> Arc<dyn Algorithm>) {
    let tally = run_all(make).unwrap_or_else(|why| panic!("{why}"));
    println!("{tally:?}");
    let least = usize::try_from(RUNS).expect("a small number") / 20;
    let happened =
        [tally.admitted, tally.rejected, tally.rejected_without_call, tally.failed, tally.expired, tally.calls[2]];
    assert!(happened.iter().all(|times| *times > least), "too little happened: {tally:?}");
}

impl Tally {
    fn add(&mut self, trace: &Trace) {
        self.admitted += trace.events.iter().filter(|event| event.admitted).count();
        self.rejected += trace.events.iter().filter(|event| !event.admitted).count();
        self.expired += trace.expired;
        self.error = self.error.max(trace.error());
        for (calls, checked) in &trace.results {
            self.calls[*calls] += 1;
            match checked {
                Checked::Decided(decision) => {
                    self.rejected_without_call += usize::from(*calls == 0 && !decision.allowed)
                }
                Checked::Degraded(..) | Checked::Uncounted(..) => self.failed += 1,
            }
        }
    }
}

/// An algorithm with broken updates.
#[derive(Clone, Debug)]
struct Broken<A> {
    sound: A,
    mutate: fn(&A, &mut Update, Option<&Item>, Micros),
}

impl<A: Algorithm> Algorithm for Broken<A> {
    fn limit(&self) -> u32 {
        self.sound.limit()
    }

    fn window(&self) -> Duration {
        self.sound.window()
    }

    fn step(&self, seen: Option<&Item>, now: Micros, cost: u32) -> Step {
        match self.sound.step(seen, now, cost) {
            Step::Try(mut update) => {
                (self.mutate)(&self.sound, &mut update, seen, now);
                Step::Try(update)
            }
            reject @ Step::Reject(_) => reject,
        }
    }

    fn accepted(&self, item: &Item, now: Micros) -> super::Decision {
        self.sound.accepted(item, now)
    }

    fn charge(&self, item: Option<&Item>, now: Micros, cost: u32) -> Item {
        self.sound.charge(item, now, cost)
    }
}
