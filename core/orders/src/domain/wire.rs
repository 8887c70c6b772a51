//! The form in which events leave the service: as they are stored, but with amounts in decimals.

use serde_json::Value;

use super::codec::encode;
use super::event::OrderEvent;
use super::money::{Currency, Money};

/// The fields that hold an amount, at any depth of an event.
const AMOUNTS: [&str; 3] = ["amount", "price", "total"];

/// The fields of an event as consumers and clients read them.
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
    use std::collections::BTreeSet;

    use schemars::generate::SchemaSettings;
    use serde_json::json;

    use super::*;
    use crate::domain::harness::every_event;

    fn shown(event: Value, currency: &str) -> Value {
        data(&serde_json::from_value::<OrderEvent>(event).unwrap(), &currency.parse().unwrap())
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
    fn every_amount_is_shown_in_the_decimals_of_the_currency() {
        for event in every_event() {
            let amount = |currency: &str| data(&event, &currency.parse().unwrap()).get("amount").cloned();
            if amount("EUR").is_some() {
                let shown = ["EUR", "JPY", "KWD"].map(amount);
                assert_eq!(shown, [json!(40), json!(4000), json!(4)].map(Some), "{}", event.name());
            }
        }
    }

    /// Collects the names of the properties that have the schema of [`Money`].
    fn amounts_in(schema: &Value, names: &mut BTreeSet<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if field["type"] == "number" {
                names.insert(name.clone());
            }
            amounts_in(field, names);
            amounts_in(&field["items"], names);
        }
    }

    #[test]
    fn every_field_of_an_event_that_is_money_is_known_as_an_amount() {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<OrderEvent>().to_value();
        let mut names = BTreeSet::new();
        schema["oneOf"].as_array().unwrap().iter().for_each(|event| amounts_in(event, &mut names));
        assert_eq!(names, AMOUNTS.map(str::to_owned).into());
    }
}
