//! The world of a history: everything that runs, and the steps that happen in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use lambda_http::Context;
use orders_core::domain::OrderId;
use orders_functions::rebuild::Model;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::action::Action;
use super::bounds::Bound;
use super::checker::{Checker, Exchange};
use super::function::{Container, Done, Invocation, Settings};
use super::network::{Clients, Network};
use super::provider::payment_number;
use super::request;
use super::step::{Act, Circumstances, Condition, Fault, Step};
use super::stream::{self, Reader};

/// Containers of each function.
const CONTAINERS: u32 = 2;

/// The world of a history.
pub struct World {
    pub(super) network: Network,
    pub(super) began: Instant,
    pub(super) containers: Vec<Container>,
    pub(super) checker: Checker,
    /// The events that the provider has sent and that were not processed.
    pub(super) unprocessed: BTreeMap<String, Act>,
    pub(super) projector: Reader,
    pub(super) publisher: Reader,
    /// Whether rows were rebuilt, repaired or verified.
    pub(super) is_maintained: bool,
    pub(super) settings: Settings,
    clients: Clients,
    orders: BTreeMap<u8, OrderId>,
    acts: u32,
}

/// An act that is about to run.
struct Prepared {
    act: Act,
    invocation: Invocation,
    action: Arc<Action>,
    context: Context,
    container: usize,
    /// The records of a batch.
    records: Vec<usize>,
    /// The id of an event.
    event: Option<String>,
}

impl World {
    /// The world before its first step.
    pub async fn new(settings: Settings) -> Self {
        let network = Network::new(settings.row_limit);
        let mut world = Self {
            clients: network.clients(),
            network,
            began: Instant::now(),
            containers: Vec::new(),
            checker: Checker::new(settings.trusts_caller),
            unprocessed: BTreeMap::new(),
            projector: Reader::default(),
            publisher: Reader::default(),
            is_maintained: false,
            settings,
            orders: BTreeMap::new(),
            acts: 0,
        };
        for _ in 0..CONTAINERS {
            let container = world.start_container().await;
            world.containers.push(container);
        }
        world
    }

