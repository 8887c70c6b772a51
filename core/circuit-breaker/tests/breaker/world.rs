//! A world with one breaker's item, a callee, and a network that delays, loses or reorders requests.
//!
//! A request to the table may be served at any time after it was sent, once or never, even after its sender gave up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use dynamodb_circuit_breaker::{Change, Changed, Item, Outcome, Permit, Settings, Store, Unavailable};

use crate::checks::Checks;

pub const SECOND: u64 = 1_000_000;
/// The largest error of a container's clock, in both directions.
pub const SKEW: u64 = SECOND / 5;
/// How old an eventually consistent read may be.
pub const LAG: u64 = SECOND / 2;
/// A container's timeout for table calls.
pub const TIMEOUT: u64 = SECOND / 10;

/// The rules of a world.
#[derive(Clone, Copy)]
pub struct Rules {
    pub settings: Settings,
    /// What a broken breaker sends instead of a change.
    pub mutation: fn(Change) -> Change,
    /// Whether every change arrives twice, as by a retry.
    pub resends: bool,
}

impl Rules {
    pub fn new(settings: &str) -> Self {
        let settings = settings.parse().unwrap_or_else(|error| panic!("{error}"));
        Self { settings, mutation: |change| change, resends: false }
    }
}

/// One call of one container, with a unique number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    pub container: usize,
    pub call: u64,
}

pub struct World {
    pub rng: fastrand::Rng,
    pub now: u64,
    pub rules: Rules,
    pub checks: Checks,
    pub callee_is_up: bool,
    /// While the callee is up, the percentage of calls that fail, and of those that fail by the caller.
    pub noise: (u8, u8),
    pub table_is_up: bool,
    /// Every version of the item, and since when.
    pub item: Vec<(u64, Item)>,
    pub requests: Vec<Request>,
    pub calls: Vec<Call>,
    /// Who is being polled.
    pub polled: Who,
    numbers: u64,
    pub reads: u64,
    pub writes: u64,
}

pub struct Request {
    pub who: Who,
    number: u64,
    sent: u64,
    kind: Kind,
    pub answer: Option<Changed>,
    pub waited: bool,
}

enum Kind {
    Read { consistent: bool },
    Change(Change),
}

/// A call that the callee is processing.
pub struct Call {
    pub who: Who,
    pub permit: Permit,
    pub outcome: Option<Outcome>,
}

