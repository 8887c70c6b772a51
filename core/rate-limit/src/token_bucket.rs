//! The token bucket: a steady rate, and a burst after a pause.
//!
//! Implemented as GCRA (ITU-T I.371): instead of a level and a time, the item holds the time at which the bucket will be
//! full again (`tat`, the theoretical arrival time). Each unit of cost adds `interval`. A request is admitted if `tat`
//! then lies no further ahead than a whole burst.

use std::time::Duration;

use super::algorithm::{Algorithm, EXPIRES_AT, Item, MAX_SKEW, Step, Update, expiry};
use super::decision::{Decision, Micros, quota, span};

const TAT: &str = "tat";

/// A bucket of `burst` units that gains one each `interval`.
///
/// The cost admitted in any span is at most `burst` + (span + 2ε) / `interval` for clock errors up to ε; network delay
/// counts as clock error. With a single clock it decides exactly as GCRA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    interval: Micros,
    burst: u32,
}

impl TokenBucket {
    /// A bucket that gains a unit each `interval`. Numbers below 1 count as 1.
    pub fn new(interval: Micros, burst: u32) -> Self {
        Self { interval: interval.max(1), burst: burst.max(1) }
    }

    /// The time in which `cost` units are gained.
    fn refill_time(&self, cost: u32) -> Micros {
        self.interval.saturating_mul(Micros::from(cost))
    }

    /// The latest valid `tat`.
    fn latest(&self, now: Micros) -> Micros {
        now.saturating_add(self.refill_time(self.burst)).saturating_add(MAX_SKEW)
    }

    fn decision(&self, allowed: bool, tat: Micros, now: Micros, cost: u32) -> Decision {
        let ahead = tat.saturating_sub(now).max(0);
        let full = self.refill_time(self.burst);
        let retry = if allowed { 0 } else { ahead.saturating_add(self.refill_time(cost)).saturating_sub(full) };
        Decision {
            allowed,
            limit: self.burst,
            remaining: quota(full.saturating_sub(ahead) / self.interval, self.burst),
            reset_after: span(ahead),
            retry_after: span(retry),
        }
    }
}

impl Algorithm for TokenBucket {
    fn limit(&self) -> u32 {
        self.burst
    }

    fn window(&self) -> Duration {
        span(self.refill_time(self.burst))
    }

    fn step(&self, seen: Option<&Item>, now: Micros, cost: u32) -> Step {
        let (inc, latest) = (self.refill_time(cost), self.latest(now));
        let hi = now.saturating_add(self.refill_time(self.burst)).saturating_sub(inc);
        let expires = (":expires", expiry(now.saturating_add(self.refill_time(self.burst))));
        let (update, condition, values) = match seen.and_then(|item| item.get(TAT)) {
            // `tat` only grows, so a later one would be rejected as well.
            Some(&tat) if hi < tat && tat <= latest => return Step::Reject(self.decision(false, tat, now, cost)),
            Some(&tat) if now < tat && tat <= hi => (
                "SET tat = tat + :inc, expires_at = :expires",
                "tat BETWEEN :now AND :hi",
                vec![(":inc", inc), (":now", now), (":hi", hi), expires],
            ),
            _ => (
                "SET tat = :now_inc, expires_at = :expires",
                "attribute_not_exists(tat) OR tat <= :now OR tat > :far",
                vec![(":now_inc", now.saturating_add(inc)), (":now", now), (":far", latest), expires],
            ),
        };
        Step::Try(Update { update: update.to_owned(), condition: condition.to_owned(), names: vec![], values })
    }

    fn accepted(&self, item: &Item, now: Micros) -> Decision {
        self.decision(true, item.get(TAT).copied().unwrap_or(now), now, 0)
    }

