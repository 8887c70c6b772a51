//! The breaker: the circuit with its table, clock and local state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use service_clock::Clock;

use super::change::{Change, Changed, Item};
use super::circuit::{Circuit, MAKER, Permit, Rejected, Step};
use super::event::{Origin, Transition};
use super::local_state::LocalState;
use super::overrides::Override;
use super::settings::Settings;
use super::table::{Store, Table, Unavailable};
use super::transition::Outcome;

/// A circuit breaker. Create one per callee and process; all calls share it.
///
/// Once per cache time a call makes one eventually consistent read, or once per ten cache times while the circuit is
/// open without an override. Otherwise calls cost nothing while the callee is healthy or the circuit is open. A failure
/// costs a write. Successes cost one write per cache time while the window holds a failure. A probe costs two writes.
pub struct CircuitBreaker<S = Table> {
    name: String,
    settings: Settings,
    store: S,
    clock: Clock,
    hook: Option<Hook>,
    /// Identifies the transitions of this process.
    id: u64,
    local_state: Mutex<LocalState>,
    /// Held while reading the table, so that concurrent calls wait for one read.
    reading: tokio::sync::Mutex<()>,
}

type Hook = Arc<dyn Fn(&Transition) + Send + Sync>;

/// How often an override is retried after a concurrent change.
const ATTEMPTS: usize = 10;

