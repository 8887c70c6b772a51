//! Whatever is derived from events equals them: the bus, rows, lists, work queues, sales. Nothing is left undone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::checker::{Checked, Orders};
use super::evidence::{Evidence, QUEUES, events_on_the_bus};
use super::recovery::is_redriven;

/// Everything that is wrong.
pub fn check(evidence: &Evidence, orders: &Orders) -> Vec<String> {
    let checks = [check_publication, check_rows, check_lists, check_queues, check_sales, check_rest];
    checks.iter().flat_map(|check| check(evidence, orders)).collect()
}

/// Each event is on the bus under one id.
fn check_publication(evidence: &Evidence, orders: &Orders) -> Vec<String> {
    let mut published: BTreeMap<(&str, u64), BTreeSet<(&str, &str)>> = BTreeMap::new();
    for event in events_on_the_bus(&evidence.log).filter(|event| event["detail-type"] != "OrderCommandRejected") {
        let (name, metadata) = (event["detail-type"].as_str().unwrap_or_default(), &event["detail"]["metadata"]);
        let text = |name: &str| metadata[name].as_str().unwrap_or_default();
        let place = (text("order_id"), metadata["version"].as_u64().unwrap_or_default());
        published.entry(place).or_default().insert((text("event_id"), name));
    }
    let (mut broken, mut ids) = (Vec::new(), BTreeSet::new());
    for (id, order) in orders {
        for (version, name) in (1..).zip(&order.events) {
            let found: Vec<_> = published.remove(&(id.as_str(), version)).into_iter().flatten().collect();
            let holds = matches!(found[..], [(event_id, published)] if published == name && ids.insert(event_id));
            if !holds {
                broken.push(format!("event {version} of order {id}, {name}, is on the bus as {found:?}"));
            }
        }
    }
    broken.extend(published.into_iter().map(|event| format!("on the bus, but not stored: {event:?}")));
    broken
}

/// Each row shows its order, and `verify-orders` finds no difference.
fn check_rows(evidence: &Evidence, orders: &Orders) -> Vec<String> {
    let mut broken = Vec::new();
    let mut rows: BTreeMap<&str, _> = BTreeMap::new();
    for row in &evidence.rows {
        let text = |name: &str, kind: &str| row.get(name).and_then(|value| value[kind].as_str()).unwrap_or_default();
        let shown = (text("version", "N").to_owned(), text("status", "S"), row.contains_key("parked"));
        rows.insert(text("order_id", "S"), shown);
    }
    for (id, order) in orders {
        let (row, expected) = (rows.remove(id.as_str()), (order.head().to_string(), order.ledger.status, false));
        if row.as_ref() != Some(&expected) {
            broken.push(format!("the row of {id} is {row:?} instead of {expected:?}"));
        }
    }
    broken.extend(rows.into_iter().map(|row| format!("a row has no order: {row:?}")));
    for (model, found) in &evidence.verified {
        if found["done"] != true || found["different"] != 0 {
            broken.push(format!("verify-orders finds differences in {model}: {found}"));
        }
    }
    broken
}

/// What a list shows of an order.
type Entry<'a> = (&'a str, &'a str, u64);

fn entry_of<'a>(id: &'a str, order: &'a Checked) -> Entry<'a> {
    (id, order.ledger.status, order.head())
}

fn entries(list: &[Value]) -> Vec<Entry<'_>> {
    fn text<'a>(order: &'a Value, name: &str) -> &'a str {
        order[name].as_str().unwrap_or_default()
    }
    let version = |order: &Value| order["version"].as_u64().unwrap_or_default();
    list.iter().map(|order| (text(order, "order_id"), text(order, "status"), version(order))).collect()
}

/// The list of each owner has all orders once, newest first.
fn check_lists(evidence: &Evidence, orders: &Orders) -> Vec<String> {
    let mut broken = Vec::new();
    for (owner, list) in &evidence.lists {
        let mut actual = entries(list);
        let created_at = |(id, ..): &Entry<'_>| orders.get(*id).map(|order| &order.created_at);
        if !actual.iter().rev().is_sorted_by_key(created_at) {
            broken.push(format!("the list of {owner} is not newest first"));
        }
        actual.sort_unstable();
        let of_owner = orders.iter().filter(|(_, order)| order.owner == *owner);
        let expected: Vec<_> = of_owner.map(|(id, order)| entry_of(id, order)).collect();
        broken.extend(difference(&format!("the list of {owner}"), &actual, &expected));
    }
    broken
}

