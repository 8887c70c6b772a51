//! The limiters on a real table: their expressions, their cost, and their bounds under load.
#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by a panic")]

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

/// A call timeout that a busy machine does not exceed.
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
        let (tables, proxy) = TestTables::create_behind_proxy(&["RateLimits"]).await;
        Self { tables, proxy }
    }

    /// A limiter of another container.
    fn limiter(&self, text: &str) -> Limiter<DynamoTable> {
        let client = self.proxy.client(PATIENCE);
        Limiter::new(DynamoTable::with_timeout(&client, self.tables.name("RateLimits"), PATIENCE), policy(text))
    }

    /// The same with the call timeout of the functions.
    fn impatient(&self, text: &str) -> Limiter<DynamoTable> {
        let client = self.proxy.client(PATIENCE);
        Limiter::new(DynamoTable::new(&client, self.tables.name("RateLimits")), policy(text))
    }

    fn calls(&self) -> Calls {
        self.proxy.faults.take_calls()
    }
}

#[tokio::test]
async fn the_table_applies_updates_as_the_rule_does() {
    let tables = TestTables::create(&["RateLimits"]).await;
    let table = DynamoTable::with_timeout(&tables.client(), tables.name("RateLimits"), PATIENCE);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let rules: [&dyn Algorithm; 2] = [&TokenBucket::new(200_000, 5), &SlidingWindow::new(5, 1_000_000, 10)];
    for (place, rule) in rules.into_iter().enumerate() {
        let (mut item, mut seen): (Option<Item>, Option<Item>) = (None, None);
        let (mut now, mut stored, mut failed, mut rejected) = (now(), 0, 0, 0);
        for _ in 0..400 {
            now += [0, 1, 30_000, 200_000, 1_100_000, -50_000, 4_000_000_000, -4_000_000_000][rng.usize(..8)];
            let cost = rng.u32(1..=5);
            // The client has no view of the item, an old one, or the current one.
            match rng.u8(..4) {
                0 => seen = None,
                1 => {}
                _ => seen = item.clone(),
            }
            let Step::Try(update) = rule.step(seen.as_ref(), now, cost) else {
                rejected += 1;
                continue;
            };
            match table.update(&format!("key-{place}"), &update).await.expect("a response") {
                Updated::Stored(new) => {
                    if seen == item {
                        assert_eq!(new, rule.charge(item.as_ref(), now, cost), "seed {seed}, {rule:?}: {update:?}");
                    }
                    item = Some(new);
                    stored += 1;
                }
                Updated::Failed(old) => {
                    assert_ne!(seen, item, "seed {seed}, {rule:?}: the current item predicts the branch: {update:?}");
                    assert_eq!(old, item, "seed {seed}, {rule:?}: {update:?}");
                    failed += 1;
                }
            }
        }
        assert!(stored > 50 && failed > 10 && rejected > 10, "seed {seed}: {stored} {failed} {rejected}");
    }
}

#[tokio::test]
async fn an_admitted_request_costs_one_write_unit_and_a_rejection_known_to_the_container_no_call() {
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
        // A container without a view of the item learns of the rejection by a call.
        assert!(!bench.limiter(text).with_clock(clock).check(&subject).await.decision().allowed);
        assert!(bench.calls().count() <= 2, "{text}");
    }
}

#[tokio::test]
async fn a_call_whose_response_is_lost_charges_once_and_is_not_retried() {
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
        // Without a response the container assumes a full bucket, and the table rejects the update. An update of a window
        // needs no view until the table has counted a full window.
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
async fn a_limiter_whose_table_is_throttled_failing_or_missing_follows_its_on_error_policy() {
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
                let begun = Instant::now();
                let checked = limiter.check(&Subject::user("one")).await;
                assert!(begun.elapsed() < Duration::from_secs(5), "{fault:?} {on_error} took {:?}", begun.elapsed());
                let counted = matches!(checked, Checked::Degraded(..));
                assert_eq!(counted, on_error == "local", "{fault:?} {on_error}: {checked:?}");
                assert!(checked.error().is_some(), "{fault:?} {on_error}: {checked:?}");
                assert_eq!(checked.decision().allowed, expected, "{fault:?} {on_error}");
            }
        }
    }
}

/// The requests of 16 containers on one table.
struct Load {
    /// The arrival times of the admitted requests.
    admitted: Vec<Micros>,
    /// The time between the first and the last arrival.
    seconds: f64,
    /// The duration of the longest call.
    longest: Micros,
}

/// Sends `per_second` requests for `seconds` to 16 containers together, if the machine keeps up.
async fn load(text: &str, per_second: u32, seconds: u32) -> Load {
    let tables = TestTables::create(&["RateLimits"]).await;
    let mut limiters = Vec::new();
    for _ in 0..16 {
        let table = DynamoTable::with_timeout(&tables.client(), tables.name("RateLimits"), PATIENCE);
        let limiter = Limiter::new(table, policy(text));
        // Connects before the measurement.
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

/// A bucket of 20 with a rate of 20 per second. Returns the admitted share of the bound in per cent.
async fn bucket_under_load(seconds: u32) -> f64 {
    let load = load("token-bucket; rate=20/s; burst=20; by=user; on_error=deny", 100, seconds).await;
    let (count, bound) = (load.admitted.len() as f64, 20.0 + load.seconds * 20.0);
    println!("token bucket: {count} admitted in {:.1} s, {bound:.1} allowed", load.seconds);
    assert!((20.0..=bound).contains(&count), "{count} of {bound}");
    100.0 * count / bound
}

/// The same for a window of this many seconds, which admits 20 requests per second.
async fn window_under_load(seconds: u32, window: u32) -> f64 {
    let limit = 20 * window;
    let text = format!("sliding-window; limit={limit}; window={window}s; parts=60; by=user; on_error=deny");
    let load = load(&text, 100, seconds).await;
    // A request is counted at most `longest` after its arrival.
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
async fn sixteen_containers_at_five_times_the_limit_admit_no_more_than_the_limit() {
    bucket_under_load(2).await;
    window_under_load(2, 1).await;
}

/// Run it alone: `cargo test --workspace --test rate_limit -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 20 seconds on a machine without other load"]
async fn sixteen_containers_at_five_times_the_limit_admit_nearly_the_limit() {
    let shares = [bucket_under_load(10).await, window_under_load(10, 4).await];
    assert!(shares.iter().all(|share| *share >= 95.0), "{shares:?} per cent");
}
