//! Calls through a breaker: the state machine with its table, its clock and its memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::change::{Change, Changed, Item};
use super::circuit::{Circuit, Rejected, Step, Ticket, micros};
use super::memory::Memory;
use super::settings::Settings;
use super::table::{Store, Table, Unavailable};
use super::transition::Outcome;

/// A circuit breaker. One per callee and process, shared by all calls.
///
/// A call costs no write and, once per cache time, one eventually consistent read while the callee is well; nothing
/// while the circuit is open; a write for each failure and, once per cache time while the window holds a failure, for
/// the successes; two writes for a probe.
pub struct CircuitBreaker<S = Table> {
    name: String,
    settings: Settings,
    store: S,
    clock: Clock,
    memory: Mutex<Memory>,
    /// Held by the one that reads the table; the others wait for what it finds.
    reading: tokio::sync::Mutex<()>,
}

type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// An error that knows whose fault it is.
pub trait Fallible {
    /// Whose fault it is.
    fn blame(&self) -> Blame;
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The callee's: it is down, overloaded or talks nonsense. Counts, and the fallback answers.
    Callee,
    /// The caller's: any callee would have said this. Does not count, and is the caller's to deal with.
    Caller,
}

/// Why the fallback answers.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause<E> {
    /// The call was not made.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The call was made, and the callee failed.
    #[error("the call failed")]
    Failed(#[source] E),
}

/// An answer, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// Whether it is the fallback's. Whoever passes it on says so.
    pub from_fallback: bool,
}

impl<S: Store> CircuitBreaker<S> {
    /// The breaker of this name.
    pub fn new(name: impl Into<String>, settings: Settings, store: S) -> Self {
        let since_1970 = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self::with_clock(name, settings, store, Arc::new(move || micros(since_1970().unwrap_or_default())))
    }

    /// The breaker of this name, with a clock of microseconds since 1970.
    pub fn with_clock(name: impl Into<String>, settings: Settings, store: S, clock: Clock) -> Self {
        let (memory, reading) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { name: name.into(), settings, store, clock, memory, reading }
    }

