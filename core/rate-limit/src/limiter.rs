//! The limiter: decides from memory where possible, otherwise by a conditional update.

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

/// The least number of keys cached per process.
const CAPACITY: usize = 4096;

/// The most calls per request. A third is only needed when a sub-window ends or an item expires between two calls.
const CALLS: usize = 3;

/// A table of limiter items.
pub trait Table: Send + Sync {
    /// Applies one conditional update to the item of `key`.
    ///
    /// # Errors
    /// It is unknown whether the update was applied.
    fn update(&self, key: &str, update: &Update) -> impl Future<Output = Result<Updated, TableError>> + Send;
}

/// The result of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    /// It was applied; the item after it.
    Stored(Item),
    /// The condition did not hold; the item, if it exists.
    Failed(Option<Item>),
}

/// Enforces a policy.
#[derive(Debug)]
pub struct Limiter<T> {
    table: T,
    policy: Arc<Policy>,
    clock: Clock,
    /// Items as last read. A stale one costs a call, never a wrong decision.
    seen: Memory,
    /// Items of the in-memory limiter used while the table is unavailable.
    local: Memory,
}

impl<T: Table> Limiter<T> {
    /// Enforces `policy` with items in `table`.
    pub fn new(table: T, policy: Policy) -> Self {
        let (seen, local) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
        Self { table, policy: Arc::new(policy), clock: Clock::default(), seen, local }
    }

    /// Replaces the system clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The enforced policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Checks a request of the policy's cost at the current time.
    pub async fn check(&self, subject: &Subject) -> Checked {
        self.decide(subject, self.policy.cost).await
    }

    /// Checks a request of the given cost.
    ///
    /// # Errors
    /// The cost is 0, or above the policy's limit.
    pub async fn check_cost(&self, subject: &Subject, cost: u32) -> Result<Checked, CostError> {
        self.policy.allows_cost(cost)?;
        Ok(self.decide(subject, cost).await)
    }

    async fn decide(&self, subject: &Subject, cost: u32) -> Checked {
        let now = self.clock.micros();
        let key = format!("{}/{}", self.policy.key, subject.as_str());
        match self.decide_at_table(&key, now, cost).await {
            Ok(decision) => Checked::Decided(decision),
            Err(error) => self.decide_without_table(&key, now, cost, error),
        }
    }

