//! A table of one item, its clients, and a scheduler that interleaves them at every await point.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use fastrand::Rng;
use service_clock::Clock;

use super::super::algorithm::{Algorithm, Item, MAX_SKEW, Update};
use super::super::checked::Checked;
use super::super::decision::{Decision, Micros};
use super::super::error::TableError;
use super::super::limiter::{Limiter, Table, Updated};
use super::super::policy::Policy;
use super::super::subject::Subject;
use super::expression;

/// What can happen in a run.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// How far a client's clock may be off.
    pub skew: Micros,
    /// Whether time passes during calls.
    pub delays: bool,
    /// The percentage of lost requests and of lost responses.
    pub lost: u8,
    /// Whether clients crash.
    pub crashes: bool,
    /// Whether the table counts rejected requests, which is wrong.
    pub counts_rejected: bool,
}

/// A decision.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The true time at which the item was changed or was found full.
    pub at: Micros,
    /// The time by the client's clock.
    pub now: Micros,
    /// The cost.
    pub cost: u32,
    /// Whether it was counted.
    pub admitted: bool,
}

/// All decisions, in the order at the table.
#[derive(Debug, Default)]
pub struct Trace {
    pub events: Vec<Event>,
    /// The number of calls and the result of each finished request.
    pub results: Vec<(usize, Checked)>,
    /// Items that DynamoDB deleted.
    pub expired: usize,
}

impl Trace {
    /// The greatest difference between a request's time and the time at which it took effect.
    pub fn error(&self) -> Micros {
        self.events.iter().map(|event| (event.at - event.now).abs()).max().unwrap_or(0)
    }
}

struct World {
    time: Micros,
    item: Option<Item>,
    conditions: Conditions,
    rng: Rng,
    trace: Trace,
    /// The current request of each client.
    requests: Vec<Request>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Request {
    now: Micros,
    cost: u32,
    calls: usize,
    /// The index in the trace and the true time of the last failed call.
    failed: Option<(usize, Micros)>,
}

/// A client's connection to the table.
struct Connection {
    world: Arc<Mutex<World>>,
    client: usize,
}

impl Connection {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no client panics while it holds the world")
    }
}

impl Table for Connection {
    async fn update(&self, _key: &str, update: &Update) -> Result<Updated, TableError> {
        let lost = |world: &mut World| world.rng.u8(..100) < world.conditions.lost;
        let gone = || TableError::Unavailable("lost".to_owned());
        self.world().requests[self.client].calls += 1;
        yield_to_others().await;
        let no_request = lost(&mut self.world());
        if no_request {
            yield_to_others().await;
            return Err(gone());
        }
        let updated = self.world().apply(self.client, update);
        yield_to_others().await;
        if lost(&mut self.world()) { Err(gone()) } else { Ok(updated) }
    }
}

impl World {
    fn apply(&mut self, client: usize, update: &Update) -> Updated {
        let Request { now, cost, .. } = self.requests[client];
        if let Some(item) = expression::apply(update, self.item.as_ref()) {
            self.item = Some(item.clone());
            self.trace.events.push(Event { at: self.time, now, cost, admitted: true });
            return Updated::Stored(item);
        }
        self.requests[client].failed = Some((self.trace.events.len(), self.time));
        let old = self.item.clone();
        if self.conditions.counts_rejected {
            self.item = Some(expression::write(update, old.as_ref()));
        }
        Updated::Failed(old)
    }

    /// DynamoDB deletes expired items with a delay.
    fn expire(&mut self) {
        let expired = |item: &Item| item["expires_at"] * 1_000_000 < self.time;
        if self.item.as_ref().is_some_and(expired) && self.rng.bool() {
            self.item = None;
            self.trace.expired += 1;
        }
    }
}

