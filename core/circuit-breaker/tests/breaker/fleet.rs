//! Containers with clocks of their own that call through the real breaker, and a random scheduler.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use dynamodb_circuit_breaker::{Action, Circuit, CircuitBreaker, Origin, Override};
use service_clock::Clock;

use crate::world::{Call, Connection, Rules, SECOND, SKEW, Shared, Who, World, lock};

/// The longest override with an end.
pub const LONGEST_ORDER: u64 = 3 * SECOND;

pub struct Fleet {
    pub world: Shared,
    containers: Vec<Container>,
    tasks: Vec<Task>,
    /// Whether requests get lost and containers crash.
    pub faults: bool,
    pub rejected: u64,
}

struct Container {
    breaker: Arc<CircuitBreaker<Connection>>,
    skew: u64,
}

/// A call in flight, which returns whether the breaker allowed it.
type Task = (Who, Pin<Box<dyn Future<Output = bool>>>);

impl Fleet {
    pub fn new(seed: u64, rules: Rules, containers: usize) -> Self {
        fastrand::seed(seed);
        let world = Arc::new(Mutex::new(World::new(seed, rules)));
        let skews: Vec<_> = (0..containers).map(|_| lock(&world).rng.u64(0..=2 * SKEW)).collect();
        let containers = skews.into_iter().enumerate();
        let containers = containers.map(|(index, skew)| Container::new(&world, index, skew)).collect();
        Self { world, containers, tasks: vec![], faults: true, rejected: 0 }
    }

    /// One random event.
    pub fn step(&mut self) {
        let random = lock(&self.world).rng.u32(0..1_000);
        match random {
            0..200 => self.begin(),
            200..480 => self.serve(),
            480..720 => self.poll_one(),
            720..880 => self.finish(),
            880..910 if self.faults => self.request(|world, index| {
                let for_good = world.rng.bool();
                world.lose(index, for_good);
            }),
            910..920 if self.faults => self.crash(),
            920..930 => {
                let mut world = lock(&self.world);
                world.callee_is_up = !world.callee_is_up;
            }
            930..934 if self.faults => self.set_override(),
            934..937 if self.faults => {
                let mut world = lock(&self.world);
                world.table_is_up = !world.table_is_up;
            }
            _ => {
                let mut world = lock(&self.world);
                let most = match world.rng.u8(0..20) {
                    0 => 8 * SECOND,
                    1..4 => SECOND,
                    _ => SECOND / 20,
                };
                let span = world.rng.u64(0..most);
                world.now += span;
            }
        }
    }

    /// Serves a request, ends a call or polls a task.
    pub fn advance(&mut self) {
        let serves = lock(&self.world).rng.bool();
        if serves { self.serve() } else { self.poll_one() }
    }

    /// A time without faults: every container makes a call every tenth of a second.
    pub fn calm(&mut self, span: u64) {
        {
            let mut world = lock(&self.world);
            (world.callee_is_up, world.table_is_up, world.noise) = (true, true, (0, 0));
        }
        let end = lock(&self.world).now + span;
        while lock(&self.world).now < end {
            for container in 0..self.containers.len() {
                self.begin_at(container);
            }
            // More steps than one call takes.
            for _ in 0..40 {
                lock(&self.world).complete_all();
                for container in 0..self.containers.len() {
                    self.poll(container);
                }
                if self.tasks.is_empty() {
                    break;
                }
            }
            lock(&self.world).now += SECOND / 10;
        }
    }

    /// Sets a random override.
    fn set_override(&mut self) {
        let (container, action) = {
            let mut world = lock(&self.world);
            let (containers, now) = (self.containers.len(), world.now);
            let until = world.rng.bool().then(|| now + world.rng.u64(0..=LONGEST_ORDER));
            let action = match world.rng.u8(0..3) {
                0 => Action::ForceOpen { until },
                1 => Action::ForceClosed { until },
                _ => Action::Reset,
            };
            (world.rng.usize(0..containers), action)
        };
        self.set_override_at(container, action);
    }

    fn set_override_at(&mut self, container: usize, action: Action) {
        let who = Who { container, call: lock(&self.world).number() };
        let breaker = self.containers[container].breaker.clone();
        let set_override = Override { action, by: "somebody".into(), why: "random".into() };
        let task = async move {
            _ = breaker.set_override(&set_override).await;
            true
        };
        self.tasks.push((who, Box::pin(task)));
        self.poll(container);
    }

