//! The limiters on a real table: that it takes their expressions, what they cost, and how they hold under load.
#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panics that say why")]

use std::time::Duration;

use dynamodb_rate_limit::{
    Algorithm, Checked, DynamoTable, Item, Limiter, Micros, Policy, SlidingWindow, Step, Subject, Table, TokenBucket,
    Updated,
};
use dynamodb_testkit::call_log::Calls;
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use fastrand::Rng;
use orders_tests::database::TestTables;
use service_clock::{Clock, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};

/// Of containers that shall not take a busy machine for a table that is away.
const PATIENCE: Duration = Duration::from_secs(60);
const BUCKET: &str = "token-bucket; rate=1/s; burst=3; by=user; on_error=deny";
const WINDOW: &str = "sliding-window; limit=3; window=10s; by=user; on_error=deny";

fn now() -> Micros {
    Clock::default().micros()
}

fn policy(text: &str) -> Policy {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// A table behind a proxy.
struct Bench {
    tables: TestTables,
    proxy: Proxy,
}

impl Bench {
    async fn new() -> Self {
        let tables = TestTables::create(&["RateLimits"]).await;
        let proxy = Proxy::start(tables.endpoint());
        Self { tables, proxy }
    }

    /// Another container.
    fn limiter(&self, text: &str) -> Limiter<DynamoTable> {
        let client = self.proxy.client(PATIENCE);
        Limiter::new(DynamoTable::with_timeout(&client, self.tables.name("RateLimits"), PATIENCE), policy(text))
    }

    /// One with the patience that functions have.
    fn impatient(&self, text: &str) -> Limiter<DynamoTable> {
        let client = self.proxy.client(PATIENCE);
        Limiter::new(DynamoTable::new(&client, self.tables.name("RateLimits")), policy(text))
    }

    fn calls(&self) -> Calls {
        self.proxy.faults.take_calls()
    }
}

#[tokio::test]
async fn the_table_does_with_the_updates_what_the_rule_says() {
    let tables = TestTables::create(&["RateLimits"]).await;
    let table = DynamoTable::with_timeout(&tables.client(), tables.name("RateLimits"), PATIENCE);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let rules: [&dyn Algorithm; 2] = [&TokenBucket::new(200_000, 5), &SlidingWindow::new(5, 1_000_000, 10)];
    for (place, rule) in rules.into_iter().enumerate() {
        let (mut item, mut seen): (Option<Item>, Option<Item>) = (None, None);
        let (mut now, mut stored, mut failed, mut refused) = (now(), 0, 0, 0);
        for _ in 0..400 {
            now += [0, 1, 30_000, 200_000, 1_100_000, -50_000, 4_000_000_000, -4_000_000_000][rng.usize(..8)];
            let cost = rng.u32(1..=5);
            // Now and then a client knows nothing, or nothing new.
            match rng.u8(..4) {
                0 => seen = None,
                1 => {}
                _ => seen = item.clone(),
            }
            let Step::Try(update) = rule.step(seen.as_ref(), now, cost) else {
                refused += 1;
                continue;
            };
            match table.update(&format!("key-{place}"), &update).await.expect("an answer") {
                Updated::Stored(new) => {
                    if seen == item {
                        assert_eq!(new, rule.charge(item.as_ref(), now, cost), "seed {seed}, {rule:?}: {update:?}");
                    }
                    item = Some(new);
                    stored += 1;
                }
                Updated::Failed(old) => {
                    assert_ne!(seen, item, "seed {seed}, {rule:?}: what was just seen predicts the branch: {update:?}");
                    assert_eq!(old, item, "seed {seed}, {rule:?}: {update:?}");
                    failed += 1;
                }
            }
        }
        assert!(stored > 50 && failed > 10 && refused > 10, "seed {seed}: {stored} {failed} {refused}");
    }
}

#[tokio::test]
async fn a_request_that_passes_costs_one_call_of_one_write_unit_and_a_known_refusal_nothing() {
    let bench = Bench::new().await;
    let subject = Subject::user("one");
    for text in [BUCKET, WINDOW] {
        let clock = Clock::stopped_at(Timestamp::now());
        let limiter = bench.limiter(text).with_clock(clock.clone());
        for _ in 0..3 {
            assert!(limiter.check(&subject).await.decision().allowed);
            let calls = bench.calls();
            assert_eq!((calls.operations(), calls.units()), (vec!["UpdateItem"], 1.0), "{text}");
        }
        assert!(!limiter.check(&subject).await.decision().allowed);
        assert_eq!(bench.calls().count(), 0, "{text}");
        // A container that knows nothing learns of the refusal from one call.
        assert!(!bench.limiter(text).with_clock(clock).check(&subject).await.decision().allowed);
        assert!(bench.calls().count() <= 2, "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_charges_once_and_is_not_asked_for_again() {
    let bench = Bench::new().await;
    let subject = Subject::user("one");
    for text in [BUCKET, WINDOW] {
        let clock = Clock::stopped_at(Timestamp::now());
        let limiter = bench.limiter(text).with_clock(clock.clone());
        for fault in [Fault::LoseResponse, Fault::FailAfter, Fault::LoseResponse] {
            bench.proxy.faults.plan(move |_| Some(fault));
            let checked = limiter.check(&subject).await;
            assert!(matches!(checked, Checked::Uncounted(decision, _) if !decision.allowed), "{fault:?}: {checked:?}");
            assert_eq!(bench.calls().count(), 1, "{fault:?}");
        }
        bench.proxy.faults.clear();
        // Without an answer the container takes the bucket for full, which the table refuses; the window it need not
        // know as long as the table has never counted more than fits in it.
        let limiter = bench.limiter(text).with_clock(clock);
        let mut left = 0;
        while limiter.check(&subject).await.decision().allowed {
            left += 1;
        }
        assert_eq!(left, if text == BUCKET { 2 } else { 0 }, "{text}");
        bench.calls();
    }
}

#[tokio::test]
async fn a_table_that_is_throttled_broken_or_missing_degrades_as_the_policy_says() {
    let bench = Bench::new().await;
    let clock = Clock::stopped_at(Timestamp::now());
    let missing = DynamoTable::new(&bench.tables.client(), "no-such-table");
    let missing = Limiter::new(missing, policy(&format!("{BUCKET};").replace("deny", "allow")));
    assert!(matches!(missing.check(&Subject::user("one")).await, Checked::Uncounted(..)));
    for fault in [Fault::Throttle, Fault::Fail, Fault::Hang, Fault::LoseRequest] {
        bench.proxy.faults.plan(move |_| Some(fault));
        for (on_error, expected) in
            [("allow", [true; 5]), ("deny", [false; 5]), ("local", [true, true, true, false, false])]
        {
            let limiter = bench.impatient(&BUCKET.replace("deny", on_error)).with_clock(clock.clone());
            for expected in expected {
                let asked = Instant::now();
                let checked = limiter.check(&Subject::user("one")).await;
                assert!(asked.elapsed() < Duration::from_secs(5), "{fault:?} {on_error} took {:?}", asked.elapsed());
                let counted = matches!(checked, Checked::Degraded(..));
                assert_eq!(counted, on_error == "local", "{fault:?} {on_error}: {checked:?}");
                assert!(checked.error().is_some(), "{fault:?} {on_error}: {checked:?}");
                assert_eq!(checked.decision().allowed, expected, "{fault:?} {on_error}");
            }
        }
    }
}

/// Requests that came at the same table through 16 containers.
struct Load {
    /// When those came that were admitted.
    admitted: Vec<Micros>,
    /// The time in which all came.
    seconds: f64,
    /// The longest that one was under way.
    longest: Micros,
}

/// As many as 16 containers get that are asked `per_second` times for `seconds`, if the machine keeps up.
async fn load(text: &str, per_second: u32, seconds: u32) -> Load {
    let tables = TestTables::create(&["RateLimits"]).await;
    let mut limiters = Vec::new();
    for _ in 0..16 {
        let table = DynamoTable::with_timeout(&tables.client(), tables.name("RateLimits"), PATIENCE);
        let limiter = Limiter::new(table, policy(text));
        // Connected before the clock starts.
        limiter.check(&Subject::user("another")).await;
        limiters.push(limiter);
    }
    let period = Duration::from_secs(16) / per_second;
    let mut clients = JoinSet::new();
    for (place, limiter) in (0..).zip(limiters) {
        clients.spawn(async move {
            let mut ticks = interval_at(Instant::now() + period * place / 16, period);
            let mut requests = Vec::new();
            for _ in 0..per_second * seconds / 16 {
                ticks.tick().await;
                let came = now();
                let checked = limiter.check(&Subject::user("one")).await;
                requests.push((came, checked.decision().allowed, now() - came));
            }
            requests
        });
    }
    let mut requests = clients.join_all().await.concat();
    requests.sort_unstable();
    let (first, last) = (requests[0].0, requests[requests.len() - 1].0);
    Load {
        admitted: requests.iter().filter(|(_, admitted, _)| *admitted).map(|(came, ..)| *came).collect(),
        seconds: (last - first) as f64 / 1e6,
        longest: requests.iter().map(|(.., under_way)| *under_way).max().unwrap_or(0),
    }
}

/// A bucket of 20 that gains 20 a second. Answers which share, in per cent, of what it may admit it does.
async fn bucket_under_load(seconds: u32) -> f64 {
    let load = load("token-bucket; rate=20/s; burst=20; by=user; on_error=deny", 100, seconds).await;
    let (count, bound) = (load.admitted.len() as f64, 20.0 + load.seconds * 20.0);
    println!("token bucket: {count} admitted in {:.1} s, {bound:.1} allowed", load.seconds);
    assert!((20.0..=bound).contains(&count), "{count} of {bound}");
    100.0 * count / bound
}

/// The same for a window of this many seconds that lets 20 pass in each of them.
async fn window_under_load(seconds: u32, window: u32) -> f64 {
    let limit = 20 * window;
    let text = format!("sliding-window; limit={limit}; window={window}s; parts=60; by=user; on_error=deny");
    let load = load(&text, 100, seconds).await;
    // A request takes effect after it came, at most `longest` later.
    let certain = 1_000_000 * Micros::from(window) - 2 * load.longest;
    for (place, last) in load.admitted.iter().enumerate() {
        let within = load.admitted[..=place].iter().filter(|came| **came > last - certain).count();
        assert!(within <= limit as usize, "{within} in a window");
    }
    let (count, bound) = (load.admitted.len() as f64, f64::from(limit) * (load.seconds / f64::from(window)).ceil());
    println!("sliding window: {count} admitted in {:.1} s, {bound:.1} allowed", load.seconds);
    assert!(count >= f64::from(limit), "{count} of {bound}");
    100.0 * count / bound
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_containers_under_five_times_the_load_admit_no_more_than_they_may() {
    bucket_under_load(2).await;
    window_under_load(2, 1).await;
}

/// Run it on its own: `cargo test -p orders-tests --test rate_limit -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 20 seconds, and a machine that keeps up"]
async fn sixteen_containers_under_five_times_the_load_admit_nearly_all_that_they_may() {
    let shares = [bucket_under_load(10).await, window_under_load(10, 4).await];
    assert!(shares.iter().all(|share| *share >= 95.0), "{shares:?} per cent");
}