    fn charge(&self, item: Option<&Item>, now: Micros, cost: u32) -> Item {
        let tat = item.and_then(|item| item.get(TAT)).copied().filter(|tat| *tat <= self.latest(now)).unwrap_or(now);
        let tat = tat.max(now).saturating_add(self.refill_time(cost));
        let expires = expiry(now.saturating_add(self.refill_time(self.burst)));
        Item::from([(TAT.to_owned(), tat), (EXPIRES_AT.to_owned(), expires)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::expression;

    const NOW: Micros = 1_700_000_000_000_000;

    fn item(tat: Micros) -> Item {
        Item::from([(TAT.to_owned(), tat)])
    }

    /// The decision when no other request interferes.
    fn check(bucket: TokenBucket, item: &mut Option<Item>, now: Micros, cost: u32) -> Decision {
        let mut seen = item.clone();
        for _ in 0..2 {
            match bucket.step(seen.as_ref(), now, cost) {
                Step::Reject(decision) => return decision,
                Step::Try(update) => match expression::apply(&update, item.as_ref()) {
                    Some(stored) => return bucket.accepted(item.insert(stored), now),
                    None => seen = item.clone(),
                },
            }
        }
        panic!("an item that was just seen predicts the branch")
    }

    #[test]
    fn a_burst_is_admitted_at_once_and_then_one_unit_per_interval() {
        let (bucket, mut item) = (TokenBucket::new(200_000, 3), None);
        let remaining: Vec<u32> = (0..3).map(|_| check(bucket, &mut item, NOW, 1).remaining).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let rejected = check(bucket, &mut item, NOW + 50_000, 1);
        assert!(!rejected.allowed);
        assert_eq!((rejected.limit, rejected.remaining), (3, 0));
        assert_eq!(rejected.retry_after, Duration::from_millis(150));
        assert_eq!(rejected.reset_after, Duration::from_millis(550));
        assert!(check(bucket, &mut item, NOW + 200_000, 1).allowed);
        assert!(!check(bucket, &mut item, NOW + 200_000, 1).allowed);
    }

    #[test]
    fn a_costly_request_waits_for_its_whole_cost() {
        let (bucket, mut item) = (TokenBucket::new(1_000_000, 10), None);
        assert!(check(bucket, &mut item, NOW, 4).allowed);
        let rejected = check(bucket, &mut item, NOW, 10);
        assert_eq!((rejected.allowed, rejected.remaining), (false, 6));
        assert_eq!(rejected.retry_after, Duration::from_secs(4));
        assert!(check(bucket, &mut item, NOW + 4_000_000, 10).allowed);
    }

    #[test]
    fn an_impossibly_late_time_is_overwritten() {
        let bucket = TokenBucket::new(1_000_000, 10);
        let mut item = Some(item(NOW + 86_400_000_000));
        let decision = check(bucket, &mut item, NOW, 1);
        assert_eq!((decision.allowed, decision.remaining), (true, 9));
    }

    proptest! {
        #[test]
        fn no_item_or_time_panics(
            tat: Option<i64>, now: i64, interval: i64, burst: u32, cost: u32,
        ) {
            let (bucket, item) = (TokenBucket::new(interval, burst), tat.map(item));
            if let Step::Reject(decision) = bucket.step(item.as_ref(), now, cost) {
                prop_assert!(!decision.allowed);
            }
            bucket.accepted(&bucket.charge(item.as_ref(), now, cost), now);
            bucket.accepted(&Item::new(), now);
        }

        #[test]
        fn retry_after_is_minimal(
            ahead in -50_000i64..3_000_000, interval in 1i64..100_000, burst in 1u32..20, cost in 1u32..20,
        ) {
            let (bucket, cost) = (TokenBucket::new(interval, burst), cost.min(burst));
            if let Step::Reject(decision) = bucket.step(Some(&item(NOW + ahead)), NOW, cost) {
                let wait = i64::try_from(decision.retry_after.as_micros()).unwrap();
                prop_assert!(wait > 0);
                prop_assert!(matches!(bucket.step(Some(&item(NOW + ahead)), NOW + wait, cost), Step::Try(_)));
                prop_assert!(matches!(bucket.step(Some(&item(NOW + ahead)), NOW + wait - 1, cost), Step::Reject(_)));
            }
        }

        #[test]
        fn memory_and_table_charge_alike(
            ahead in proptest::option::of(-1_000_000i64..100_000_000), burst in 1u32..20, cost in 1u32..20,
        ) {
            let (bucket, cost) = (TokenBucket::new(10_000, burst), cost.min(burst));
            let item = ahead.map(|ahead| item(NOW + ahead));
            if let Step::Try(update) = bucket.step(item.as_ref(), NOW, cost) {
                let stored = expression::apply(&update, item.as_ref());
                prop_assert_eq!(stored, Some(bucket.charge(item.as_ref(), NOW, cost)));
            }
        }
    }
}
