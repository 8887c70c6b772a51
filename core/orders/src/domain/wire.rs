//! The form in which facts leave the service: as they are stored, but with amounts in decimals.

use serde_json::Value;

use super::codec::encode;
use super::event::OrderEvent;
use super::money::{Currency, Money};

/// The fields that hold an amount, wherever in an event they stand.
const AMOUNTS: [&str; 3] = ["amount", "price", "total"];

/// The fields of a fact as consumers and clients read them.
pub fn data(event: &OrderEvent, currency: &Currency) -> Value {
    let (_, _, mut data) = encode(event);
    show_amounts(&mut data, currency);
    data
}

fn show_amounts(value: &mut Value, currency: &Currency) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_u64() {
                    Some(minor_units) if AMOUNTS.contains(&name.as_str()) => {
                        *field = currency.to_json(Money(minor_units)).into();
                    }
                    _ => show_amounts(field, currency),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| show_amounts(value, currency)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every fact that names money, read from its stored form, where an amount is an integer.
    fn fact(event: Value) -> OrderEvent {
        serde_json::from_value(event).unwrap()
    }

    fn shown(event: Value, currency: &str) -> Value {
        data(&fact(event), &currency.parse().unwrap())
    }

    const ID: &str = "0190a1b2-0000-7000-8000-000000000001";

    #[test]
    fn a_created_order_shows_prices_and_total_as_decimals_and_counts_as_they_are() {
        let event = json!({ "type": "OrderCreated", "data": {
            "order_id": ID, "user_id": "u", "total": 6020, "created_at": "2026-01-01T00:00:00Z",
            "items": [{ "product_id": ID, "quantity": 2, "price": 1999 }, { "product_id": ID, "quantity": 1, "price": 2022 }],
        }});
        let shown = shown(event, "EUR");
        assert_eq!(shown["total"], json!(60.2));
        assert_eq!(shown["items"][0]["price"], json!(19.99));
        assert_eq!(shown["items"][0]["quantity"], json!(2));
    }

    #[test]
    fn every_amount_is_shown_in_the_currency_s_own_decimals() {
        let times = json!({ "paid_at": "2026-01-01T00:00:00Z", "deferred_at": "2026-01-01T00:00:00Z",
            "due_at": "2026-01-01T00:00:00Z", "refunded_at": "2026-01-01T00:00:00Z" });
        for event_type in ["OrderPaid", "OrderPaymentDeferred", "OrderRefundDue", "OrderRefunded"] {
            let mut fields = times.clone();
            let own = json!({ "order_id": ID, "payment_id": "p", "refund_id": "r", "reason": "why", "amount": 1050 });
            fields.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            let event = json!({ "type": event_type, "data": fields });
            assert_eq!(shown(event.clone(), "EUR")["amount"], json!(10.5), "{event_type}");
            assert_eq!(shown(event.clone(), "JPY")["amount"], json!(1050), "{event_type}");
            assert_eq!(shown(event, "KWD")["amount"], json!(1.05), "{event_type}");
        }
    }
}