pub type Shared = Arc<Mutex<World>>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(seed: u64, rules: Rules) -> Self {
        let now = 1_800_000_000 * SECOND;
        Self {
            rng: fastrand::Rng::with_seed(seed),
            now,
            rules,
            checks: Checks::new(rules.settings),
            callee_is_up: true,
            noise: (3, 5),
            table_is_up: true,
            item: vec![(now, Item::new())],
            requests: vec![],
            calls: vec![],
            polled: Who::default(),
            numbers: 0,
            reads: 0,
            writes: 0,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn current(&self) -> Item {
        self.item.last().map(|(_, item)| item.clone()).unwrap_or_default()
    }

    /// The table serves a request, unless it is down.
    pub fn serve(&mut self, index: usize) {
        if !self.table_is_up {
            return self.lose(index, true);
        }
        let who = self.requests[index].who;
        let answer = match &self.requests[index].kind {
            Kind::Read { consistent: true } => Changed::Applied(self.current()),
            Kind::Read { consistent: false } => {
                let then = self.now.saturating_sub(LAG);
                let oldest = self.item.iter().rposition(|(since, _)| *since <= then).unwrap_or(0);
                let pick = self.rng.usize(oldest..self.item.len());
                Changed::Applied(self.item[pick].1.clone())
            }
            Kind::Change(change) => {
                let change = (self.rules.mutation)(change.clone());
                let first = self.make(&change, who);
                if self.rules.resends { self.make(&change, who) } else { first }
            }
        };
        match self.requests[index].waited {
            true => self.requests[index].answer = Some(answer),
            false => _ = self.requests.swap_remove(index),
        }
    }

    fn make(&mut self, change: &Change, who: Who) -> Changed {
        let before = self.current();
        let changed = change.apply(before.clone());
        if let Changed::Applied(after) = &changed {
            self.checks.changed(self.now, who, &before, after);
            self.item.push((self.now, after.clone()));
        }
        changed
    }

    /// The response is lost; the request itself may still be served.
    pub fn lose(&mut self, index: usize, also_request: bool) {
        self.requests[index].waited = false;
        if also_request || self.requests[index].answer.is_some() {
            self.requests.swap_remove(index);
        }
    }

    /// The callee responds.
    pub fn finish(&mut self, index: usize) {
        let (failing, by_caller) = self.noise;
        let outcome = match (self.callee_is_up, self.rng.u8(0..100)) {
            (false, 0..90) => Outcome::Failure,
            (true, dice) if dice < failing => Outcome::Failure,
            (_, dice) if dice < failing + by_caller => Outcome::Ignored,
            _ => Outcome::Success,
        };
        let Call { who, permit, .. } = self.calls[index];
        self.checks.finished(who, permit, outcome);
        self.calls[index].outcome = Some(outcome);
    }

    /// Table and callee serve all requests.
    pub fn complete_all(&mut self) {
        for index in (0..self.requests.len()).rev() {
            if self.requests[index].answer.is_none() {
                self.serve(index);
            }
        }
        for index in 0..self.calls.len() {
            if self.calls[index].outcome.is_none() {
                self.finish(index);
            }
        }
    }

    /// A container crashes with its pending calls.
    pub fn crash(&mut self, container: usize) {
        for request in self.requests.iter_mut().filter(|request| request.who.container == container) {
            request.waited = false;
        }
        self.requests.retain(|request| request.waited || request.answer.is_none());
        self.calls.retain(|call| call.who.container != container);
        self.checks.crashed(container);
    }
}

/// A container's connection to the table.
pub struct Connection(pub Shared);

impl Connection {
    async fn call(&self, kind: Kind) -> Result<Changed, Unavailable> {
        let number = {
            let mut world = lock(&self.0);
            match kind {
                Kind::Read { .. } => world.reads += 1,
                Kind::Change(_) => world.writes += 1,
            }
            let (number, who, sent) = (world.number(), world.polled, world.now);
            world.requests.push(Request { who, number, sent, kind, answer: None, waited: true });
            number
        };
        std::future::poll_fn(|_| {
            let mut world = lock(&self.0);
            let (now, container) = (world.now, world.polled.container);
            let index = world.requests.iter().position(|request| request.number == number && request.waited);
            let Some(index) = index.filter(|index| now - world.requests[*index].sent <= TIMEOUT) else {
                if let Some(index) = index {
                    world.lose(index, false);
                }
                world.checks.responded(container, false);
                return Poll::Ready(Err(Unavailable("timeout".into())));
            };
            let Some(answer) = world.requests[index].answer.take() else { return Poll::Pending };
            if let (Kind::Change(change), Changed::Applied(item)) = (&world.requests[index].kind, &answer)
                && change.set.iter().any(|(name, _)| name == "st")
            {
                let item = item.clone();
                world.checks.confirmed(container, &item);
            }
            world.requests.swap_remove(index);
            world.checks.responded(container, true);
            Poll::Ready(Ok(answer))
        })
        .await
    }
}

impl Store for Connection {
    async fn read(&self, _: &str, consistent: bool) -> Result<Item, Unavailable> {
        let (Changed::Applied(item) | Changed::ConditionFailed(item)) = self.call(Kind::Read { consistent }).await?;
        Ok(item)
    }

    async fn change(&self, _: &str, change: &Change) -> Result<Changed, Unavailable> {
        self.call(Kind::Change(change.clone())).await
    }
}
