//! The token bucket against its bound and against a bucket that holds tokens.

use std::sync::Arc;

use fastrand::Rng;

use super::super::algorithm::{Algorithm, Item, Update};
use super::super::decision::Micros;
use super::super::token_bucket::TokenBucket;
use super::{Broken, Trace, assert_caught, assert_holds, world};
use world::Weather;

#[derive(Clone, Copy, Debug)]
struct Case {
    interval: Micros,
    burst: u32,
    weather: Weather,
}

impl Case {
    fn bucket(&self) -> TokenBucket {
        TokenBucket::new(self.interval, self.burst)
    }

    /// The cost admitted in any span is at most the burst, and what is gained in the span and the clocks' error.
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

    /// Each decision is that of a bucket that holds its tokens and is asked in the same order.
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
        let weather = Weather {
            skew: [0, 0, interval / 2, interval * 3, 1_000_000][rng.usize(..5)],
            travels: rng.bool(),
            lost: [0, 0, 10, 40][rng.usize(..4)],
            crashes: rng.bool(),
            counts_refused: false,
        };
        Self { interval, burst: rng.u32(1..=20), weather }
    }

    fn run(&self, algorithm: &Arc<dyn Algorithm>, seed: u64) -> (Trace, Result<(), String>) {
        let length = self.interval * Micros::from(self.burst);
        let trace = world::run(algorithm, self.weather, self.interval, length, seed);
        let one_clock = self.weather.skew == 0 && !self.weather.travels;
        let holds = self.bounded(&trace).and_then(|()| if one_clock { self.equals_reference(&trace) } else { Ok(()) });
        (trace, holds)
    }
}

fn broken(case: &Case, how: fn(&TokenBucket, &mut Update, Option<&Item>, Micros)) -> Arc<dyn Algorithm> {
    Arc::new(Broken { sound: case.bucket(), how })
}

#[test]
fn the_admitted_cost_stays_in_bounds_whatever_happens_between_two_awaits() {
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
fn a_bucket_that_takes_itself_for_idle_without_looking_is_caught() {
    assert_caught(|case: &mut Case| {
        broken(case, |_, update, _, _| {
            update.condition = update.condition.replace("tat <= :now", "tat >= :now");
        })
    });
}

#[test]
fn a_bucket_that_counts_what_it_refuses_is_caught() {
    assert_caught(|case: &mut Case| {
        case.weather.counts_refused = true;
        Arc::new(case.bucket())
    });
}

#[test]
fn a_bucket_whose_item_expires_while_it_is_needed_is_caught() {
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
