//! After the faults: failed events are delivered again, and everything that is under way is completed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::checker::orders_of;
use super::client::Client;
use super::clients::pay_one;
use super::disruption::{bus, payments};
use super::evidence::{bus_log, commits, events_on_the_bus, expired_before};
use super::operator::schedule;
use super::provider::Mode;
use super::server::Instruction;
use super::{Run, money};

/// How long it may take until everything is done.
const PATIENCE: Duration = Duration::from_secs(150);
/// Between two looks.
const PACE: Duration = Duration::from_secs(2);

/// Waits until everything is done; returns what is not.
pub async fn restore(run: &Run) -> Vec<String> {
    run.stack.instruct(Instruction::FaultsOff).await;
    payments(run, Mode::Ok);
    bus(run, "ok").await;
    report_unacknowledged(run);
    let (begun, mut refunded) = (Instant::now(), BTreeSet::new());
    loop {
        for function in ["settle-payments", "catch-up-read-models", "expire-orders"] {
            schedule(run, function).await;
        }
        redrive(&run.client).await;
        let log = bus_log(&run.stack.data);
        repeat_unprocessed(run, &log).await;
        run.producers.report_captures().await;
        run.producers.refund_what_is_due(&mut refunded, &log).await;
        sleep(PACE).await;
        let undone = undone(run).await;
        if undone.is_empty() {
            return undone;
        }
        if begun.elapsed() > PATIENCE {
            return undone.into_iter().map(|what| format!("after {PATIENCE:?} {what}")).collect();
        }
    }
}

/// The event of a capture may only be lost where the service has acknowledged the payment, as recorded or as deferred.
fn report_unacknowledged(run: &Run) {
    let exchanges = run.client.exchanges();
    let payments = exchanges.iter().filter(|exchange| exchange.answer.as_ref().is_some_and(|a| a.status < 300));
    let acknowledged: BTreeSet<&str> =
        payments.filter_map(|exchange| exchange.request.body["payment_id"].as_str()).collect();
    for payment in run.producers.provider.books().keys().filter(|payment| !acknowledged.contains(payment.as_str())) {
        run.producers.provider.report(payment);
    }
}

async fn redrive(client: &Client) {
    let Value::Object(queues) = client.read("admin", "/dev/queues").await else { return };
    let failed = queues
        .iter()
        .filter(|(name, messages)| is_redriven(name) && messages.as_array().is_some_and(|all| !all.is_empty()));
    for (name, _) in failed {
        drop(client.control(&format!("/dev/queues/{name}/redrive"), json!({})).await);
    }
}

/// Whether messages in this queue are delivered again; those about unrecorded money are for people.
pub fn is_redriven(queue: &str) -> bool {
    !queue.ends_with("UnrecordedMoney")
}

/// Producers send again what may not have arrived: the bus of a killed stack forgets what it has yet to deliver.
async fn repeat_unprocessed(run: &Run, log: &[Value]) {
    let done: BTreeSet<&str> =
        log.iter().filter(|entry| entry["outcome"] == "done").filter_map(|entry| entry["event_id"].as_str()).collect();
    for sent in run.producers.sent() {
        if !sent.accepted.iter().any(|id| done.contains(id.as_str())) {
            run.producers.send(sent.name, &sent.event_id, sent.data).await;
        }
    }
}

/// What is under way.
async fn undone(run: &Run) -> Vec<String> {
    let mut undone = Vec::new();
    let commits = commits(run).await;
    let Ok(orders) = orders_of(&commits) else { return undone };
    let log = bus_log(&run.stack.data);
    let mut published: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for event in events_on_the_bus(&log) {
        let metadata = &event["detail"]["metadata"];
        if let (Some(order), Some(version)) = (metadata["order_id"].as_str(), metadata["version"].as_u64()) {
            published.entry(order).or_default().insert(version);
        }
    }
    let expired_before = expired_before();
    for (order, known) in &orders {
        if known.ledger.status == "pending" && known.created_at < expired_before {
            undone.push(format!("order {order} of {} has not expired", known.created_at));
        }
        if let Some(payment) = &known.ledger.deferred {
            undone.push(format!("{payment} of {order} is deferred"));
        }
        if known.ledger.owed() > 0 {
            undone.push(format!("order {order} owes {:?}", known.ledger.due));
        }
        let on_the_bus = published.get(order.as_str()).map_or(0, BTreeSet::len) as u64;
        if on_the_bus < known.head() {
            undone.push(format!("{on_the_bus} of {} events of {order} are on the bus", known.head()));
        }
    }
    undone.extend(money::unrecorded(&run.producers.provider.books(), &orders, &log));
    let status = run.client.read("admin", "/ops/status").await;
    if status["breakers"][0]["state"] != "closed" {
        undone.push(format!("the circuit is not closed: {status}"));
        // So that it is probed.
        pay_one(run).await;
    }
    if status["deferred_payments"]["waiting"].as_u64().unwrap_or(1) > 0 {
        undone.push(format!("the rows show deferred payments: {status}"));
    }
    undone
}