impl<S: Store> CircuitBreaker<S> {
    /// The breaker `name`.
    pub fn new(name: impl Into<String>, settings: Settings, store: S) -> Self {
        Self {
            name: name.into(),
            settings,
            store,
            clock: Clock::default(),
            hook: None,
            id: fastrand::u64(1..),
            local_state: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Replaces the system clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Calls `hook` exactly once for every transition that this process makes, and for those of other processes that it
    /// finds in the table. A transition whose response was lost is found at the next read, unless others have changed
    /// the circuit again meanwhile.
    ///
    /// The hook runs within the call that makes or finds the transition, without a lock: a slow hook delays only that
    /// call. A panic is caught and logged, if panics unwind. The end of an override is not a transition, since nothing
    /// is written.
    #[must_use]
    pub fn on_transition(self, hook: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        Self { hook: Some(Arc::new(hook)), ..self }
    }

    /// Requests a permit for a call. The holder makes the call and [records](Self::record) its outcome;
    /// [`CircuitBreaker::call`] does both.
    ///
    /// # Errors
    /// [`Rejected`]: the call must not be made.
    pub async fn admit(&self) -> Result<Permit, Rejected> {
        let now = self.now();
        self.refresh(now).await;
        // Others may take the slot or start the first probe first; then the next slot is tried.
        for _ in 0..=self.settings.probes + 1 {
            let (circuit, local_only) = {
                let local_state = self.local_state();
                (local_state.circuit.clone(), local_state.local_only)
            };
            let step = circuit.admit(&self.settings, now, fastrand::u64(..));
            let (permit, change) = match step {
                Step::Admit(permit) => return Ok(Permit { local_only, ..permit }),
                Step::Reject(rejected) => return Err(rejected),
                Step::Probe(permit, change) => (permit, change),
            };
            if self.local_state().is_table_down(now) {
                self.apply_locally(&change);
                return Ok(Permit { local_only: true, ..permit });
            }
            match self.apply_at_table(&change, &circuit, now).await {
                Ok((true, _)) => return Ok(permit),
                Ok((false, _)) => {}
                Err(_) => return Err(Rejected::TableUnavailable),
            }
        }
        Err(Rejected::Probing)
    }

    /// Records the outcome of the call that `permit` allowed. It is ignored if the circuit has opened or closed since,
    /// or the probe's lease has passed to another call.
    pub async fn record(&self, permit: Permit, outcome: Outcome) {
        let now = self.now();
        let (change, before) = {
            let mut local_state = self.local_state();
            let Some(change) = local_state.report(&self.settings, permit, outcome, now) else { return };
            (change, local_state.circuit.clone())
        };
        let Some(circuit) = self.apply(&change, &before, permit.local_only, now).await else { return };
        if let Some(next) = circuit.trip(&self.settings, now).or_else(|| circuit.close(&self.settings, now)) {
            self.apply(&next, &circuit, permit.local_only, now).await;
        }
    }

    /// Forces the breaker open or closed, or resets it, and returns the circuit. Does nothing if the same override is
    /// already in force.
    ///
    /// Calls in flight no longer affect the circuit. Other containers follow when they next read the table: within 1.5
    /// cache times, or ten times that while the circuit is open without an override. None of them probes meanwhile,
    /// because probes are conditional writes.
    ///
    /// # Errors
    /// [`Unavailable`]; the override may have been stored. It is safe to retry.
    pub async fn set_override(&self, requested: &Override) -> Result<Circuit, Unavailable> {
        let now = self.now();
        let (mut circuit, notification) = self.read_consistent(now).await?;
        self.notify(notification);
        for _ in 0..ATTEMPTS {
            if circuit.already_applied(requested, now) {
                return Ok(circuit);
            }
            let (made, after) = self.apply_at_table(&circuit.set_override(requested, now), &circuit, now).await?;
            if made {
                return Ok(after);
            }
            circuit = after;
        }
        Err(Unavailable("the circuit changed during every attempt to set the override".into()))
    }

    /// The circuit in the table, by a consistent read.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn inspect(&self) -> Result<Circuit, Unavailable> {
        parse(&self.store.read(&self.name, true).await?)
    }

    /// The breaker's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the item if the cached one has expired.
    async fn refresh(&self, now: u64) {
        if !self.local_state().needs_read(now) {
            return;
        }
        let reading = self.reading.lock().await;
        if !self.local_state().needs_read(now) {
            return;
        }
        // A stale replica must not open or close the circuit again. A consistent read shows whether the generation
        // really went back, which means that the item was deleted.
        let newest_generation = self.local_state().newest_generation;
        let read = self.store.read(&self.name, false).await;
        let notification = match read.and_then(|item| parse(&item).map(|circuit| (item, circuit))) {
            Ok((item, circuit)) if circuit.generation >= newest_generation => {
                self.update_from_table(item, &circuit, newest_generation, now)
            }
            Ok(_) => self.read_consistent(now).await.ok().and_then(|(_, notification)| notification),
            Err(unavailable) => {
                self.table_failed(&unavailable, now);
                None
            }
        };
        // Calls that waited for the read do not wait for the hook.
        drop(reading);
        self.notify(notification);
    }

    /// Reads the item consistently. The circuit, and the transition to notify.
    async fn read_consistent(&self, now: u64) -> Result<(Circuit, Option<Notification>), Unavailable> {
        let newest_generation = self.local_state().newest_generation;
        let read = self.store.read(&self.name, true).await;
        let read = read.and_then(|item| parse(&item).map(|circuit| (item, circuit)));
        let (item, circuit) = read.inspect_err(|unavailable| self.table_failed(unavailable, now))?;
        let notification = self.update_from_table(item, &circuit, newest_generation, now);
        Ok((circuit, notification))
    }

    /// Applies a change to the table or, without it, to the local state. The circuit after it, if it was applied.
    async fn apply(&self, change: &Change, before: &Circuit, local_only: bool, now: u64) -> Option<Circuit> {
        if local_only || self.local_state().is_table_down(now) {
            return self.apply_locally(change);
        }
        match self.apply_at_table(change, before, now).await {
            Ok((made, circuit)) => made.then_some(circuit),
            // An outcome that does not reach the table still counts in this container.
            Err(_) => self.apply_locally(change),
        }
    }

    /// Applies a change to the local state only. The circuit after it, if its condition held.
    fn apply_locally(&self, change: &Change) -> Option<Circuit> {
        let (before, after) = {
            let mut local_state = self.local_state();
            (local_state.circuit.clone(), local_state.apply(change)?)
        };
        let notification = Notification { from: before, to: after.clone(), origin: Origin::LocalOnly };
        self.notify(Some(notification).filter(|notification| !notification.from.same_state(&notification.to)));
        Some(after)
    }

    /// Applies a change that was decided on `before` to the table. Whether its condition held, and the circuit after
    /// it.
    async fn apply_at_table(
        &self,
        change: &Change,
        before: &Circuit,
        now: u64,
    ) -> Result<(bool, Circuit), Unavailable> {
        let changed = self.store.change(&self.name, &self.with_maker(change)).await;
        let parsed = changed.and_then(|changed| {
            let (Changed::Applied(item) | Changed::ConditionFailed(item)) = &changed;
            Ok((parse(item)?, changed))
        });
        let (circuit, changed) = parsed.inspect_err(|unavailable| self.table_failed(unavailable, now))?;
        let made = matches!(changed, Changed::Applied(_));
        let (Changed::Applied(item) | Changed::ConditionFailed(item)) = changed;
        // A response to a change of counters also shows transitions of others.
        let ours = made && circuit.maker == self.id && !before.same_state(&circuit);
        let ours = ours && self.local_state().mark_notified(&circuit);
        let ours =
            ours.then(|| Notification { from: before.clone(), to: circuit.clone(), origin: Origin::ThisProcess });
        let seen = self.update_from_table(item, &circuit, circuit.generation, now);
        self.notify(ours.or(seen));
        Ok((made, circuit))
    }

    /// Adds the id of this process to a transition, so that the process recognizes it in the table.
    fn with_maker(&self, change: &Change) -> Change {
        let mut change = change.clone();
        if change.set.iter().any(|(name, _)| name == "st") {
            change.set.push((MAKER.into(), self.id.into()));
        }
        change
    }

    /// Adopts the item from the table unless a newer one was read meanwhile. The transition to notify.
    fn update_from_table(
        &self,
        item: Item,
        circuit: &Circuit,
        newest_generation: u64,
        now: u64,
    ) -> Option<Notification> {
        let mut local_state = self.local_state();
        if local_state.newest_generation > newest_generation.max(circuit.generation) {
            return None;
        }
        let was_local = local_state.local_only;
        let last_read = local_state.last_read.clone();
        let before = local_state.update_from_table(&self.settings, item, circuit.clone(), now);
        let ours = circuit.maker == self.id && local_state.mark_notified(circuit);
        let (from, origin) = match before? {
            // Its response was lost: meanwhile this process continued locally, from the circuit last read.
            _ if ours => (last_read, Origin::ThisProcess),
            before if circuit.maker != self.id || was_local => (before, Origin::OtherProcess),
            _ => return None,
        };
        Some(Notification { from, to: circuit.clone(), origin })
    }

    fn notify(&self, notification: Option<Notification>) {
        let (Some(hook), Some(Notification { from, to, origin })) = (&self.hook, notification) else { return };
        let transition = Transition::new(&self.name, &from, &to, origin);
        if catch_unwind(AssertUnwindSafe(|| hook(&transition))).is_err() {
            tracing::error!(breaker = self.name, "the transition hook panicked");
        }
    }

    /// The time in microseconds since the Unix epoch.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.micros()).unwrap_or_default()
    }

    fn table_failed(&self, unavailable: &Unavailable, now: u64) {
        let error: &dyn std::error::Error = unavailable;
        tracing::warn!(breaker = self.name, error, "circuit breaker table unavailable; continuing in memory");
        self.local_state().table_failed(&self.settings, now);
    }

    fn local_state(&self) -> MutexGuard<'_, LocalState> {
        self.local_state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transition to pass to the hook.
struct Notification {
    from: Circuit,
    to: Circuit,
    origin: Origin,
}

fn parse(item: &Item) -> Result<Circuit, Unavailable> {
    Circuit::read(item).map_err(|malformed| Unavailable(malformed.into()))
}
