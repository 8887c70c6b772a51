//! Tests of the token bucket against its bound and against a reference bucket.

use std::sync::Arc;

use fastrand::Rng;

use super::super::algorithm::{Algorithm, Item, Update};
use super::super::decision::Micros;
use super::super::token_bucket::TokenBucket;
use super::{Broken, Trace, assert_caught, assert_holds, world};
use world::Conditions;

#[derive(Clone, Copy, Debug)]
struct Case {
    interval: Micros,
    burst: u32,
    conditions: Conditions,
}

impl Case {
    fn bucket(&self) -> TokenBucket {
        TokenBucket::new(self.interval, self.burst)
    }

    /// The cost admitted in any span is at most the burst plus what is gained in the span and the clock error.
    fn bounded(&self, trace: &Trace) -> Result<(), String> {
        let admitted: Vec<_> = trace.events.iter().filter(|event| event.admitted).collect();
        let error = trace.error();
        for (place, first) in admitted.iter().enumerate() {
            let mut cost = 0;
            for last in &admitted[place..] {
                cost += Micros::from(last.cost);
                let span = last.at - first.at + 2 * error;
                if (cost - Micros::from(self.burst)) * self.interval > span {
                    return Err(format!("{cost} admitted in {span} µs"));
                }
            }
        }
        Ok(())
    }

    /// Each decision equals that of a reference bucket that gets the requests in the same order.
    fn equals_reference(&self, trace: &Trace) -> Result<(), String> {
        let full = self.interval * Micros::from(self.burst);
        let (mut level, mut last) = (full, Micros::MIN);
        for event in &trace.events {
            level = full.min(level.saturating_add(event.at.saturating_sub(last)));
            last = event.at;
            let cost = self.interval * Micros::from(event.cost);
            if (cost <= level) != event.admitted {
                return Err(format!("{event:?} with {level} µs in the bucket"));
            }
            level -= if event.admitted { cost } else { 0 };
        }
        Ok(())
    }
}

impl super::Case for Case {
    fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(!seed);
        let interval = [1, 7, 1000, 50_000, 200_000][rng.usize(..5)];
        let conditions = Conditions {
            skew: [0, 0, interval / 2, interval * 3, 1_000_000][rng.usize(..5)],
            delays: rng.bool(),
            lost: [0, 0, 10, 40][rng.usize(..4)],
            crashes: rng.bool(),
            counts_rejected: false,
        };
        Self { interval, burst: rng.u32(1..=20), conditions }
    }

    fn run(&self, algorithm: &Arc<dyn Algorithm>, seed: u64) -> (Trace, Result<(), String>) {
        let length = self.interval * Micros::from(self.burst);
        let trace = world::run(algorithm, self.conditions, self.interval, length, seed);
        let one_clock = self.conditions.skew == 0 && !self.conditions.delays;
        let holds = self.bounded(&trace).and_then(|()| if one_clock { self.equals_reference(&trace) } else { Ok(()) });
        (trace, holds)
    }
}

fn broken(case: &Case, mutate: fn(&TokenBucket, &mut Update, Option<&Item>, Micros)) -> Arc<dyn Algorithm> {
    Arc::new(Broken { sound: case.bucket(), mutate })
}

#[test]
fn under_any_interleaving_the_admitted_cost_is_bounded() {
    assert_holds(|case: &mut Case| Arc::new(case.bucket()));
}

#[test]
fn a_bucket_without_its_upper_guard_is_caught() {
    assert_caught(|case: &mut Case| {
        broken(case, |_, update, _, _| {
            update.condition = update.condition.replace("BETWEEN :now AND :hi", ">= :now");
            update.values.retain(|(name, _)| *name != ":hi");
        })
    });
}

#[test]
fn a_bucket_that_assumes_it_is_idle_is_caught() {
    assert_caught(|case: &mut Case| {
        broken(case, |_, update, _, _| {
            update.condition = update.condition.replace("tat <= :now", "tat >= :now");
        })
    });
}

#[test]
fn a_bucket_that_counts_rejected_requests_is_caught() {
    assert_caught(|case: &mut Case| {
        case.conditions.counts_rejected = true;
        Arc::new(case.bucket())
    });
}

#[test]
fn a_bucket_whose_item_expires_too_early_is_caught() {
    assert_caught(|case: &mut Case| {
        broken(case, |_, update, _, now| {
            for (name, value) in &mut update.values {
                if *name == ":expires" {
                    *value = now / 1_000_000 - 1_000_000;
                }
            }
        })
    });
}
