//! What must hold after every step: of the stored commits, the money, and the responses.

use std::collections::{BTreeMap, BTreeSet};

use dynamodb_event_store::Commit;
use orders_core::domain::{Order, OrderEvent};
use serde_json::{Value, json};

use super::bounds::{Bound, Bounds};
use super::expression::Item;
use super::provider::{Payment, Provider, payment_number};
use super::step::Act;
use crate::ledger::{Ledger, Stored};

/// How many keyed commits an order remembers.
const KEYED: usize = 32;

/// Checks a history.
#[derive(Default)]
pub struct Checker {
    /// The orders, by stream.
    pub orders: BTreeMap<String, Checked>,
    /// How often the bounds were exceeded.
    pub bounds: Bounds,
    trusts_caller: bool,
    seen: usize,
    /// The requests that were sent, by correlation id.
    sent: BTreeMap<String, Sent>,
    /// The requests that must not store anything.
    refused: BTreeSet<String>,
    /// The commits of requests, by correlation id.
    stored: BTreeMap<String, (String, u64)>,
    keyed: BTreeMap<KeyOf, Keyed>,
    /// How many times requests have begun together.
    rounds: u64,
}

/// An order as its commits describe it.
#[derive(Default)]
pub struct Checked {
    /// Its books.
    pub ledger: Ledger,
    /// The service's own state.
    pub state: Order,
    /// Its events.
    pub events: Vec<OrderEvent>,
    /// The versions of keyed commits.
    keyed: Vec<u64>,
    recorded_at: String,
    /// The versions at which causes were last recorded.
    causes: BTreeMap<String, u64>,
}

