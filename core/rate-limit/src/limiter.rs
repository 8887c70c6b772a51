//! A limiter at work: the decision from memory where that is possible, else by a conditional update.

use std::sync::Arc;
use std::time::Duration;

use super::algorithm::{Algorithm, Item, Step, Update};
use super::checked::Checked;
use super::decision::{Decision, Micros};
use super::error::TableError;
use super::memory::Memory;
use super::policy::{CostError, OnError, Policy};
use super::subject::Subject;
use service_clock::Clock;

/// Keys that a process remembers, at least.
const REMEMBERED: usize = 4096;

/// Calls for one request, at most. Only a sub-window that ends, or an item that expires, between two of them makes a
/// third necessary.
const CALLS: usize = 3;

/// The table with the limiters' items.
pub trait Table: Send + Sync {
    /// Carries out one update on the item of `key`.
    ///
    /// # Errors
    /// Nobody knows whether it was carried out.
    fn update(&self, key: &str, update: &Update) -> impl Future<Output = Result<Updated, TableError>> + Send;
}

/// How an update ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    /// It was carried out, and this is the item now.
    Stored(Item),
    /// The condition did not hold of this item, if there is one.
    Failed(Option<Item>),
}

/// Enforces a policy.
#[derive(Debug)]
pub struct Limiter<T> {
    table: T,
    policy: Arc<Policy>,
    clock: Clock,
    /// Items as the table last showed them. They may be out of date: that costs a call, never a wrong answer.
    seen: Memory,
    /// Items of the limiter that stands in while the table does not answer.
    local: Memory,
}

impl<T: Table> Limiter<T> {
    /// Enforces `policy` with items in `table`.
    pub fn new(table: T, policy: Policy) -> Self {
        let (seen, local) = (Memory::new(REMEMBERED), Memory::new(REMEMBERED));
        Self { table, policy: Arc::new(policy), clock: Clock::default(), seen, local }
    }

    /// The same limiter with another clock than the system's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// What is enforced.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Decides a request of the policy's cost, as of the time at which it is asked.
    pub async fn check(&self, subject: &Subject) -> Checked {
        self.decide(subject, self.policy.cost).await
    }

    /// Decides a request of another cost.
    ///
    /// # Errors
    /// The cost is 0, or more than the policy ever lets pass at once.
    pub async fn check_cost(&self, subject: &Subject, cost: u32) -> Result<Checked, CostError> {
        self.policy.allows_cost(cost)?;
        Ok(self.decide(subject, cost).await)
    }

    async fn decide(&self, subject: &Subject, cost: u32) -> Checked {
        let now = self.clock.micros();
        let key = format!("{}/{}", self.policy.key, subject.as_str());
        match self.ask(&key, now, cost).await {
            Ok(decision) => Checked::Decided(decision),
            Err(error) => self.without_table(&key, now, cost, error),
        }
    }

    async fn ask(&self, key: &str, now: Micros, cost: u32) -> Result<Decision, TableError> {
        let algorithm = &self.policy.algorithm;
        for call in 0.. {
            let update = match algorithm.step(self.seen.get(key).as_ref(), now, cost) {
                Step::Reject(decision) => return Ok(decision),
                Step::Try(_) if call == CALLS => break,
                Step::Try(update) => update,
            };
            match self.table.update(key, &update).await? {
                Updated::Stored(item) => {
                    let decision = algorithm.accepted(&item, now);
                    self.seen.put(key, Some(item));
                    return Ok(decision);
                }
                Updated::Failed(item) => self.seen.put(key, item),
            }
        }
        Err(TableError::Contended(key.to_owned()))
    }

    fn without_table(&self, key: &str, now: Micros, cost: u32, error: TableError) -> Checked {
        let algorithm = &self.policy.algorithm;
        let in_memory = |item: Option<Item>| match algorithm.step(item.as_ref(), now, cost) {
            Step::Reject(decision) => (decision, item),
            Step::Try(_) => {
                let item = algorithm.charge(item.as_ref(), now, cost);
                (algorithm.accepted(&item, now), Some(item))
            }
        };
        match self.policy.on_error {
            OnError::Allow => Checked::Uncounted(fixed(algorithm.as_ref(), true), error),
            OnError::Deny => Checked::Uncounted(fixed(algorithm.as_ref(), false), error),
            OnError::Local => Checked::Degraded(self.local.update(key, in_memory), error),
        }
    }
}