/// Lets the scheduler choose the next client.
async fn yield_to_others() {
    let mut asked = false;
    poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

type Check = Pin<Box<dyn Future<Output = Checked>>>;

struct Client {
    limiter: Arc<Limiter<Connection>>,
    skew: Micros,
    check: Option<Check>,
}

/// Runs clients of `algorithm` in one interleaving, chosen by `seed`.
///
/// `unit` is the algorithm's unit of time, and `length` the time after which it forgets.
pub fn run(algorithm: &Arc<dyn Algorithm>, conditions: Conditions, unit: Micros, length: Micros, seed: u64) -> Trace {
    let mut rng = Rng::with_seed(seed);
    let count = rng.usize(2..=8);
    let begin = 1_700_000_000_000_000 + rng.i64(0..1_000_000_000);
    let world = World {
        time: begin,
        item: None,
        conditions,
        rng: rng.fork(),
        trace: Trace::default(),
        requests: vec![Request::default(); count],
    };
    let world = Arc::new(Mutex::new(world));
    let mut policy: Policy = "token-bucket; rate=1/s; burst=1; by=user; on_error=deny".parse().expect("a good policy");
    policy.algorithm = Arc::clone(algorithm);
    let limiter = |client| {
        let (connection, shown) = (Connection { world: Arc::clone(&world), client }, Arc::clone(&world));
        let clock =
            Clock::new(move || shown.lock().expect("no client panics while it holds the world").requests[client].now);
        Arc::new(Limiter::new(connection, policy.clone()).with_clock(clock))
    };
    let mut clients: Vec<Client> = (0..count)
        .map(|client| Client {
            limiter: limiter(client),
            skew: rng.i64(-conditions.skew..=conditions.skew),
            check: None,
        })
        .collect();
    let lock = || world.lock().expect("no client panics while it holds the world");
    for _ in 0..rng.usize(20..160) {
        let client = rng.usize(..count);
        match rng.u8(..100) {
            0..50 => step(&mut clients[client], client, &world, &mut rng),
            50..90 => {
                if conditions.delays || clients.iter().all(|client| client.check.is_none()) {
                    let most = if rng.u8(..5) == 0 { length } else { unit };
                    let most = if clients.iter().any(|client| client.check.is_some()) { unit / 8 } else { most };
                    lock().time += rng.i64(0..=most * 2);
                }
            }
            90..94 => {
                if conditions.crashes {
                    clients[client].check = None;
                    clients[client].limiter = limiter(client);
                }
            }
            94..97 => lock().expire(),
            _ => {
                for (client, state) in clients.iter_mut().enumerate() {
                    while state.check.is_some() {
                        step(state, client, &world, &mut rng);
                    }
                }
                let far = [length, length * 2, 3_600_000_000 + length * 3, 100_000_000_000][rng.usize(..4)];
                lock().time += rng.i64(0..=far);
            }
        }
    }
    assert!(conditions.skew < MAX_SKEW);
    std::mem::take(&mut lock().trace)
}

/// Starts a client's request or continues the current one.
fn step(state: &mut Client, client: usize, world: &Arc<Mutex<World>>, rng: &mut Rng) {
    let lock = || world.lock().expect("no client panics while it holds the world");
    if state.check.is_none() {
        let most = state.limiter.policy().limit();
        let cost = if rng.u8(..4) == 0 { rng.u32(1..=most) } else { 1 };
        let now = lock().time + state.skew;
        lock().requests[client] = Request { now, cost, ..Request::default() };
        let limiter = Arc::clone(&state.limiter);
        let check = async move { limiter.check_cost(&Subject::user("one"), cost).await };
        state.check = Some(Box::pin(async move { check.await.expect("the cost is within the limit") }));
    }
    let Some(check) = state.check.as_mut() else { return };
    let Poll::Ready(checked) = check.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { return };
    state.check = None;
    let mut world = lock();
    let Request { now, cost, calls, failed } = world.requests[client];
    if let Checked::Decided(Decision { allowed: false, .. }) = checked {
        // A rejection without a call takes effect at once.
        let (place, at) = failed.unwrap_or((world.trace.events.len(), world.time));
        world.trace.events.insert(place, Event { at, now, cost, admitted: false });
        for request in &mut world.requests {
            if let Some((other, _)) = &mut request.failed {
                *other += usize::from(*other >= place);
            }
        }
    }
    world.trace.results.push((calls, checked));
}