    /// Makes the call, if the circuit allows it. Where it does not, and where the callee fails, `fallback` answers.
    ///
    /// Dropped half-way, a call counts for nothing; a probe's slot is free again when its lease ends.
    ///
    /// # Errors
    /// Those of `call` that are the caller's own fault ([`Blame::Caller`]).
    pub async fn call<T, E: Fallible>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        fallback: impl FnOnce(Cause<E>) -> T,
    ) -> Result<Answer<T>, E> {
        let ticket = match self.admit().await {
            Ok(ticket) => ticket,
            Err(rejected) => return Ok(Answer { value: fallback(rejected.into()), from_fallback: true }),
        };
        let started = (self.clock)();
        let result = call.await;
        let elapsed = Duration::from_micros((self.clock)().saturating_sub(started));
        let outcome = match &result {
            _ if self.settings.slow.is_some_and(|slow| elapsed > slow) => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(error) if error.blame() == Blame::Callee => Outcome::Failure,
            Err(_) => Outcome::Ignored,
        };
        self.record(ticket, outcome).await;
        match result {
            Ok(value) => Ok(Answer { value, from_fallback: false }),
            Err(error) if error.blame() == Blame::Callee => {
                Ok(Answer { value: fallback(Cause::Failed(error)), from_fallback: true })
            }
            Err(error) => Err(error),
        }
    }

    /// Asks whether a call may be made now. Whoever gets a ticket makes the call and [records](Self::record) what came
    /// of it; [`CircuitBreaker::call`] does both.
    ///
    /// # Errors
    /// [`Rejected`]: the call must not be made.
    pub async fn admit(&self) -> Result<Ticket, Rejected> {
        let now = (self.clock)();
        self.refresh(now).await;
        // Another may take the slot first, and then the next is tried, as often as there are slots.
        for _ in 0..=self.settings.probes {
            let (step, alone) = {
                let memory = self.memory();
                (memory.circuit.admit(&self.settings, now, fastrand::u64(..)), memory.alone)
            };
            let (ticket, change) = match step {
                Step::Admit(ticket) => return Ok(Ticket { alone, ..ticket }),
                Step::Reject(rejected) => return Err(rejected),
                Step::Probe(ticket, change) => (ticket, change),
            };
            if self.memory().is_away(now) {
                self.memory().make(&change);
                return Ok(Ticket { alone: true, ..ticket });
            }
            match self.at_table(&change, now).await {
                Ok(Some(_)) => return Ok(ticket),
                Ok(None) => {}
                Err(_) => return Err(Rejected::Unanswered),
            }
        }
        Err(Rejected::Probing)
    }

    /// Says how the call that `ticket` allowed went. What comes too late, because the circuit has opened or closed or
    /// the probe's lease has gone to another, changes nothing.
    pub async fn record(&self, ticket: Ticket, outcome: Outcome) {
        let now = (self.clock)();
        let Some(change) = self.memory().report(&self.settings, ticket, outcome, now) else { return };
        let Some(circuit) = self.settle(&change, ticket.alone, now).await else { return };
        if let Some(next) = circuit.trip(&self.settings, now).or_else(|| circuit.close(&self.settings, now)) {
            self.settle(&next, ticket.alone, now).await;
        }
    }

    /// The circuit as the table has it, for people to look at.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn inspect(&self) -> Result<Circuit, Unavailable> {
        understand(&self.store.read(&self.name, true).await?)
    }

    /// The breaker's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it was set.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the item, if it is time to.
    async fn refresh(&self, now: u64) {
        if !self.memory().is_due(&self.settings, now) {
            return;
        }
        let _the_only_one = self.reading.lock().await;
        if !self.memory().is_due(&self.settings, now) {
            return;
        }
        // A replica that lags behind must not open or close a circuit again; a generation that really went back means
        // that somebody deleted the item.
        let newest = self.memory().newest;
        for consistent in [false, true] {
            let read = self.store.read(&self.name, consistent).await;
            match read.and_then(|item| understand(&item).map(|circuit| (item, circuit))) {
                Ok((_, circuit)) if circuit.generation < newest && !consistent => {}
                Ok((item, circuit)) => return self.memory().saw(&self.settings, item, circuit, now),
                Err(unavailable) => return self.table_is_away(&unavailable, now),
            }
        }
    }

    /// Makes a change that a result asks for, wherever the circuit lives now. The circuit after it, if it was made.
    async fn settle(&self, change: &Change, alone: bool, now: u64) -> Option<Circuit> {
        let here = alone || self.memory().is_away(now);
        let made = match here {
            true => self.memory().make(change),
            // A result that does not reach the table still counts in this container.
            false => self.at_table(change, now).await.unwrap_or_else(|_| self.memory().make(change)),
        };
        if let Some(circuit) = made.as_ref().filter(|_| change.set.iter().any(|(name, _)| name == "gen")) {
            let Circuit { state, generation, .. } = circuit;
            tracing::warn!(breaker = self.name, %state, generation, alone = here, "the circuit has changed");
        }
        made
    }

    /// Makes a change at the table. The circuit after it, if its guard held.
    async fn at_table(&self, change: &Change, now: u64) -> Result<Option<Circuit>, Unavailable> {
        let changed = self.store.change(&self.name, change).await;
        let understood = changed.and_then(|changed| {
            let (Changed::Made(item) | Changed::Refused(item)) = &changed;
            Ok((understand(item)?, changed))
        });
        let (circuit, changed) = understood.inspect_err(|unavailable| self.table_is_away(unavailable, now))?;
        let made = matches!(changed, Changed::Made(_)).then(|| circuit.clone());
        let (Changed::Made(item) | Changed::Refused(item)) = changed;
        let mut memory = self.memory();
        if circuit.generation >= memory.newest {
            memory.saw(&self.settings, item, circuit, now);
        }
        Ok(made)
    }

    fn table_is_away(&self, unavailable: &Unavailable, now: u64) {
        let error: &dyn std::error::Error = unavailable;
        tracing::warn!(breaker = self.name, error, "the circuit goes on without its table");
        self.memory().table_is_away(&self.settings, now);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn understand(item: &Item) -> Result<Circuit, Unavailable> {
    Circuit::read(item).map_err(|malformed| Unavailable(malformed.into()))
}