    /// Resets an override without an end.
    pub fn end_overrides(&mut self) {
        // Requests in flight may be overrides too.
        self.calm(SECOND / 2);
        let item = lock(&self.world).current();
        let held = Circuit::read(&item).unwrap_or_default();
        if held.active_override(u64::MAX).is_some() {
            self.set_override_at(0, Action::Reset);
        }
    }

    fn begin(&mut self) {
        let container = lock(&self.world).rng.usize(0..self.containers.len());
        // Two at a time per process, to test concurrent calls.
        if self.tasks.iter().filter(|(who, _)| who.container == container).count() < 2 {
            self.begin_at(container);
        }
    }

    pub fn begin_at(&mut self, container: usize) {
        let who = Who { container, call: lock(&self.world).number() };
        let (world, breaker) = (self.world.clone(), self.containers[container].breaker.clone());
        let task = async move {
            let Ok(permit) = breaker.admit().await else { return false };
            {
                let mut world = lock(&world);
                let (now, item) = (world.now, world.current());
                world.checks.admitted(now, who, permit, &item);
                world.calls.push(Call { who, permit, outcome: None });
            }
            let outcome = std::future::poll_fn(|_| {
                let mut world = lock(&world);
                let index = world.calls.iter().position(|call| call.who == who && call.outcome.is_some());
                let Some(index) = index else { return Poll::Pending };
                Poll::Ready(world.calls.swap_remove(index).outcome)
            });
            if let Some(outcome) = outcome.await {
                breaker.record(permit, outcome).await;
            }
            true
        };
        self.tasks.push((who, Box::pin(task)));
        self.poll(container);
    }

    /// Polls all calls of a container.
    fn poll(&mut self, container: usize) {
        let mut context = Context::from_waker(Waker::noop());
        self.tasks.retain_mut(|(who, task)| {
            if who.container != container {
                return true;
            }
            lock(&self.world).polled = *who;
            let Poll::Ready(passed) = task.as_mut().poll(&mut context) else { return true };
            self.rejected += u64::from(!passed);
            false
        });
    }

    fn poll_one(&mut self) {
        if !self.tasks.is_empty() {
            let index = lock(&self.world).rng.usize(0..self.tasks.len());
            self.poll(self.tasks[index].0.container);
        }
    }

    fn serve(&mut self) {
        self.request(|world, index| {
            if world.requests[index].answer.is_none() {
                world.serve(index);
            }
        });
    }

    fn request(&mut self, act: impl FnOnce(&mut World, usize)) {
        let mut world = lock(&self.world);
        if !world.requests.is_empty() {
            let requests = world.requests.len();
            let index = world.rng.usize(0..requests);
            act(&mut world, index);
        }
    }

    fn finish(&mut self) {
        let container = {
            let mut world = lock(&self.world);
            let calls: Vec<_> = (0..world.calls.len()).filter(|index| world.calls[*index].outcome.is_none()).collect();
            let Some(index) = world.rng.choice(calls) else { return };
            world.finish(index);
            world.calls[index].who.container
        };
        self.poll(container);
    }

    /// The container crashes and restarts without state.
    fn crash(&mut self) {
        let index = lock(&self.world).rng.usize(0..self.containers.len());
        self.tasks.retain(|(who, _)| who.container != index);
        lock(&self.world).crash(index);
        self.containers[index] = Container::new(&self.world, index, self.containers[index].skew);
    }
}

impl Container {
    fn new(world: &Shared, index: usize, skew: u64) -> Self {
        let clock = world.clone();
        let clock = Clock::new(move || (lock(&clock).now + skew - SKEW).try_into().unwrap_or(i64::MAX));
        let settings = lock(world).rules.settings;
        let checks = world.clone();
        let breaker = CircuitBreaker::new("callee", settings, Connection(world.clone())).with_clock(clock);
        let breaker = breaker.on_transition(move |transition| {
            if transition.origin == Origin::ThisProcess {
                lock(&checks).checks.notified(index, transition);
            }
        });
        Self { breaker: Arc::new(breaker), skew }
    }
}
