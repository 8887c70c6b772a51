//! Events of the bus.

use orders_functions::incoming::event::Event;
use orders_functions::incoming::run::{NotProcessed, Received};
use orders_functions::incoming::{payments, shipping};
use serde_json::Value;
use strict_json::Strict;

use super::service::{self, Service};
use crate::ledger::Stored;
use crate::simulation::bus::Entry;

/// An event is done when it arrives for the first time: it stores something, is rejected on the bus, or changes nothing. When it
/// arrives again the same follows, and nothing is stored. Money that is not recorded is reported with the whole event.
pub fn check(input: &[u8]) {
    let read = || serde_json::from_slice::<Strict<Event>>(input).ok().map(|Strict(event)| event);
    // The bus delivers no number and no text that JSON values cannot hold.
    let (Some(event), Ok(whole)) = (read(), serde_json::from_slice::<Value>(input)) else { return };
    let (shipment, money) = (event.source() == "shipping", event.is_money());
    service::with(|service| {
        let context = service.context();
        let receive = || {
            let before = service.network.outside().bus.entries.len();
            let received = Received::new(read().expect("it was read before"), &context);
            received.count_dropped();
            let done = service.run(async {
                match shipment {
                    true => shipping::handle(&service.runner, &received).await,
                    false => payments::handle(&service.runner, &"EUR".parse().expect("a currency"), &received).await,
                }
            });
            assert!(matches!(done, Ok(()) | Err(NotProcessed::TooLarge { .. })), "{done:?}");
            service.network.outside().bus.entries.split_off(before)
        };
        let first = receive();
        let stored = service.commits();
        if money && first.is_empty() {
            assert!(is_recorded(service, &whole), "money is neither recorded nor reported: {whole}");
        }
        assert_eq!(ids(&receive()), ids(&first));
        assert_eq!(service.commits(), stored, "a repeat stored something");
        for rejection in &first {
            assert_eq!(rejection.detail_type, "OrderCommandRejected");
            let data = &rejection.detail["data"];
            assert_eq!((&data["unrecorded_money"], data["event"] == whole), (&Value::Bool(money), money), "{data}");
        }
    });
}

/// Whether the money that an event reports is in the events of an order. A capture of zero is no money.
fn is_recorded(service: &Service, event: &Value) -> bool {
    let data = &event["detail"]["data"];
    let (payment, amount) = (data["payment_id"].as_str(), data["amount"].as_f64());
    let is_refund = event["detail-type"] == "RefundCompleted";
    let names = if is_refund { &["OrderRefunded"][..] } else { &["OrderPaid", "OrderRefundDue"] };
    let outside = service.network.outside();
    let mut events = outside.tables.commits.iter().flat_map(Stored::of);
    amount == Some(0.0) || events.any(|event| names.contains(&event.name) && Some(event.payment()) == payment)
}

fn ids(entries: &[Entry]) -> Vec<&Value> {
    entries.iter().map(|entry| &entry.detail["metadata"]["event_id"]).collect()
}
