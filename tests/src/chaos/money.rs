//! The provider's books agree with those of the orders, and no capture is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::checker::Orders;
use super::evidence::{Evidence, events_on_the_bus};
use super::producers::capture;
use super::provider::{Booked, Books};
use super::views::cents;

/// Everything that is wrong.
pub fn check(evidence: &Evidence, orders: &Orders) -> Vec<String> {
    let reported = reported(&evidence.log);
    let mut broken = check_events(evidence, orders, &reported);
    broken.extend(unrecorded(&evidence.books, orders, &evidence.log));
    broken.extend(check_balance(&evidence.books, orders, &reported));
    broken
}

/// The producer's ids of events about money that the bus reports as unrecorded.
fn reported(log: &[Value]) -> BTreeSet<&str> {
    events_on_the_bus(log)
        .filter(|event| event["detail"]["data"]["unrecorded_money"] == true)
        .filter_map(|event| event["detail"]["data"]["event_id"].as_str())
        .collect()
}

/// Every capture that an event names is recorded, or its rejection is reported on the bus.
fn check_events(evidence: &Evidence, orders: &Orders, reported: &BTreeSet<&str>) -> Vec<String> {
    let captures = evidence.sent.iter().filter(|sent| sent.name == "PaymentCaptured" && !sent.accepted.is_empty());
    let lost = captures.filter(|sent| {
        let text = |name: &str| sent.data[name].as_str().unwrap_or_default();
        let recorded = recorded(orders, text("order_id"), text("payment_id"));
        recorded != cents(&sent.data["amount"]) && !reported.contains(sent.event_id.as_str())
    });
    lost.map(|sent| format!("a capture is neither recorded nor reported: {sent:?}")).collect()
}

fn recorded(orders: &Orders, order: &str, payment: &str) -> Option<u64> {
    orders.get(order)?.ledger.captured.get(payment).copied()
}

/// Whether the bus reports that this payment is recorded with another amount than in the books.
fn is_contradicted(payment: &str, booked: &Booked, reported: &BTreeSet<&str>) -> bool {
    reported.contains(capture(&booked.order, payment, booked.amount).0.as_str())
}

/// Captures in the provider's books that the order has not recorded, whether there was an event or not. Of captures that
/// contradict each other, the first to be known is recorded.
pub fn unrecorded(books: &Books, orders: &Orders, log: &[Value]) -> Vec<String> {
    let reported = reported(log);
    let unknown = books.iter().filter(|(payment, booked)| match recorded(orders, &booked.order, payment) {
        None => true,
        Some(amount) => amount != booked.amount && !is_contradicted(payment, booked, &reported),
    });
    unknown.map(|(payment, booked)| format!("the capture of {payment} is not recorded: {booked:?}")).collect()
}

/// What the provider captured for an order is kept, owed or refunded, and nothing else is recorded as captured.
fn check_balance(books: &Books, orders: &Orders, reported: &BTreeSet<&str>) -> Vec<String> {
    let mut broken = Vec::new();
    let mut totals: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (payment, booked) in books {
        let contradicted = is_contradicted(payment, booked, reported);
        let recorded = recorded(orders, &booked.order, payment).filter(|_| contradicted);
        let (captured, refunded) = totals.entry(&booked.order).or_default();
        *captured += recorded.unwrap_or(booked.amount);
        *refunded += booked.refunded;
    }
    for (id, order) in orders {
        let ledger = &order.ledger;
        let (captured, refunded) = totals.get(id.as_str()).copied().unwrap_or_default();
        if captured != ledger.kept() + ledger.owed() + refunded {
            broken.push(format!("the provider captured {captured} for {id} and refunded {refunded}: {ledger:?}"));
        }
        let unknown = ledger.captured.keys().filter(|payment| books.get(*payment).is_none_or(|of| of.order != *id));
        broken.extend(unknown.map(|payment| format!("the provider has not captured {payment} for {id}: {ledger:?}")));
    }
    broken
}
