//! A breaker: the state machine with its table, its clock and its memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use service_clock::Clock;

use super::change::{Change, Changed, Item};
use super::circuit::{Circuit, MAKER, Rejected, Step, Permit};
use super::intervention::Order;
use super::memory::Memory;
use super::notice::{Origin, Transition};
use super::settings::Settings;
use super::table::{Store, Table, Unavailable};
use super::transition::Outcome;

/// A circuit breaker. One per callee and process, shared by all calls.
///
/// Once per cache time calls cost one eventually consistent read; once per ten of them while the circuit is open by itself,
/// and nothing if it is open for less. Beside that they cost nothing while the callee is well and while the circuit is
/// open; a write for each failure and, once per cache time while the window holds a failure, for the successes; two
/// writes for a probe.
pub struct CircuitBreaker<S = Table> {
    name: String,
    settings: Settings,
    store: S,
    clock: Clock,
    hook: Option<Hook>,
    /// What this process marks its transitions with.
    id: u64,
    memory: Mutex<Memory>,
    /// Held by the one that reads the table; the others wait for what it finds.
    reading: tokio::sync::Mutex<()>,
}

type Hook = Arc<dyn Fn(&Transition) + Send + Sync>;

/// How often an order is given anew that met a circuit which had just changed.
const ATTEMPTS: usize = 10;