    /// Performs a step and checks what it leads to.
    ///
    /// # Errors
    /// What it breaks.
    pub async fn perform(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Do(act, circumstances) => self.run(&[(*act, *circumstances)], None).await?,
            Step::Race(seed, acts) => self.run(acts, Some(*seed)).await?,
            Step::Wait(seconds) => sleep(Duration::from_secs((*seconds).into())).await,
            Step::Provider(condition) => self.network.outside().provider.condition = *condition,
            Step::Capture { payment, order, cents, silent } => self.capture(*payment, *order, *cents, *silent),
            Step::Decline { payment, order } => self.decline(*payment, *order),
            Step::Refund { payment } => self.refund(*payment),
        }
        self.check_commits()
    }

    /// Runs acts, concurrently if there are several.
    pub(super) async fn run(&mut self, acts: &[(Act, Circumstances)], pace: Option<u64>) -> Result<(), String> {
        self.checker.begin();
        let mut pace = pace.map(Rng::with_seed);
        let mut running = Vec::new();
        for (act, circumstances) in acts {
            let pace = pace.as_mut().map(Rng::fork);
            running.extend(self.prepare(*act, *circumstances, pace));
        }
        let ends = running.iter().map(|prepared| {
            let container = &self.containers[prepared.container];
            let work = Box::pin(container.invoke(&prepared.invocation, &prepared.context));
            Arc::clone(&prepared.action).run(work)
        });
        let ends = join_all(ends).await;
        let mut exchanges = Vec::new();
        let mut processed = Vec::new();
        for (prepared, end) in running.into_iter().zip(ends) {
            if matches!(end, Some(Done::Ended(true))) {
                processed.push(prepared.act);
            }
            exchanges.extend(self.conclude(prepared, end).await);
        }
        self.check_commits()?;
        processed.iter().try_for_each(|act| self.check_processed(act))?;
        self.checker.check_answers(exchanges)
    }

    fn prepare(&mut self, act: Act, circumstances: Circumstances, pace: Option<Rng>) -> Option<Prepared> {
        self.acts += 1;
        let correlation_id = format!("c{}", self.acts);
        let order_id = self.order_of(&act);
        let order = order_id.map(|order| order.to_string());
        let required = self.required_version(order.as_ref(), circumstances);
        let (mut records, mut event) = (Vec::new(), None);
        let outside = &mut *self.network.outside();
        let invocation = match act {
            Act::Settle => Invocation::Settle,
            Act::Expire => Invocation::Expire,
            Act::CatchUp => Invocation::CatchUp,
            Act::Project(batch) | Act::Publish(batch) => {
                let commits = &outside.tables.commits;
                let projects = matches!(act, Act::Project(_));
                let reader = if projects { &mut self.projector } else { &mut self.publisher };
                records = reader.take(batch, commits.len());
                if records.is_empty() {
                    return None;
                }
                let batch = stream::event(&records, commits);
                if projects { Invocation::Project(batch) } else { Invocation::Publish(batch) }
            }
            Act::CaptureArrives { .. }
            | Act::DeclineArrives { .. }
            | Act::RefundArrives { .. }
            | Act::ParcelArrives { .. } => {
                let (id, invocation) = request::event(&act, order, &outside.provider)?;
                event = Some(id);
                invocation
            }
            Act::Rebuild { sales } => Invocation::Rebuild(model(sales)),
            Act::Verify { sales } => Invocation::Verify(model(sales)),
            Act::Repair { .. } => Invocation::Repair(order_id?),
            Act::Republish { .. } => Invocation::Republish(order_id?),
            Act::Create { .. } => request::request(&act, "", &correlation_id, None)?,
            _ => request::request(&act, &order?, &correlation_id, required.map(|(required, _)| required))?,
        };
        self.is_maintained |= matches!(act, Act::Rebuild { .. } | Act::Verify { .. } | Act::Repair { .. });
        if let (Act::Pay { payment, cents, .. }, true, Some(order_id)) = (act, self.settings.trusts_caller, order_id) {
            // The caller has captured it, and its word is the only report.
            outside.provider.payment(payment, order_id).capture_silently(cents);
        }
        if matches!(invocation, Invocation::Request(..)) {
            self.checker.sent(&correlation_id, act, required);
        }
        let action = Action::new(circumstances, self.began, pace);
        let mut context = Context::default();
        context.request_id = correlation_id;
        context.deadline =
            (action.now().timestamp_millis() as u64) + circumstances.time.map_or(time_limit(&act), u64::from);
        let container = (self.acts % CONTAINERS) as usize;
        Some(Prepared { act, invocation, action, context, container, records, event })
    }

    async fn conclude(&mut self, prepared: Prepared, end: Option<Done>) -> Option<Exchange> {
        let Prepared { act, context, container, records, event, action, .. } = prepared;
        let faulty = action.circumstances.trouble.map(|trouble| trouble.fault);
        if end.is_none() {
            self.containers[container] = self.start_container().await;
        }
        let retried = match (&end, &act) {
            (Some(Done::RetryFrom(None)), _) => &[][..],
            (Some(Done::RetryFrom(Some(first))), _) => {
                let place = records.iter().position(|record| record.to_string() == *first);
                &records[place.expect("a record of the batch")..]
            }
            _ => &records,
        };
        match act {
            Act::Project(_) => self.projector.put_back(retried),
            Act::Publish(_) => {
                let bounds = &mut self.checker.bounds;
                bounds.count(Bound::UnacceptedEntries, faulty == Some(Fault::Partial) && !retried.is_empty());
                self.publisher.put_back(retried);
            }
            _ => {}
        }
        if let (Some(Done::Ended(true)), Some(event)) = (&end, event) {
            self.unprocessed.remove(&event);
        }
        let Some(Done::Answer(answer)) = end else { return None };
        let (status, replayed) = (answer.status(), answer.header("idempotency-replayed").is_some());
        let mut body: Value = serde_json::from_str(answer.body()).unwrap_or_default();
        // The only member that names the request.
        body.as_object_mut().and_then(|body| body.remove("instance"));
        if let (Act::Create { order }, 201) = (act, status) {
            let order_id = body["order_id"].as_str().and_then(|id| id.parse().ok());
            self.orders.entry(order).or_insert(order_id.expect("the id of an order"));
        }
        let stream = self.order_of(&act).map(|order| order.to_string());
        Some(Exchange { act, correlation_id: context.request_id, stream, status, replayed, body })
    }

    async fn start_container(&self) -> Container {
        let action = Action::new(Circumstances::default(), self.began, None);
        let started = action.run(Container::start(&self.network, &self.clients, &self.settings)).await;
        started.expect("it does not crash")
    }

    fn order_of(&self, act: &Act) -> Option<OrderId> {
        match act {
            Act::Create { order }
            | Act::Pay { order, .. }
            | Act::Cancel { order, .. }
            | Act::Ship { order, .. }
            | Act::Deliver { order, .. }
            | Act::Return { order, .. }
            | Act::Repair { order }
            | Act::Republish { order }
            | Act::ParcelArrives { order, .. } => self.orders.get(order).copied(),
            _ => None,
        }
    }

    /// The version that a request requires, and the newest one.
    fn required_version(&self, stream: Option<&String>, circumstances: Circumstances) -> Option<(u64, u64)> {
        let head = self.checker.orders.get(stream?)?.head();
        Some((head.saturating_add_signed(circumstances.if_match?.into()), head))
    }

    fn capture(&mut self, payment: u16, order: u8, cents: u32, silent: bool) {
        let Some(order) = self.orders.get(&order) else { return };
        let booked = &mut self.network.outside().provider;
        let booked = booked.payment(payment, *order);
        if booked.captures.is_empty() {
            booked.silent = silent;
        }
        let nth = booked.captures.len() as u8;
        booked.captures.push(cents);
        if nth > 0 || !silent {
            self.unprocessed.insert(format!("captured-{payment}-{nth}"), Act::CaptureArrives { payment, nth });
        }
    }

    fn decline(&mut self, payment: u16, order: u8) {
        let Some(order) = self.orders.get(&order) else { return };
        let booked = &mut self.network.outside().provider;
        let booked = booked.payment(payment, *order);
        let nth = booked.declines;
        booked.declines += 1;
        self.unprocessed.insert(format!("declined-{payment}-{nth}"), Act::DeclineArrives { payment, nth });
    }

    pub(super) fn refund(&mut self, payment: u16) {
        let outside = &mut *self.network.outside();
        let due = outside.bus.entries.iter().find_map(|entry| {
            let data = &entry.detail["data"];
            let of = payment_number(data["payment_id"].as_str()?)?;
            (entry.detail_type == "OrderRefundDue" && of == payment).then_some(data)?["amount"].as_f64()
        });
        let Some(booked) = outside.provider.payments.get_mut(&payment) else { return };
        if let (Some(due), None) = (due, booked.refunded) {
            booked.refunded = Some((due * 100.0).round() as u64);
            self.unprocessed.insert(format!("refunded-{payment}"), Act::RefundArrives { payment });
        }
    }

    pub(super) fn check_commits(&mut self) -> Result<(), String> {
        let outside = self.network.outside();
        self.checker.check_commits(&outside.tables.commits, &outside.provider)
    }

    pub(super) fn restore_order(&mut self) {
        self.network.outside().provider.condition = Condition::Up;
    }
}

fn model(sales: bool) -> Model {
    if sales { Model::Sales } else { Model::Orders }
}

/// The time limit of a function, in milliseconds.
fn time_limit(act: &Act) -> u64 {
    match act {
        Act::Settle | Act::Expire | Act::CatchUp | Act::Project(_) | Act::Publish(_) => 60_000,
        Act::Rebuild { .. } | Act::Repair { .. } | Act::Verify { .. } | Act::Republish { .. } => 300_000,
        _ => 15_000,
    }
}
