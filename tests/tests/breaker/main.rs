//! The breaker on a real DynamoDB: its expressions evaluate as in memory, they are atomic, and a table that fails or hangs
//! delays a call only briefly.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dynamodb_circuit_breaker::{
    Action, Change, Changed, Circuit, CircuitBreaker, ClassifyError, ErrorClass, Item, Outcome, Override, State, Store,
    Table, Unavailable,
};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use futures::future::join_all;
use orders_tests::database::TestTables;
use service_clock::Clock;

const TABLE: &str = "CircuitBreakers";
/// A call timeout that a busy machine does not exceed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Failure;

impl ClassifyError for Failure {
    fn class(&self) -> ErrorClass {
        ErrorClass::Callee
    }
}

/// The table, and an item in memory with the same changes. The two must be equal.
#[derive(Clone)]
struct Both {
    table: Table,
    memory: Arc<Mutex<Item>>,
    made: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl Both {
    fn item(&self) -> MutexGuard<'_, Item> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Both {
    async fn read(&self, name: &str, _: bool) -> Result<Item, Unavailable> {
        let item = self.table.read(name, true).await?;
        assert_eq!(item, *self.item());
        Ok(item)
    }

    async fn change(&self, name: &str, change: &Change) -> Result<Changed, Unavailable> {
        let at_table = self.table.change(name, change).await?;
        let mut item = self.item();
        let in_memory = change.apply(item.clone());
        assert_eq!(at_table, in_memory, "{change:?}");
        match &in_memory {
            Changed::Applied(after) => {
                self.made.fetch_add(1, SeqCst);
                *item = after.clone();
            }
            Changed::ConditionFailed(_) => _ = self.refused.fetch_add(1, SeqCst),
        }
        Ok(at_table)
    }
}

#[tokio::test]
async fn the_table_and_the_evaluator_in_memory_agree() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    fastrand::seed(seed);
    let tables = TestTables::create(&[TABLE]).await;
    let table = Table::new(tables.client(), tables.name(TABLE)).with_timeout(PATIENCE);
    let store = Both { table, memory: Arc::default(), made: Arc::default(), refused: Arc::default() };
    let clock = Arc::new(AtomicU64::new(1_800_000_000_000_000));
    let settings = "failures=3; calls=3; window=5s; open=1s; open-max=4s; probes=2; successes=2; lease=2s; ramp=0s";
    let breakers: Vec<_> = (0..4)
        .map(|_| {
            let clock = clock.clone();
            let clock = Clock::new(move || clock.load(SeqCst).try_into().unwrap());
            CircuitBreaker::new("callee", settings.parse().unwrap(), store.clone()).with_clock(clock)
        })
        .collect();
    let (mut permits, mut states, mut orders) = (Vec::new(), [0_u32; 3], 0);
    // Permits are recorded later, so that results come late and from containers with an old view.
    for step in 0..1_500 {
        clock.fetch_add(fastrand::u64(0..300_000), SeqCst);
        let breaker = fastrand::usize(0..breakers.len());
        if fastrand::u8(0..50) == 0 {
            let until = fastrand::bool().then(|| clock.load(SeqCst) + fastrand::u64(0..3_000_000));
            let actions = [Action::ForceOpen { until }, Action::ForceClosed { until }, Action::Reset];
            let order =
                Override { action: fastrand::choice(actions).unwrap(), by: "somebody".into(), why: "dice".into() };
            breakers[breaker].set_override(&order).await.unwrap();
            orders += 1;
        }
        if let Ok(permit) = breakers[breaker].admit().await {
            permits.push((breaker, permit));
        }
        while permits.len() > 6 {
            let (breaker, permit) = permits.swap_remove(fastrand::usize(0..permits.len()));
            let down = step % 300 < 150;
            let outcome = match fastrand::u8(0..10) {
                0 => Outcome::Ignored,
                1..8 if down => Outcome::Failure,
                _ => Outcome::Success,
            };
            breakers[breaker].record(permit, outcome).await;
        }
        let state = Circuit::read(&store.item()).unwrap().state;
        states[state as usize] += 1;
    }
    let (made, refused) = (store.made.load(SeqCst), store.refused.load(SeqCst));
    println!("{made} changes made, {refused} refused, {orders} orders; closed, open and half-open: {states:?}");
    assert!(made > 100 && refused > 20 && states.iter().all(|steps| *steps > 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_32_concurrent_failures_opens_the_breaker() {
    let (tables, proxy) = TestTables::create_behind_proxy(&[TABLE]).await;
    let table = Table::new(proxy.client(PATIENCE), tables.name(TABLE)).with_timeout(PATIENCE);
    let settings = "failures=32; calls=32".parse().unwrap();
    for round in 1..=5 {
        // One failure is missing in the window, and 32 containers add one concurrently.
        let name = format!("callee-{round}");
        let breakers: Vec<_> = (0..32).map(|_| CircuitBreaker::new(&name, settings, table.clone())).collect();
        for breaker in &breakers[..31] {
            breaker.call(async { Err::<(), _>(Failure) }, |_| ()).await.unwrap();
        }
        let permits = join_all(breakers.iter().map(CircuitBreaker::admit)).await;
        let records =
            breakers.iter().zip(permits).map(|(breaker, permit)| breaker.record(permit.unwrap(), Outcome::Failure));
        join_all(records).await;
        let circuit = breakers[0].inspect().await.unwrap();
        assert_eq!((circuit.generation, circuit.state, circuit.trips), (1, State::Open, 1));
    }
    let openings = proxy.faults.take_calls().filter(|call| call.body.to_string().contains("#open_until = :"));
    let won = openings.filter(|call| call.status == Some(200)).count();
    println!("{} attempts to open it in five rounds", openings.count());
    assert_eq!(won, 5);
}

#[tokio::test]
async fn a_healthy_callee_costs_one_read_per_cache_time_and_an_open_breaker_no_call() {
    let (tables, proxy) = TestTables::create_behind_proxy(&[TABLE]).await;
    let table = Table::new(proxy.client(PATIENCE), tables.name(TABLE)).with_timeout(PATIENCE);
    let breaker = CircuitBreaker::new("callee", "failures=5; window=1h; cache=10s".parse().unwrap(), table);
    let call = async |well| {
        let result = if well { Ok("yes") } else { Err(Failure) };
        breaker.call(async { result }, |_| "fallback").await.unwrap().value
    };
    for _ in 0..200 {
        assert_eq!(call(true).await, "yes");
    }
    assert_eq!(proxy.faults.take_calls().operations(), ["GetItem"]);
    // With 200 successes in the window more than five failures open it, and each is one write.
    for _ in 0..200 {
        call(false).await;
    }
    assert_eq!(proxy.faults.take_calls().operations(), ["UpdateItem"; 201], "and one that opens it");
    for _ in 0..200 {
        assert_eq!(call(true).await, "fallback");
    }
    assert_eq!(proxy.faults.take_calls().count(), 0);
}

#[tokio::test]
async fn a_table_that_hangs_or_fails_delays_a_call_only_briefly() {
    let tables = TestTables::create(&[TABLE]).await;
    for fault in [Fault::Hang, Fault::HangAfter, Fault::LoseRequest, Fault::LoseResponse, Fault::Throttle, Fault::Fail]
    {
        let proxy = Proxy::start(tables.endpoint());
        let table = Table::new(proxy.client(PATIENCE), tables.name(TABLE));
        let settings = "failures=3; calls=3; cache=10s; open=10s".parse().unwrap();
        let breaker = CircuitBreaker::new(format!("{fault:?}"), settings, table);
        breaker.call(async { Ok::<_, Failure>(()) }, |_| ()).await.unwrap();
        proxy.faults.take_calls();
        proxy.faults.plan(move |_| Some(fault));
        let begun = Instant::now();
        for _ in 0..3 {
            let answer = breaker.call(async { Err::<&str, _>(Failure) }, |_| "fallback").await.unwrap();
            assert_eq!(answer.value, "fallback");
        }
        let refused = breaker.call(async { Ok::<_, Failure>("yes") }, |_| "fallback").await.unwrap();
        assert_eq!(refused.value, "fallback", "it opened in the container");
        let elapsed = begun.elapsed();
        // Only the first failure calls the table, without a retry; none does if the call before it was too slow already.
        assert!(proxy.faults.take_calls().count() <= 1, "{fault:?}");
        assert!(elapsed < Duration::from_secs(2), "{fault:?}: {elapsed:?}");
    }
}
