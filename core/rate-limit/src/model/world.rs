//! A table of one item, clients that call it, and a scheduler that lets anything happen at every await point.

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
pub struct Weather {
    /// How far a client's clock may be off.
    pub skew: Micros,
    /// Whether time passes while calls are under way.
    pub travels: bool,
    /// Answers and requests lost, of 100.
    pub lost: u8,
    /// Whether clients crash.
    pub crashes: bool,
    /// Whether the table counts what it refuses, which is wrong.
    pub counts_refused: bool,
}

/// Something that was decided.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The true time at which the item was changed or showed that there is no room.
    pub at: Micros,
    /// The time by the client's clock.
    pub now: Micros,
    /// The cost.
    pub cost: u32,
    /// Whether it was counted.
    pub admitted: bool,
}

/// All that was decided, in the order of the table.
#[derive(Debug, Default)]
pub struct Trace {
    pub events: Vec<Event>,
    /// Calls per request that was answered, with what was answered.
    pub answers: Vec<(usize, Checked)>,
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
    weather: Weather,
    rng: Rng,
    trace: Trace,
    /// For each client, the request it is at.
    requests: Vec<Request>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Request {
    now: Micros,
    cost: u32,
    calls: usize,
    /// The place in the trace and the true time at which the last call failed.
    failed: Option<(usize, Micros)>,
}

/// A client's way to the table.
struct Line {
    world: Arc<Mutex<World>>,
    client: usize,
}

impl Line {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no client panics while it holds the world")
    }
}

impl Table for Line {
    async fn update(&self, _key: &str, update: &Update) -> Result<Updated, TableError> {
        let lost = |world: &mut World| world.rng.u8(..100) < world.weather.lost;
        let gone = || TableError::Unavailable("lost".to_owned());
        self.world().requests[self.client].calls += 1;
        somebody_else().await;
        let no_request = lost(&mut self.world());
        if no_request {
            somebody_else().await;
            return Err(gone());
        }
        let updated = self.world().apply(self.client, update);
        somebody_else().await;
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
        if self.weather.counts_refused {
            self.item = Some(expression::write(update, old.as_ref()));
        }
        Updated::Failed(old)
    }

    /// DynamoDB deletes what has expired when it comes to it.
    fn expire(&mut self) {
        let expired = |item: &Item| item["expires_at"] * 1_000_000 < self.time;
        if self.item.as_ref().is_some_and(expired) && self.rng.bool() {
            self.item = None;
            self.trace.expired += 1;
        }
    }
}

/// Lets the scheduler choose who goes on.
async fn somebody_else() {
    let mut asked = false;
    poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

type Check = Pin<Box<dyn Future<Output = Checked>>>;

struct Client {
    limiter: Arc<Limiter<Line>>,
    skew: Micros,
    check: Option<Check>,
}

/// Runs clients of `algorithm` in all weathers: one interleaving, chosen by `seed`.
///
/// `unit` is the algorithm's own unit of time, at whose edges things happen, and `length` the time in which it forgets.
pub fn run(algorithm: &Arc<dyn Algorithm>, weather: Weather, unit: Micros, length: Micros, seed: u64) -> Trace {
    let mut rng = Rng::with_seed(seed);
    let count = rng.usize(2..=8);
    let begin = 1_700_000_000_000_000 + rng.i64(0..1_000_000_000);
    let world = World {
        time: begin,
        item: None,
        weather,
        rng: rng.fork(),
        trace: Trace::default(),
        requests: vec![Request::default(); count],
    };
    let world = Arc::new(Mutex::new(world));
    let mut policy: Policy = "token-bucket; rate=1/s; burst=1; by=user; on_error=deny".parse().expect("a good policy");
    policy.algorithm = Arc::clone(algorithm);
    let limiter = |client| {
        let (line, shown) = (Line { world: Arc::clone(&world), client }, Arc::clone(&world));
        let clock =
            Clock::new(move || shown.lock().expect("no client panics while it holds the world").requests[client].now);
        Arc::new(Limiter::new(line, policy.clone()).with_clock(clock))
    };
    let mut clients: Vec<Client> = (0..count)
        .map(|client| Client { limiter: limiter(client), skew: rng.i64(-weather.skew..=weather.skew), check: None })
        .collect();
    let lock = || world.lock().expect("no client panics while it holds the world");
    for _ in 0..rng.usize(20..160) {
        let client = rng.usize(..count);
        match rng.u8(..100) {
            0..50 => step(&mut clients[client], client, &world, &mut rng),
            50..90 => {
                if weather.travels || clients.iter().all(|client| client.check.is_none()) {
                    let most = if rng.u8(..5) == 0 { length } else { unit };
                    let most = if clients.iter().any(|client| client.check.is_some()) { unit / 8 } else { most };
                    lock().time += rng.i64(0..=most * 2);
                }
            }
            90..94 => {
                if weather.crashes {
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
    assert!(weather.skew < MAX_SKEW);
    std::mem::take(&mut lock().trace)
}

/// Begins a request, or goes on with the one that is under way.
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
        // Said without a call, it takes effect at once.
        let (place, at) = failed.unwrap_or((world.trace.events.len(), world.time));
        world.trace.events.insert(place, Event { at, now, cost, admitted: false });
        for request in &mut world.requests {
            if let Some((other, _)) = &mut request.failed {
                *other += usize::from(*other >= place);
            }
        }
    }
    world.trace.answers.push((calls, checked));
}
