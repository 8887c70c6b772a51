//! A breaker on a table in memory that counts its calls, with a manual clock.

use std::future::ready;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dynamodb_circuit_breaker::{
    Change, Changed, Circuit, CircuitBreaker, ClassifyError, ErrorClass, Item, Store, Transition, Unavailable,
};
use service_clock::Clock;

use crate::world::SECOND;

/// A table in memory that counts its calls and can be taken down.
#[derive(Default)]
pub struct Table {
    pub item: Mutex<Item>,
    /// What an eventually consistent read returns instead of the item.
    pub stale: Mutex<Option<Item>>,
    pub down: AtomicBool,
    /// Transitions are applied, but their responses are lost.
    pub drops_transition_responses: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Table {
    fn respond<T>(&self, respond: impl FnOnce() -> T) -> Result<T, Unavailable> {
        if self.down.load(SeqCst) { Err(Unavailable("down".into())) } else { Ok(respond()) }
    }

    /// Reads and writes since the last call.
    pub fn calls(&self) -> (u64, u64) {
        (self.reads.swap(0, SeqCst), self.writes.swap(0, SeqCst))
    }

    pub fn circuit(&self) -> Circuit {
        Circuit::read(&self.item.lock().unwrap()).unwrap()
    }
}

/// A container's connection to the table.
pub struct Connection(Arc<Table>);

impl Store for Connection {
    async fn read(&self, _: &str, consistent: bool) -> Result<Item, Unavailable> {
        let table = &self.0;
        table.reads.fetch_add(1, SeqCst);
        let stale = table.stale.lock().unwrap().clone().filter(|_| !consistent);
        table.respond(|| stale.unwrap_or_else(|| table.item.lock().unwrap().clone()))
    }

    async fn change(&self, _: &str, change: &Change) -> Result<Changed, Unavailable> {
        let table = &self.0;
        table.writes.fetch_add(1, SeqCst);
        let changed = table.respond(|| {
            let mut item = table.item.lock().unwrap();
            let changed = change.apply(item.clone());
            if let Changed::Applied(after) = &changed {
                *item = after.clone();
            }
            changed
        });
        let lost = table.drops_transition_responses.load(SeqCst) && change.set.iter().any(|(name, _)| name == "st");
        if lost { Err(Unavailable("lost".into())) } else { changed }
    }
}

#[derive(Debug, PartialEq)]
pub struct Fault(pub ErrorClass);

impl ClassifyError for Fault {
    fn class(&self) -> ErrorClass {
        self.0
    }
}

/// A breaker on a table, with a manual clock.
pub struct Case {
    pub table: Arc<Table>,
    pub clock: Arc<AtomicU64>,
    settings: String,
    notified: Arc<Mutex<Vec<Transition>>>,
    pub breaker: CircuitBreaker<Connection>,
}

impl Case {
    pub fn new(settings: &str) -> Self {
        Self::on(Arc::default(), Arc::new(AtomicU64::new(1_800_000_000 * SECOND)), settings)
    }

    fn on(table: Arc<Table>, clock: Arc<AtomicU64>, settings: &str) -> Self {
        let notified = Arc::<Mutex<Vec<Transition>>>::default();
        let log = notified.clone();
        let breaker = Self::container(&table, &clock, settings)
            .on_transition(move |transition| log.lock().unwrap().push(transition.clone()));
        Self { table, clock, settings: settings.to_owned(), breaker, notified }
    }

    fn container(table: &Arc<Table>, clock: &Arc<AtomicU64>, settings: &str) -> CircuitBreaker<Connection> {
        let clock = clock.clone();
        let clock = Clock::new(move || clock.load(SeqCst).try_into().unwrap());
        CircuitBreaker::new("callee", settings.parse().unwrap(), Connection(table.clone())).with_clock(clock)
    }

    /// Another container with the same table and clock.
    pub fn another(&self) -> Self {
        let (table, clock) = (self.table.clone(), self.clock.clone());
        Self::on(table, clock, &self.settings)
    }

    pub fn now(&self) -> u64 {
        self.clock.load(SeqCst)
    }

    /// The transitions passed to the hook since the last call.
    pub fn notified(&self) -> Vec<Transition> {
        std::mem::take(&mut self.notified.lock().unwrap())
    }

    pub fn advance(&self, time: Duration) {
        self.clock.fetch_add(u64::try_from(time.as_micros()).unwrap(), SeqCst);
    }

    pub async fn call(&self, result: Result<&'static str, Fault>) -> (&'static str, bool) {
        let respond = self.breaker.call(ready(result), |_| "fallback").await.unwrap();
        (respond.value, respond.from_fallback)
    }

    pub async fn fail(&self, times: u32) {
        for _ in 0..times {
            assert_eq!(self.call(Err(Fault(ErrorClass::Callee))).await, ("fallback", true));
        }
    }
}
