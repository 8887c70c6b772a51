//! The limiters against reference models, in random interleavings.

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

/// An algorithm's settings, and what may happen to it.
trait Case: Debug {
    fn of(seed: u64) -> Self;

    /// One interleaving of the algorithm, and whether the properties hold in it.
    fn run(&self, algorithm: &Arc<dyn Algorithm>, seed: u64) -> (Trace, Result<(), String>);
}

/// What happened in all runs together.
#[derive(Debug, Default)]
struct Tally {
    admitted: usize,
    refused: usize,
    refused_without_call: usize,
    unanswered: usize,
    expired: usize,
    error: Micros,
    calls: [usize; 4],
}

/// Runs what `make` makes of each case until the first that goes wrong, which is described.
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

/// Asserts that the properties do not hold of all runs.
fn assert_caught<C: Case>(make: impl Fn(&mut C) -> Arc<dyn Algorithm>) {
    match run_all(make) {
        Err(why) => println!("caught: {why}"),
        Ok(tally) => panic!("not caught in {RUNS} runs: {tally:?}"),
    }
}

/// Asserts that the properties hold of all runs, and that the runs were worth the name.
fn assert_holds<C: Case>(make: impl Fn(&mut C) -> Arc<dyn Algorithm>) {
    let tally = run_all(make).unwrap_or_else(|why| panic!("{why}"));
    println!("{tally:?}");
    let least = usize::try_from(RUNS).expect("a small number") / 20;
    let happened =
        [tally.admitted, tally.refused, tally.refused_without_call, tally.unanswered, tally.expired, tally.calls[2]];
    assert!(happened.iter().all(|times| *times > least), "too little happened: {tally:?}");
}

impl Tally {
    fn add(&mut self, trace: &Trace) {
        self.admitted += trace.events.iter().filter(|event| event.admitted).count();
        self.refused += trace.events.iter().filter(|event| !event.admitted).count();
        self.expired += trace.expired;
        self.error = self.error.max(trace.error());
        for (calls, checked) in &trace.answers {
            self.calls[*calls] += 1;
            match checked {
                Checked::Decided(decision) => {
                    self.refused_without_call += usize::from(*calls == 0 && !decision.allowed)
                }
                Checked::Degraded(..) | Checked::Uncounted(..) => self.unanswered += 1,
            }
        }
    }
}

/// An algorithm whose updates are not what they should be.
#[derive(Clone, Debug)]
struct Broken<A> {
    sound: A,
    how: fn(&A, &mut Update, Option<&Item>, Micros),
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
                (self.how)(&self.sound, &mut update, seen, now);
                Step::Try(update)
            }
            refuse @ Step::Reject(_) => refuse,
        }
    }

    fn accepted(&self, item: &Item, now: Micros) -> super::Decision {
        self.sound.accepted(item, now)
    }

    fn charge(&self, item: Option<&Item>, now: Micros, cost: u32) -> Item {
        self.sound.charge(item, now, cost)
    }
}
