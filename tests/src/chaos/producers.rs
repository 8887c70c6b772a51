//! The payment provider and the carrier: they send events at least once, repeated, late and contradicting each other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Run;
use super::client::Client;
use super::clients::TOTAL;
use super::evidence::{bus_log, events_on_the_bus};
use super::provider::{Booked, Provider, decimal};
use super::views::cents;

/// An event that was sent to the bus.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its detail type.
    pub name: &'static str,
    /// Its producer's id.
    pub event_id: String,
    /// Its data.
    pub data: Value,
    /// The bus's ids of it, once for each time that it was accepted.
    pub accepted: Vec<String>,
}

/// What has been sent.
pub struct Producers {
    client: Arc<Client>,
    /// The provider's own books.
    pub provider: Provider,
    sent: Mutex<Vec<Sent>>,
}

impl Producers {
    /// Nothing has been sent.
    pub fn new(client: Arc<Client>, provider: Provider) -> Self {
        Self { client, provider, sent: Mutex::default() }
    }

    /// Everything that has been sent.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// Sends an event; true if the bus has it.
    pub async fn send(&self, name: &'static str, event_id: &str, data: Value) -> bool {
        let source = if name.starts_with("Shipment") { "shipping" } else { "payments" };
        let detail = json!({"metadata": {"event_id": event_id}, "data": data});
        let event = json!({"source": source, "detail-type": name, "detail": detail});
        let accepted = self.client.control("/dev/events", event).await;
        let id = accepted.and_then(|accepted| accepted["id"].as_str().map(str::to_owned));
        let mut sent = self.sent.lock().unwrap();
        let place = sent.iter().position(|known| known.event_id == event_id && known.data == data);
        let place = place.unwrap_or_else(|| {
            sent.push(Sent { name, event_id: event_id.to_owned(), data, accepted: Vec::new() });
            sent.len() - 1
        });
        sent[place].accepted.extend(id.clone());
        id.is_some()
    }

    async fn repeatedly(&self, rng: &mut Rng, name: &'static str, event_id: &str, data: &Value) {
        for _ in 0..rng.u32(1..4) {
            self.send(name, event_id, data.clone()).await;
            sleep(Duration::from_millis(rng.u64(..400))).await;
        }
    }

    /// A payment was captured.
    pub async fn captured(&self, rng: &mut Rng, order: &str, payment: &str) {
        self.provider.capture(order, payment, TOTAL, false);
        let (event_id, data) = capture(order, payment, TOTAL);
        self.repeatedly(rng, "PaymentCaptured", &event_id, &data).await;
    }

    /// Sends the events of captures, but for those that are lost.
    pub async fn report_captures(&self) {
        let accepted = self.sent().into_iter().filter(|sent| !sent.accepted.is_empty()).map(|sent| sent.event_id);
        let accepted: BTreeSet<String> = accepted.collect();
        for (payment, Booked { order, amount, silent, .. }) in self.provider.books() {
            let (event_id, data) = capture(&order, &payment, amount);
            if !silent && !accepted.contains(&event_id) {
                self.send("PaymentCaptured", &event_id, data).await;
            }
        }
    }

    /// A payment failed, or was captured with another amount, or both.
    pub async fn contradicts(&self, rng: &mut Rng, order: &str, payment: &str) {
        let failed = json!({"order_id": order, "payment_id": payment, "reason": "declined"});
        let (other_id, other) = capture(order, payment, 1_000);
        // What is contradicted is not also silent.
        self.provider.report(payment);
        if rng.bool() {
            self.repeatedly(rng, "PaymentFailed", &format!("failed-{payment}"), &failed).await;
        }
        if rng.bool() {
            self.provider.capture(order, payment, 1_000, false);
            self.repeatedly(rng, "PaymentCaptured", &other_id, &other).await;
        }
        if rng.bool() {
            self.captured(rng, order, payment).await;
        }
    }

    /// A parcel was dispatched and delivered, in any order.
    pub async fn shipped(&self, rng: &mut Rng, order: &str) {
        let parcel = rng.u32(..);
        let dispatched = json!({"order_id": order, "tracking_number": format!("1Z-{parcel}")});
        let delivered = json!({"order_id": order});
        if rng.u32(..4) == 0 {
            self.repeatedly(rng, "ShipmentDelivered", &format!("early-{order}"), &delivered).await;
        }
        self.repeatedly(rng, "ShipmentDispatched", &format!("dispatched-{parcel}"), &dispatched).await;
        self.repeatedly(rng, "ShipmentDelivered", &format!("delivered-{parcel}"), &delivered).await;
    }

    /// Refunds what the bus says is due; returns how many refunds the bus has accepted for the first time.
    pub async fn refund_what_is_due(&self, done: &mut BTreeSet<String>, log: &[Value]) -> usize {
        let mut accepted = 0;
        for due in events_on_the_bus(log).filter(|event| event["detail-type"] == "OrderRefundDue") {
            let data = &due["detail"]["data"];
            let payment = data["payment_id"].as_str().unwrap_or_default().to_owned();
            let name = format!("refunded-{}-{payment}", data["order_id"].as_str().unwrap_or_default());
            let refund = json!({
                "order_id": data["order_id"], "payment_id": payment, "refund_id": name, "amount": data["amount"],
            });
            self.provider.refund(&payment, cents(&data["amount"]).unwrap_or_default());
            if !done.contains(&name) && self.send("RefundCompleted", &name, refund).await {
                done.insert(name);
                accepted += 1;
            }
        }
        accepted
    }
}

/// The event of a capture: its producer's id, and its data.
pub fn capture(order: &str, payment: &str, amount: u64) -> (String, Value) {
    let data = json!({"order_id": order, "payment_id": payment, "amount": decimal(amount), "currency": "EUR"});
    (format!("captured-{payment}-{amount}"), data)
}

/// Refunds until the time is up.
pub async fn refund(run: Run) {
    let mut done = BTreeSet::new();
    while !run.is_over() {
        run.producers.refund_what_is_due(&mut done, &bus_log(&run.stack.data)).await;
        sleep(Duration::from_secs(1)).await;
    }
}
