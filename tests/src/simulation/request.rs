//! Requests and events as the gateway and the bus pass them on.

use serde_json::{Value, json};

use super::function::Invocation;
use super::provider::{Provider, payment_name};
use super::step::Act;

/// What an order costs, in cents.
pub const TOTAL: u32 = 4_000;

/// The request of an act on an order, with this correlation id, that requires a version or none.
pub fn request(act: &Act, order_id: &str, correlation_id: &str, required: Option<u64>) -> Option<Invocation> {
    let tracking = json!({"tracking_number": "1Z999"});
    let reason = json!({"reason": "such is life"});
    let (function, sub, scopes, key, body) = match *act {
        Act::Create { order } => {
            let items = json!([
                {"product_id": "00000000-0000-4000-8000-000000000001", "quantity": 3, "price": 10},
                {"product_id": "00000000-0000-4000-8000-000000000002", "quantity": 1, "price": 10.00},
            ]);
            let body = json!({"items": items, "user_id": "alice"});
            ("create-order", "storefront", "orders:checkout", Some(order.into()), body)
        }
        Act::Pay { payment, cents, key, .. } => {
            let body = json!({"payment_id": payment_name(payment), "amount": amount(cents)});
            ("pay-order", "alice", "orders:write", key, body)
        }
        Act::Cancel { key, .. } => ("cancel-order", "alice", "orders:write", key, reason),
        Act::Ship { key, .. } => ("ship-order", "fulfilment", "orders:fulfil", key, tracking),
        Act::Deliver { key, .. } => ("deliver-order", "fulfilment", "orders:fulfil", key, json!({})),
        Act::Return { key, .. } => ("return-order", "fulfilment", "orders:fulfil", key, reason),
        _ => return None,
    };
    let mut headers = json!({"content-type": "application/json", "x-correlation-id": correlation_id});
    if let Some(key) = key {
        headers["idempotency-key"] = json!(format!("\"key-{key}\""));
    }
    if let Some(version) = required {
        headers["if-match"] = json!(format!("\"{version}\""));
    }
    let event = json!({
        "version": "2.0", "headers": headers, "pathParameters": {"id": order_id}, "body": body.to_string(),
        "requestContext": {
            "authorizer": {"jwt": {"claims": {"sub": sub, "scope": scopes}}},
            "http": {"method": "POST", "path": "/"},
        },
    });
    Some(Invocation::Request(function, event))
}

/// The id and the event of an act that an event of the provider or the carrier causes; `None` if it was not sent.
pub fn event(act: &Act, order_id: Option<String>, provider: &Provider) -> Option<(String, Invocation)> {
    let payment_event = |id: String, name, payment: u16, mut data: Value| {
        data["order_id"] = json!(provider.payments[&payment].order);
        data["payment_id"] = json!(payment_name(payment));
        (id.clone(), Invocation::Payment(bus_event("payments", name, &id, &data)))
    };
    match *act {
        Act::CaptureArrives { payment, nth } => {
            let booked = provider.payments.get(&payment)?;
            let cents = *booked.captures.get(usize::from(nth)).filter(|_| nth > 0 || !booked.silent)?;
            let data = json!({"amount": amount(cents), "currency": "EUR"});
            Some(payment_event(format!("captured-{payment}-{nth}"), "PaymentCaptured", payment, data))
        }
        Act::DeclineArrives { payment, nth } => {
            provider.payments.get(&payment).filter(|booked| nth < booked.declines)?;
            let data = json!({"reason": "no funds"});
            Some(payment_event(format!("declined-{payment}-{nth}"), "PaymentFailed", payment, data))
        }
        Act::RefundArrives { payment } => {
            let cents = provider.payments.get(&payment)?.refunded?;
            let data = json!({"refund_id": format!("r{payment}"), "amount": amount(cents.try_into().ok()?)});
            Some(payment_event(format!("refunded-{payment}"), "RefundCompleted", payment, data))
        }
        Act::ParcelArrives { order, delivered } => {
            let data = json!({"order_id": order_id?, "tracking_number": "1Z999"});
            let name = if delivered { "ShipmentDelivered" } else { "ShipmentDispatched" };
            let id = format!("{name}-{order}");
            Some((id.clone(), Invocation::Shipment(bus_event("shipping", name, &id, &data))))
        }
        _ => None,
    }
}

fn bus_event(source: &str, detail_type: &str, id: &str, data: &Value) -> Value {
    json!({
        "version": "0", "id": "bus-1", "source": source, "detail-type": detail_type, "account": "123456789012",
        "time": "2026-03-01T12:00:00Z", "region": "eu-central-1", "resources": [],
        "detail": {"metadata": {"event_id": id}, "data": data},
    })
}

/// An amount on the wire.
fn amount(cents: u32) -> Value {
    json!(f64::from(cents) / 100.0)
}
