//! Responses are true, and each request and key takes effect once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::checker::{Orders, Place};
use super::client::{Act, Answer, Exchange, Read};
use super::clock::ERROR;
use super::evidence::Evidence;
use super::server::{CREATIONS, WINDOW};

/// How many keyed commits an order remembers.
const KEYED: u64 = 32;
/// Everything that is wrong.
pub fn check(evidence: &Evidence, orders: &Orders, places: &BTreeMap<String, Vec<Place>>) -> Vec<String> {
    let mut broken = Vec::new();
    for exchange in &evidence.exchanges {
        let stored = places.get(&exchange.correlation_id).map_or(&[][..], Vec::as_slice);
        broken.extend(check_exchange(exchange, stored, orders).err().map(|what| format!("{what}\n  in {exchange:?}")));
    }
    broken.extend(evidence.reads.iter().filter_map(|read| check_read(read, orders).err()));
    broken.extend(check_keys(&evidence.exchanges, places, orders));
    broken.extend(check_limit(&evidence.exchanges));
    broken
}

fn check_exchange(exchange: &Exchange, stored: &[Place], orders: &Orders) -> Result<(), String> {
    if stored.len() > 1 {
        return Err(format!("the request is stored more than once: {stored:?}"));
    }
    let Some(answer) = &exchange.answer else { return Ok(()) };
    let (status, problem) = (answer.status, answer.problem());
    let detail = answer.body["detail"].as_str().unwrap_or_default();
    let refused = (400..500).contains(&status) && problem != "payment-declined";
    if (refused || detail.contains("Nothing was stored")) && !stored.is_empty() {
        return Err(format!("the request was refused, but is stored: {stored:?}"));
    }
    if answer.replayed && !stored.is_empty() {
        return Err(format!("the response is that of an earlier request, but this one is stored: {stored:?}"));
    }
    if answer.is_internal_error() {
        return Err("the response is an internal error".into());
    }
    if status >= 300 {
        return Ok(());
    }
    let (id, version) = (answer.body["order_id"].as_str().unwrap_or_default(), answer.body["version"].as_u64());
    let order = orders.get(id).ok_or("the order does not exist")?;
    let version = version.filter(|version| order.ends.contains(version));
    let version = version.ok_or_else(|| format!("no commit ends with that version: {:?}", order.ends))?;
    match stored {
        [place] if place.order == id && place.version == version => {}
        // A payment that is recorded already is a success.
        [] if answer.replayed || exchange.request.act == Act::Pay => {}
        other => return Err(format!("the response reports a commit, but stored is {other:?}")),
    }
    let payment = exchange.request.body["payment_id"].as_str().unwrap_or_default();
    let is_recorded = match answer.body["payment"].as_str() {
        None => exchange.request.act != Act::Pay || order.ledger.captured.contains_key(payment),
        Some("refund-due" | "refunded") => order.ledger.due.contains_key(payment),
        Some("deferred") => order.events.iter().any(|event| event == "OrderPaymentDeferred"),
        Some(_) => false,
    };
    if is_recorded { Ok(()) } else { Err(format!("the payment is not recorded so: {:?}", order.ledger)) }
}

/// What was written can be read, and what is read was written.
fn check_read(read: &Read, orders: &Orders) -> Result<(), String> {
    let body = &read.answer.body;
    match read.answer.status {
        200 => {
            let version = body["version"].as_u64().filter(|version| *version >= read.at_least);
            let place = version.and_then(|version| usize::try_from(version).ok()?.checked_sub(1));
            let order = orders.get(&read.order).ok_or("the order does not exist")?;
            let status = place.and_then(|place| order.statuses.get(place));
            if status.copied() == body["status"].as_str() && status.is_some() {
                return Ok(());
            }
            Err(format!("the order was never like that: {read:?}"))
        }
        _ if read.answer.is_internal_error() => Err(format!("a read ends with an internal error: {read:?}")),
        429 | 500.. => Ok(()),
        _ => Err(format!("what was written is not read: {read:?}")),
    }
}

/// A key has one commit, and after it one response.
fn check_keys(exchanges: &[Exchange], places: &BTreeMap<String, Vec<Place>>, orders: &Orders) -> Vec<String> {
    let mut broken = Vec::new();
    let mut by_key: BTreeMap<_, Vec<&Exchange>> = BTreeMap::new();
    for exchange in exchanges {
        if let Some(key) = &exchange.request.key {
            by_key.entry((exchange.request.caller, &exchange.request.order, key)).or_default().push(exchange);
        }
    }
    for (key, mut repeats) in by_key {
        let stored: Vec<&Place> =
            repeats.iter().filter_map(|exchange| places.get(&exchange.correlation_id)).flatten().collect();
        let forgets = stored.iter().any(|place| orders.get(&place.order).is_some_and(|order| order.head() > KEYED));
        if forgets {
            continue;
        }
        if stored.len() > 1 {
            broken.push(format!("{key:?} is stored more than once: {stored:?}"));
        }
        repeats.sort_by_key(|exchange| exchange.received);
        // From the first response on that reports the commit, every other is the same.
        let reports = |exchange: &&&Exchange| {
            let answer = exchange.answer.as_ref().filter(|answer| answer.is_final());
            answer.is_some_and(|answer| answer.replayed || places.contains_key(&exchange.correlation_id))
        };
        let Some(first) = repeats.iter().find(reports) else { continue };
        for later in repeats.iter().filter(|later| later.sent > first.received) {
            let Some(answer) = later.answer.as_ref().filter(|answer| answer.is_final()) else { continue };
            let same = |answer: &Answer| (answer.status, without_instance(&answer.body));
            let holds = if later.request == first.request {
                first.answer.as_ref().map(same) == Some(same(answer))
            } else {
                answer.problem() == "idempotency-key-reused"
            };
            if !holds {
                broken.push(format!("a key has two responses: {first:?}\n  and {later:?}"));
            }
        }
    }
    broken
}

/// The instance of a problem names the request.
fn without_instance(body: &Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().and_then(|body| body.remove("instance"));
    body
}

/// A window in which no more creations are admitted than the limit allows, whatever the clocks of the functions are.
const CERTAIN: Duration = WINDOW.saturating_sub(ERROR.saturating_mul(2));

/// No more creations are admitted in any window than the limit allows.
fn check_limit(exchanges: &[Exchange]) -> Option<String> {
    let admitted = exchanges.iter().filter(|exchange| exchange.request.act == Act::Create);
    let admitted = admitted.filter(|exchange| exchange.answer.as_ref().is_some_and(|answer| answer.status == 201));
    let mut admitted: Vec<_> = admitted.map(|exchange| (exchange.sent, exchange.received)).collect();
    admitted.sort_unstable();
    admitted.iter().enumerate().find_map(|(first, (sent, _))| {
        let ends = *sent + CERTAIN;
        let within = admitted[first..].iter().filter(|(_, received)| *received < ends).count();
        (within > CREATIONS).then(|| format!("{within} creations were admitted within {CERTAIN:?} from {sent:?} on"))
    })
}