/// Each work queue has all orders of its status once.
fn check_queues(evidence: &Evidence, orders: &Orders) -> Vec<String> {
    let mut broken = Vec::new();
    for status in QUEUES {
        let mut actual = entries(evidence.queues.get(status).map_or(&[], Vec::as_slice));
        actual.sort_unstable();
        let waiting = orders.iter().filter(|(_, order)| order.ledger.status == status);
        let expected: Vec<_> = waiting.map(|(id, order)| entry_of(id, order)).collect();
        broken.extend(difference(&format!("the work queue of {status}"), &actual, &expected));
    }
    broken
}

fn difference(what: &str, actual: &[Entry<'_>], expected: &[Entry<'_>]) -> Option<String> {
    if actual == expected {
        return None;
    }
    let lacks: Vec<_> = expected.iter().filter(|entry| !actual.contains(entry)).collect();
    let has: Vec<_> = actual.iter().filter(|entry| !expected.contains(entry)).collect();
    Some(format!("{what} lacks {lacks:?}, has {has:?}, and {} entries instead of {}", actual.len(), expected.len()))
}

/// The sales report is the recount of the books.
fn check_sales(evidence: &Evidence, orders: &Orders) -> Vec<String> {
    let mut expected: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut add = |name, amount| {
        let sum = expected.entry(name).or_default();
        *sum = (sum.0 + 1, sum.1 + amount);
    };
    for order in orders.values() {
        let books = &order.ledger;
        add(books.status, books.total);
        for (name, amounts) in
            [("payments", &books.captured), ("refunds_due", &books.due), ("refunds", &books.refunded)]
        {
            amounts.values().for_each(|amount| add(name, *amount));
        }
    }
    let sales = &evidence.sales;
    let shown = sales["orders"].as_object().into_iter().flatten().map(|(name, sum)| (name.as_str(), sum));
    let shown = shown.chain(["payments", "refunds_due", "refunds"].map(|name| (name, &sales[name])));
    let shown = shown.map(|(name, sum)| {
        (name, (sum["count"].as_u64().unwrap_or(u64::MAX), cents(&sum["amount"]).unwrap_or(u64::MAX)))
    });
    let shown: BTreeMap<_, _> = shown.filter(|(_, sum)| *sum != (0, 0)).collect();
    if shown == expected { Vec::new() } else { vec![format!("the sales are {shown:?} instead of {expected:?}")] }
}

/// Nothing is deferred or owed, the circuit is closed, and no message or file is left.
fn check_rest(evidence: &Evidence, orders: &Orders) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, order) in orders {
        if order.ledger.status == "pending" && order.created_at < evidence.expired_before {
            broken.push(format!("order {id} of {} has not expired", order.created_at));
        }
        if let Some(payment) = &order.ledger.deferred {
            broken.push(format!("{payment} of order {id} is still deferred"));
        }
        if order.ledger.owed() > 0 {
            broken.push(format!("the refund of order {id} is still due: {:?}", order.ledger));
        }
    }
    let (breaker, deferred) =
        (&evidence.status["breakers"][0]["state"], &evidence.status["deferred_payments"]["waiting"]);
    if breaker != "closed" {
        broken.push(format!("the circuit is {breaker}"));
    }
    if deferred != 0 {
        broken.push(format!("{deferred} payments are shown as deferred"));
    }
    let left = evidence
        .dead_letters
        .iter()
        .filter(|(queue, messages)| is_redriven(queue) && **messages != Value::Array(Vec::new()));
    broken.extend(left.map(|(queue, messages)| format!("messages are left in {queue}: {messages}")));
    broken.extend(evidence.files.iter().map(|file| format!("a file is left behind: {file}")));
    broken
}

/// A decimal number in cents.
pub fn cents(amount: &Value) -> Option<u64> {
    let cents = amount.as_f64()? * 100.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "amounts of these tests are small")]
    (cents >= 0.0).then(|| cents.round() as u64)
}