/// A decision that nothing was counted for.
fn fixed(algorithm: &dyn Algorithm, allowed: bool) -> Decision {
    let limit = algorithm.limit();
    let (remaining, wait) = if allowed { (limit, Duration::ZERO) } else { (0, Duration::from_secs(1)) };
    Decision { allowed, limit, remaining, reset_after: wait, retry_after: wait }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

    use super::*;
    use crate::model::expression;

    const NOW: Micros = 1_700_000_000_000_000;

    /// A table that answers at once, if it does, and counts.
    #[derive(Debug, Default)]
    struct Counting {
        items: Mutex<HashMap<String, Item>>,
        calls: AtomicUsize,
        away: AtomicBool,
    }

    impl Table for Arc<Counting> {
        async fn update(&self, key: &str, update: &Update) -> Result<Updated, TableError> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            if self.away.load(Ordering::Relaxed) {
                return Err(TableError::Unavailable("away".to_owned()));
            }
            let mut items = self.items.lock().unwrap();
            let old = items.get(key).cloned();
            let Some(item) = expression::apply(update, old.as_ref()) else { return Ok(Updated::Failed(old)) };
            items.insert(key.to_owned(), item.clone());
            Ok(Updated::Stored(item))
        }
    }

    struct Bench {
        table: Arc<Counting>,
        limiter: Limiter<Arc<Counting>>,
        time: Arc<AtomicI64>,
    }

    impl Bench {
        fn new(policy: &str) -> Self {
            Self::beside(&Arc::default(), policy)
        }

        /// Another container.
        fn beside(table: &Arc<Counting>, policy: &str) -> Self {
            let time = Arc::new(AtomicI64::new(NOW));
            let shown = Arc::clone(&time);
            let clock = Clock::new(move || shown.load(Ordering::Relaxed));
            let limiter = Limiter::new(Arc::clone(table), policy.parse().expect(policy)).with_clock(clock);
            Self { table: Arc::clone(table), limiter, time }
        }

        async fn ask(&self, now: Micros) -> (bool, usize) {
            self.time.store(now, Ordering::Relaxed);
            let before = self.table.calls.load(Ordering::Relaxed);
            let checked = self.limiter.check(&Subject::user("one")).await;
            (checked.decision().allowed, self.table.calls.load(Ordering::Relaxed) - before)
        }

        fn away(&self, away: bool) {
            self.table.away.store(away, Ordering::Relaxed);
        }
    }

    const BUCKET: &str = "token-bucket; rate=1/s; burst=3; by=user";
    const WINDOW: &str = "sliding-window; limit=3; window=10s; parts=10; by=user";

    #[tokio::test]
    async fn what_was_foreseen_costs_one_call_and_a_known_refusal_none() {
        for policy in [BUCKET, WINDOW] {
            let bench = Bench::new(policy);
            for _ in 0..3 {
                assert_eq!(bench.ask(NOW).await, (true, 1), "{policy}");
            }
            for _ in 0..3 {
                assert_eq!(bench.ask(NOW + 1).await, (false, 0), "{policy}");
            }
            assert_eq!(bench.ask(NOW + 20_000_000).await, (true, 1), "{policy}");
        }
    }

    #[tokio::test]
    async fn a_container_that_never_saw_the_item_needs_two_calls_at_most() {
        for policy in [BUCKET, WINDOW] {
            let first = Bench::new(policy);
            first.ask(NOW).await;
            assert!(Bench::beside(&first.table, policy).ask(NOW).await.0);
            let (allowed, calls) = Bench::beside(&first.table, policy).ask(NOW).await;
            assert!(allowed && calls <= 2, "{policy}: {calls}");
            assert_eq!(Bench::beside(&first.table, policy).ask(NOW).await, (false, 1), "{policy}");
        }
    }

    #[tokio::test]
    async fn users_do_not_count_against_each_other() {
        let bench = Bench::new("token-bucket; rate=1/24h; burst=1; by=user");
        assert!(bench.ask(NOW).await.0);
        assert!(bench.limiter.check(&Subject::user("another")).await.decision().allowed);
        assert!(!bench.ask(NOW).await.0);
    }

    #[tokio::test]
    async fn without_the_table_the_limiter_lives_on_in_memory() {
        for policy in [BUCKET, WINDOW] {
            let bench = Bench::new(policy);
            bench.away(true);
            let answers =
                [bench.ask(NOW).await.0, bench.ask(NOW).await.0, bench.ask(NOW).await.0, bench.ask(NOW).await.0];
            assert_eq!(answers, [true, true, true, false], "{policy}");
            bench.away(false);
            assert_eq!(bench.ask(NOW).await, (true, 1), "the table knows nothing of it: {policy}");
        }
    }

    #[tokio::test]
    async fn what_comes_and_goes_with_the_table_adds_one_limiter_per_container_at_most() {
        for policy in [BUCKET, WINDOW] {
            let bench = Bench::new(policy);
            let mut admitted = 0;
            for turn in 0..100 {
                bench.away(turn % 2 == 0);
                admitted += usize::from(bench.ask(NOW).await.0);
            }
            assert_eq!(admitted, 6, "{policy}");
        }
    }

    #[tokio::test]
    async fn a_forgotten_view_costs_a_call_and_a_forgotten_counter_of_the_container_s_own_starts_anew() {
        for policy in [BUCKET, WINDOW] {
            let bench = Bench::new(policy);
            let crowd = async || {
                for n in 0..2 * REMEMBERED {
                    bench.limiter.check(&Subject::user(&n.to_string())).await;
                }
            };
            for _ in 0..3 {
                assert!(bench.ask(NOW).await.0);
            }
            assert_eq!(bench.ask(NOW).await, (false, 0), "{policy}");
            crowd().await;
            let (allowed, calls) = bench.ask(NOW).await;
            assert!(!allowed && calls > 0, "{policy}: the table remembers");
            crowd().await;
            bench.away(true);
            for _ in 0..3 {
                assert!(bench.ask(NOW).await.0);
            }
            assert!(!bench.ask(NOW).await.0);
            crowd().await;
            assert!(bench.ask(NOW).await.0, "{policy}: nobody remembers");
        }
    }

    #[tokio::test]
    async fn without_the_table_a_policy_can_allow_or_deny() {
        let allowing = Bench::new(&format!("{BUCKET}; on_error=allow"));
        let denying = Bench::new(&format!("{BUCKET}; on_error=deny"));
        for bench in [&allowing, &denying] {
            bench.away(true);
        }
        for _ in 0..10 {
            assert_eq!(allowing.ask(NOW).await, (true, 1));
            assert_eq!(denying.ask(NOW).await, (false, 1));
        }
        let denied = denying.limiter.check(&Subject::user("one")).await;
        let Checked::Uncounted(decision, TableError::Unavailable(_)) = denied else { panic!("{denied:?}") };
        assert_eq!(decision.retry_after, Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_cost_above_the_limit_is_an_error_and_costs_nothing() {
        let bench = Bench::new(BUCKET);
        let error = bench.limiter.check_cost(&Subject::user("one"), 4).await;
        assert_eq!(error, Err(CostError { cost: 4, limit: 3 }));
        assert_eq!(bench.table.calls.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn an_item_that_makes_no_sense_degrades_after_three_calls() {
        let bench = Bench::new(WINDOW);
        bench.ask(NOW).await;
        for item in bench.table.items.lock().unwrap().values_mut() {
            item.remove("hi");
            item.insert("c".to_owned(), 1_000_000);
        }
        let other = Bench::beside(&bench.table, WINDOW);
        assert_eq!(other.ask(NOW).await, (true, 3));
    }
}