/// An idempotency key: its caller, its order, and its number.
type KeyOf = (&'static str, u8, u16);

struct Keyed {
    act: Act,
    stored_at: u64,
    round: u64,
    answered: Option<(u16, Value)>,
}

/// A request that was sent.
#[derive(Clone, Copy)]
struct Sent {
    act: Act,
    /// The version that it requires, and the order's newest one.
    required: Option<(u64, u64)>,
}

/// A request and its response.
pub struct Exchange {
    /// The request.
    pub act: Act,
    /// Its correlation id.
    pub correlation_id: String,
    /// The order.
    pub stream: Option<String>,
    /// The status.
    pub status: u16,
    /// Whether the response is that of an earlier request.
    pub replayed: bool,
    /// The body.
    pub body: Value,
}

impl Checked {
    /// The newest version.
    pub fn head(&self) -> u64 {
        self.events.len() as u64
    }

    fn keyed_after(&self, version: u64) -> usize {
        self.keyed.len() - self.keyed.partition_point(|keyed| *keyed <= version)
    }
}

impl Checker {
    /// A checker of a history whose callers are trusted with payments, or not.
    pub fn new(trusts_caller: bool) -> Self {
        Self { trusts_caller, ..Self::default() }
    }

    /// Announces that requests begin together.
    pub fn begin(&mut self) {
        self.rounds += 1;
    }

    /// Announces a request, of a version of this order or of any.
    pub fn sent(&mut self, correlation_id: &str, act: Act, required: Option<(u64, u64)>) {
        self.sent.insert(correlation_id.to_owned(), Sent { act, required });
    }

    /// Checks the commits that are new.
    ///
    /// # Errors
    /// What they break.
    pub fn check_commits(&mut self, commits: &[Item], provider: &Provider) -> Result<(), String> {
        for commit in &commits[self.seen..] {
            self.check_commit(commit, provider)
                .map_err(|broken| format!("{broken}\n  in the commit {}", json!(commit)))?;
        }
        self.seen = commits.len();
        Ok(())
    }

    fn check_commit(&mut self, commit: &Item, provider: &Provider) -> Result<(), String> {
        let text = |value: &Value| value["S"].as_str().unwrap_or_default().to_owned();
        let (stream, recorded_at) = (text(&commit["stream_id"]), text(&commit["recorded_at"]));
        let metadata = &commit["metadata"]["M"];
        let (correlation_id, cause) = (text(&metadata["correlation_id"]), text(&metadata["causation_id"]));
        let order = self.orders.entry(stream.clone()).or_default();

        let first = order.head() + 1;
        if commit["version"]["N"].as_str().and_then(|version| version.parse().ok()) != Some(first) {
            return Err(format!("the commit does not follow version {}", order.head()));
        }
        if recorded_at < order.recorded_at {
            return Err(format!("it was recorded before the previous commit, at {}", order.recorded_at));
        }
        order.recorded_at = recorded_at;
        let item: serde_dynamo::Item = serde_json::from_value(json!(commit)).map_err(|error| error.to_string())?;
        let decoded = Commit::from_item::<Order>(item).map_err(|error| error.to_string())?;
        let sent = self.sent.get(&correlation_id).copied();
        for event in Stored::of(commit) {
            let is_requested = matches!(sent, Some(Sent { act: Act::Pay { payment, cents, .. }, .. })
                if payment_number(event.payment()) == Some(payment) && event.amount() == u64::from(cents));
            let trusted = self.trusts_caller && event.name == "OrderPaid" && is_requested;
            if !trusted {
                justified(&event, &order.ledger, &stream, provider)?;
            }
            if let Some(Sent { required: Some((required, _)), .. }) = sent
                && required != first - 1
                && (self.trusts_caller || !["OrderPaid", "OrderRefundDue"].contains(&event.name))
            {
                return Err(format!("the request required version {required}"));
            }
            self.bounds.count_event(
                &order.ledger,
                &event,
                order.causes.contains_key(&cause),
                trusted,
                &metadata["actor"],
            );
            let in_flight = || {
                let of_order = |payment: &Payment| payment.order.to_string() == stream && !payment.captures.is_empty();
                provider.payments.values().any(of_order)
            };
            let expires = event.name == "OrderCancelled" && metadata["actor"]["S"] == "schedule|expire-orders";
            self.bounds.count(Bound::ExpiredInFlight, expires && order.ledger.captured.is_empty() && in_flight());
            order.ledger.book(&event)?;
        }
        order.ledger.balance()?;
        for event in decoded.events {
            order.state.apply(&event).map_err(|error| error.to_string())?;
            order.events.push(event);
        }
        agree(order)?;
        let last = order.head();
        if let Some(before) = order.causes.insert(cause.clone(), last)
            && order.keyed_after(before) < KEYED
        {
            return Err(format!("{cause} was recorded before, at version {before}"));
        }
        if metadata.get("request_hash").is_some() {
            order.keyed.push(last);
        }
        let Some(Sent { act, .. }) = sent else { return Ok(()) };
        if self.refused.contains(&correlation_id) {
            return Err("the request was refused".into());
        }
        if let Some((_, version)) = self.stored.insert(correlation_id, (stream, last)) {
            return Err(format!("the request was stored before, at version {version}"));
        }
        let keyed = Keyed { act, stored_at: last, round: self.rounds, answered: None };
        if let Some(key) = key_of(&act)
            && let Some(before) = self.keyed.insert(key, keyed)
        {
            if order.keyed_after(before.stored_at) <= KEYED {
                return Err(format!("a request with the same key was stored before, at version {}", before.stored_at));
            }
            self.bounds.count(Bound::ForgottenKey, true);
        }
        Ok(())
    }

    /// Checks responses, of requests that ran together.
    ///
    /// # Errors
    /// What they break.
    pub fn check_answers(&mut self, mut exchanges: Vec<Exchange>) -> Result<(), String> {
        // Those that stored their commit come first: theirs is the response that repeats get.
        exchanges.sort_by_key(|exchange| !self.stored.contains_key(&exchange.correlation_id));
        for exchange in exchanges {
            let shown = format!("{:?}: {} {}", exchange.act, exchange.status, exchange.body);
            self.check_answer(exchange).map_err(|broken| format!("{broken}\n  in {shown}"))?;
        }
        Ok(())
    }

    fn check_answer(&mut self, exchange: Exchange) -> Result<(), String> {
        let Exchange { act, correlation_id, stream, status, replayed, body } = exchange;
        let problem = body["type"].as_str().unwrap_or_default().trim_start_matches("urn:orders:problem:").to_owned();
        self.bounds.count_problem(&problem);
        let stored = self.stored.get(&correlation_id).cloned();
        if replayed && let Some((_, version)) = stored {
            return Err(format!(
                "the response is that of an earlier request, but this one is stored at version {version}"
            ));
        }
        let detail = body["detail"].as_str().unwrap_or_default();
        let refused = (400..500).contains(&status) && problem != "payment-declined";
        if refused || detail.contains("Nothing was stored") {
            if let Some((_, version)) = stored {
                return Err(format!("the request was refused, but is stored at version {version}"));
            }
            self.refused.insert(correlation_id.clone());
        } else if status >= 500
            && !["outcome-unknown", "unavailable", "contended", "payment-unverified"].contains(&&*problem)
        {
            return Err(format!("the response is an internal error: {problem}"));
        }
        let head = stream.and_then(|stream| self.orders.get(&stream));
        let required = self.sent.get(&correlation_id).and_then(|sent| sent.required);
        precondition_holds(&act, status, replayed || stored.is_some(), required, head, &body)?;
        if status < 300 {
            let (version, Some(order)) = (body["version"].as_u64().unwrap_or_default(), head) else {
                return Err("the order does not exist".into());
            };
            if version == 0 || version > order.head() {
                return Err(format!("the order is at version {}", order.head()));
            }
            if stored.as_ref().is_some_and(|(_, stored)| *stored != version) {
                return Err(format!("the request was stored at version {stored:?}"));
            }
            paid_as_told(&act, &body, &order.ledger)?;
            let oldest = replayed && matches!(act, Act::Create { .. }) && order.keyed_after(1) >= KEYED;
            self.bounds.count(Bound::OldestRequest, oldest);
        }
        let (Some(key), Some(order)) = (key_of(&act), head) else { return Ok(()) };
        let Some(keyed) = self.keyed.get_mut(&key) else { return Ok(()) };
        let repeat = keyed.stored_at;
        if stored.is_none() && order.keyed_after(repeat) >= KEYED && !matches!(act, Act::Create { .. }) {
            self.bounds.count(Bound::ForgottenKey, true);
            return Ok(());
        }
        // Without a decision, the caller has to try again. One that ran beside the first request may have been decided
        // before that was stored.
        if status >= 500 || (stored.is_none() && keyed.round == self.rounds) {
            return Ok(());
        }
        if keyed.act != act {
            let reused = problem == "idempotency-key-reused";
            return if reused { Ok(()) } else { Err(format!("the key was used for {:?}", keyed.act)) };
        }
        match &keyed.answered {
            None => keyed.answered = Some((status, body)),
            Some(first) if *first == (status, body) => {}
            Some(first) => return Err(format!("the first response was {first:?}")),
        }
        Ok(())
    }
}

/// Whether a response is true about the version that its request requires.
fn precondition_holds(
    act: &Act,
    status: u16,
    stored: bool,
    required: Option<(u64, u64)>,
    order: Option<&Checked>,
    body: &Value,
) -> Result<(), String> {
    let head = order.map_or(0, Checked::head);
    match (status, required) {
        (412, None) => Err("the request requires no version".into()),
        (412, Some((required, before))) if before == head && required == head => {
            Err("the order is at the required version".into())
        }
        // A capture is recorded at any version.
        (200..300, Some((required, _)))
            if !stored && !matches!(act, Act::Pay { .. }) && body["version"] != required =>
        {
            Err(format!("the request required version {required}"))
        }
        _ => Ok(()),
    }
}

/// Whether an event about money has a reason in the provider's books.
fn justified(event: &Stored<'_>, ledger: &Ledger, stream: &str, provider: &Provider) -> Result<(), String> {
    let Some(number) = payment_number(event.payment()) else { return Ok(()) };
    let payment = provider.payments.get(&number).filter(|payment| payment.order.to_string() == stream);
    let captured =
        |amount: u64| payment.is_some_and(|payment| payment.captures.iter().any(|c| u64::from(*c) == amount));
    let holds = match event.name {
        "OrderPaid" => captured(event.amount()),
        "OrderRefundDue" => ledger.captured.contains_key(event.payment()) || captured(event.amount()),
        "OrderRefunded" => payment.is_some_and(|payment| payment.refunded == Some(event.amount())),
        "OrderPaymentRejected" => {
            let denied = provider.denied.iter().any(|(denied, order)| *denied == number && order.to_string() == stream);
            denied || captured(0) || payment.is_some_and(|payment| payment.declines > 0)
        }
        _ => true,
    };
    if holds { Ok(()) } else { Err(format!("{} has no reason at the provider: {payment:?}", event.name)) }
}

/// Whether the service's state has the same money as the books.
fn agree(order: &Checked) -> Result<(), String> {
    let (ledger, Some(state)) = (&order.ledger, order.state.placed()) else { return Err("no order".into()) };
    let paid = state.payment.as_ref().filter(|payment| state.refund(&payment.payment_id).is_none());
    let sum = |done: bool| {
        state.refunds.iter().filter(|refund| refund.done.is_some() == done).map(|refund| refund.amount.0).sum::<u64>()
    };
    let kept = paid.map_or(0, |_| state.total.0);
    let refunded: u64 = ledger.refunded.values().sum();
    let deferred = state.deferred.as_ref().map(|deferred| deferred.payment_id.as_str());
    let ours = (kept, sum(false), sum(true), state.status.as_str(), deferred);
    let books = (ledger.kept(), ledger.owed(), refunded, ledger.status, ledger.deferred.as_deref());
    if ours == books {
        Ok(())
    } else {
        Err(format!("kept, owed, refunded: {ours:?} in the state, {books:?} in the books"))
    }
}

/// Whether a response to a payment is true.
fn paid_as_told(act: &Act, body: &Value, ledger: &Ledger) -> Result<(), String> {
    let Act::Pay { payment, .. } = act else { return Ok(()) };
    let name = super::provider::payment_name(*payment);
    let holds = match body["payment"].as_str() {
        None => ledger.paid_with.as_ref() == Some(&name) || body["status"] != "paid",
        Some("refund-due" | "refunded") => ledger.due.contains_key(&name),
        Some("deferred") => true,
        Some(_) => false,
    };
    if holds { Ok(()) } else { Err(format!("the payment is not recorded so: {ledger:?}")) }
}

fn key_of(act: &Act) -> Option<KeyOf> {
    match *act {
        Act::Create { order } => Some(("storefront", order, 0)),
        Act::Pay { order, key, .. } | Act::Cancel { order, key } => Some(("owner", order, key?)),
        Act::Ship { order, key } | Act::Deliver { order, key } | Act::Return { order, key } => {
            Some(("fulfilment", order, key?))
        }
        _ => None,
    }
}