    async fn decide_at_table(&self, key: &str, now: Micros, cost: u32) -> Result<Decision, TableError> {
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

    fn decide_without_table(&self, key: &str, now: Micros, cost: u32, error: TableError) -> Checked {
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

/// A decision without counting.
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

    /// A table in memory that counts its calls.
    #[derive(Debug, Default)]
    struct Counting {
        items: Mutex<HashMap<String, Item>>,
        calls: AtomicUsize,
        down: AtomicBool,
    }

    impl Table for Arc<Counting> {
        async fn update(&self, key: &str, update: &Update) -> Result<Updated, TableError> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            if self.down.load(Ordering::Relaxed) {
                return Err(TableError::Unavailable("down".to_owned()));
            }
            let mut items = self.items.lock().unwrap();
            let old = items.get(key).cloned();
            let Some(item) = expression::apply(update, old.as_ref()) else { return Ok(Updated::Failed(old)) };
            items.insert(key.to_owned(), item.clone());
            Ok(Updated::Stored(item))
        }
    }

    struct Fixture {
        table: Arc<Counting>,
        limiter: Limiter<Arc<Counting>>,
        time: Arc<AtomicI64>,
    }

    impl Fixture {
        fn new(policy: &str) -> Self {
            Self::sharing(&Arc::default(), policy)
        }

        /// Another container.
        fn sharing(table: &Arc<Counting>, policy: &str) -> Self {
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

        fn set_down(&self, down: bool) {
            self.table.down.store(down, Ordering::Relaxed);
        }
    }

    const BUCKET: &str = "token-bucket; rate=1/s; burst=3; by=user";
    const WINDOW: &str = "sliding-window; limit=3; window=10s; parts=10; by=user";

    #[tokio::test]
    async fn a_predicted_admission_costs_one_call_and_a_known_rejection_none() {
        for policy in [BUCKET, WINDOW] {
            let fixture = Fixture::new(policy);
            for _ in 0..3 {
                assert_eq!(fixture.ask(NOW).await, (true, 1), "{policy}");
            }
            for _ in 0..3 {
                assert_eq!(fixture.ask(NOW + 1).await, (false, 0), "{policy}");
            }
            assert_eq!(fixture.ask(NOW + 20_000_000).await, (true, 1), "{policy}");
        }
    }

    #[tokio::test]
    async fn a_container_that_has_not_read_the_item_needs_at_most_two_calls() {
        for policy in [BUCKET, WINDOW] {
            let first = Fixture::new(policy);
            first.ask(NOW).await;
            assert!(Fixture::sharing(&first.table, policy).ask(NOW).await.0);
            let (allowed, calls) = Fixture::sharing(&first.table, policy).ask(NOW).await;
            assert!(allowed && calls <= 2, "{policy}: {calls}");
            assert_eq!(Fixture::sharing(&first.table, policy).ask(NOW).await, (false, 1), "{policy}");
        }
    }

    #[tokio::test]
    async fn users_are_counted_separately() {
        let fixture = Fixture::new("token-bucket; rate=1/24h; burst=1; by=user");
        assert!(fixture.ask(NOW).await.0);
        assert!(fixture.limiter.check(&Subject::user("another")).await.decision().allowed);
        assert!(!fixture.ask(NOW).await.0);
    }

    #[tokio::test]
    async fn without_the_table_the_limiter_counts_in_memory() {
        for policy in [BUCKET, WINDOW] {
            let fixture = Fixture::new(policy);
            fixture.set_down(true);
            let admitted = [
                fixture.ask(NOW).await.0,
                fixture.ask(NOW).await.0,
                fixture.ask(NOW).await.0,
                fixture.ask(NOW).await.0,
            ];
            assert_eq!(admitted, [true, true, true, false], "{policy}");
            fixture.set_down(false);
            assert_eq!(fixture.ask(NOW).await, (true, 1), "the table did not count them: {policy}");
        }
    }

    #[tokio::test]
    async fn an_intermittent_table_adds_at_most_one_limit_per_container() {
        for policy in [BUCKET, WINDOW] {
            let fixture = Fixture::new(policy);
            let mut admitted = 0;
            for turn in 0..100 {
                fixture.set_down(turn % 2 == 0);
                admitted += usize::from(fixture.ask(NOW).await.0);
            }
            assert_eq!(admitted, 6, "{policy}");
        }
    }

    #[tokio::test]
    async fn an_evicted_item_costs_a_call_and_an_evicted_local_counter_restarts() {
        for policy in [BUCKET, WINDOW] {
            let fixture = Fixture::new(policy);
            let crowd = async || {
                for n in 0..2 * CAPACITY {
                    fixture.limiter.check(&Subject::user(&n.to_string())).await;
                }
            };
            for _ in 0..3 {
                assert!(fixture.ask(NOW).await.0);
            }
            assert_eq!(fixture.ask(NOW).await, (false, 0), "{policy}");
            crowd().await;
            let (allowed, calls) = fixture.ask(NOW).await;
            assert!(!allowed && calls > 0, "{policy}: the table has the count");
            crowd().await;
            fixture.set_down(true);
            for _ in 0..3 {
                assert!(fixture.ask(NOW).await.0);
            }
            assert!(!fixture.ask(NOW).await.0);
            crowd().await;
            assert!(fixture.ask(NOW).await.0, "{policy}: the local count was evicted");
        }
    }

    #[tokio::test]
    async fn without_the_table_a_policy_can_allow_or_deny_all_requests() {
        let allowing = Fixture::new(&format!("{BUCKET}; on_error=allow"));
        let denying = Fixture::new(&format!("{BUCKET}; on_error=deny"));
        for fixture in [&allowing, &denying] {
            fixture.set_down(true);
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
    async fn a_cost_above_the_limit_is_an_error_without_a_call() {
        let fixture = Fixture::new(BUCKET);
        let error = fixture.limiter.check_cost(&Subject::user("one"), 4).await;
        assert_eq!(error, Err(CostError { cost: 4, limit: 3 }));
        assert_eq!(fixture.table.calls.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_contradictory_item_degrades_after_three_calls() {
        let fixture = Fixture::new(WINDOW);
        fixture.ask(NOW).await;
        for item in fixture.table.items.lock().unwrap().values_mut() {
            item.remove("hi");
            item.insert("c".to_owned(), 1_000_000);
        }
        let other = Fixture::sharing(&fixture.table, WINDOW);
        assert_eq!(other.ask(NOW).await, (true, 3));
    }
}