impl<S: Store> CircuitBreaker<S> {
    /// The breaker of this name.
    pub fn new(name: impl Into<String>, settings: Settings, store: S) -> Self {
        Self {
            name: name.into(),
            settings,
            store,
            clock: Clock::default(),
            hook: None,
            id: fastrand::u64(1..),
            memory: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// The same breaker with another clock than the system's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The same breaker, which tells `hook` of every transition that this process makes, exactly once, and of those that it
    /// finds others to have made when it looks. One whose answer was lost is found at the next look, unless others have
    /// made another one meanwhile.
    ///
    /// The hook runs within the call that makes or finds the transition, after it has been made, and holds no lock of the
    /// breaker's: one that is slow delays that call and no other. One that panics is caught, where panics unwind, and
    /// told in the log; the call goes on. The end of an order's time is no transition by itself: nothing is written.
    #[must_use]
    pub fn on_transition(self, hook: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        Self { hook: Some(Arc::new(hook)), ..self }
    }

    /// Asks whether a call may be made now. Whoever gets a permit makes the call and [records](Self::record) what came
    /// of it; [`CircuitBreaker::call`] does both.
    ///
    /// # Errors
    /// [`Rejected`]: the call must not be made.
    pub async fn admit(&self) -> Result<Permit, Rejected> {
        let now = self.now();
        self.refresh(now).await;
        // Another may be the first probe or take the slot first, and then the next is tried, as often as there are slots.
        for _ in 0..=self.settings.probes + 1 {
            let (circuit, alone) = {
                let memory = self.memory();
                (memory.circuit.clone(), memory.alone)
            };
            let step = circuit.admit(&self.settings, now, fastrand::u64(..));
            let (permit, change) = match step {
                Step::Admit(permit) => return Ok(Permit { alone, ..permit }),
                Step::Reject(rejected) => return Err(rejected),
                Step::Probe(permit, change) => (permit, change),
            };
            if self.memory().is_away(now) {
                self.make_alone(&change);
                return Ok(Permit { alone: true, ..permit });
            }
            match self.at_table(&change, &circuit, now).await {
                Ok((true, _)) => return Ok(permit),
                Ok((false, _)) => {}
                Err(_) => return Err(Rejected::TableUnavailable),
            }
        }
        Err(Rejected::Probing)
    }

    /// Says how the call that `permit` allowed went. What comes too late, because the circuit has opened or closed or
    /// the probe's lease has gone to another, changes nothing.
    pub async fn record(&self, permit: Permit, outcome: Outcome) {
        let now = self.now();
        let (change, before) = {
            let mut memory = self.memory();
            let Some(change) = memory.report(&self.settings, permit, outcome, now) else { return };
            (change, memory.circuit.clone())
        };
        let Some(circuit) = self.settle(&change, &before, permit.alone, now).await else { return };
        if let Some(next) = circuit.trip(&self.settings, now).or_else(|| circuit.close(&self.settings, now)) {
            self.settle(&next, &circuit, permit.alone, now).await;
        }
    }

    /// Has the breaker held open or closed, or reset, by hand. The circuit after it. Where it is as ordered already, by the
    /// same order word for word, nothing is changed.
    ///
    /// Whatever was on its way meanwhile changes nothing any more. Other containers follow when they next look: after the
    /// cache time and half as much again, at the latest, or when the table answers them again. While it is open by itself
    /// that takes ten times as long; none probes against an order meanwhile, since a probe asks the table.
    ///
    /// # Errors
    /// [`Unavailable`]; the order may have been carried out, and can be given again.
    pub async fn order(&self, order: &Order) -> Result<Circuit, Unavailable> {
        let now = self.now();
        let (mut circuit, news) = self.look(now).await?;
        self.tell(news);
        for _ in 0..ATTEMPTS {
            if circuit.obeys(order, now) {
                return Ok(circuit);
            }
            let (made, after) = self.at_table(&circuit.order(order, now), &circuit, now).await?;
            if made {
                return Ok(after);
            }
            circuit = after;
        }
        Err(Unavailable("the circuit changes all the time".into()))
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
        if !self.memory().is_due(now) {
            return;
        }
        let the_only_one = self.reading.lock().await;
        if !self.memory().is_due(now) {
            return;
        }
        // A replica that lags behind must not open or close a circuit again; a generation that really went back means
        // that somebody deleted the item.
        let newest = self.memory().newest;
        let read = self.store.read(&self.name, false).await;
        let news = match read.and_then(|item| understand(&item).map(|circuit| (item, circuit))) {
            Ok((item, circuit)) if circuit.generation >= newest => self.saw(item, &circuit, newest, now),
            Ok(_) => self.look(now).await.ok().and_then(|(_, news)| news),
            Err(unavailable) => {
                self.table_is_away(&unavailable, now);
                None
            }
        };
        // Those who waited for the read do not wait for the hook.
        drop(the_only_one);
        self.tell(news);
    }

    /// Reads the item as it is now. The circuit, and what is to be told.
    async fn look(&self, now: u64) -> Result<(Circuit, Option<News>), Unavailable> {
        let newest = self.memory().newest;
        let read = self.store.read(&self.name, true).await;
        let read = read.and_then(|item| understand(&item).map(|circuit| (item, circuit)));
        let (item, circuit) = read.inspect_err(|unavailable| self.table_is_away(unavailable, now))?;
        let news = self.saw(item, &circuit, newest, now);
        Ok((circuit, news))
    }

    /// Makes a change that a result asks for, wherever the circuit lives now. The circuit after it, if it was made.
    async fn settle(&self, change: &Change, before: &Circuit, alone: bool, now: u64) -> Option<Circuit> {
        if alone || self.memory().is_away(now) {
            return self.make_alone(change);
        }
        match self.at_table(change, before, now).await {
            Ok((made, circuit)) => made.then_some(circuit),
            // A result that does not reach the table still counts in this container.
            Err(_) => self.make_alone(change),
        }
    }

    /// Makes a change in this container only. The circuit after it, if its guard held.
    fn make_alone(&self, change: &Change) -> Option<Circuit> {
        let (before, after) = {
            let mut memory = self.memory();
            (memory.circuit.clone(), memory.make(change)?)
        };
        let news = News { from: before, to: after.clone(), origin: Origin::LocalOnly };
        self.tell(Some(news).filter(|news| !news.from.is_like(&news.to)));
        Some(after)
    }

    /// Makes a change at the table that was decided on `before`. Whether its guard held, and the circuit after it.
    async fn at_table(&self, change: &Change, before: &Circuit, now: u64) -> Result<(bool, Circuit), Unavailable> {
        let changed = self.store.change(&self.name, &self.marked(change)).await;
        let understood = changed.and_then(|changed| {
            let (Changed::Applied(item) | Changed::ConditionFailed(item)) = &changed;
            Ok((understand(item)?, changed))
        });
        let (circuit, changed) = understood.inspect_err(|unavailable| self.table_is_away(unavailable, now))?;
        let made = matches!(changed, Changed::Applied(_));
        let (Changed::Applied(item) | Changed::ConditionFailed(item)) = changed;
        // One that only counts shows transitions of others too.
        let ours = made && circuit.maker == self.id && !before.is_like(&circuit);
        let ours = ours && self.memory().is_news(&circuit);
        let ours = ours.then(|| News { from: before.clone(), to: circuit.clone(), origin: Origin::ThisProcess });
        let seen = self.saw(item, &circuit, circuit.generation, now);
        self.tell(ours.or(seen));
        Ok((made, circuit))
    }

    /// Every transition carries the mark of the process that makes it, so that it knows it again whoever shows it.
    fn marked(&self, change: &Change) -> Change {
        let mut change = change.clone();
        if change.set.iter().any(|(name, _)| name == "st") {
            change.set.push((MAKER.into(), self.id.into()));
        }
        change
    }

    /// Takes on what the table shows, unless more than `newest` has been seen meanwhile. What is to be told of it.
    fn saw(&self, item: Item, circuit: &Circuit, newest: u64, now: u64) -> Option<News> {
        let mut memory = self.memory();
        if memory.newest > newest.max(circuit.generation) {
            return None;
        }
        let was_alone = memory.alone;
        let shown = memory.shown.clone();
        let before = memory.saw(&self.settings, item, circuit.clone(), now);
        let ours = circuit.maker == self.id && memory.is_news(circuit);
        let (from, origin) = match before? {
            // Its answer was lost: this process went on alone, from what it then was.
            _ if ours => (shown, Origin::ThisProcess),
            before if circuit.maker != self.id || was_alone => (before, Origin::OtherProcess),
            _ => return None,
        };
        Some(News { from, to: circuit.clone(), origin })
    }

    fn tell(&self, news: Option<News>) {
        let (Some(hook), Some(News { from, to, origin })) = (&self.hook, news) else { return };
        let transition = Transition::new(&self.name, &from, &to, origin);
        if catch_unwind(AssertUnwindSafe(|| hook(&transition))).is_err() {
            tracing::error!(breaker = self.name, "the hook that is told of transitions panicked");
        }
    }

    /// The time in microseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.micros()).unwrap_or_default()
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

/// A transition that the hook has not been told of.
struct News {
    from: Circuit,
    to: Circuit,
    origin: Origin,
}

fn understand(item: &Item) -> Result<Circuit, Unavailable> {
    Circuit::read(item).map_err(|malformed| Unavailable(malformed.into()))
}
