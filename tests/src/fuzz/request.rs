//! Events of the gateway: body, query string, path, headers and claims, and every other member.

use dynamodb_event_store::IdempotencyKey;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::decimal::units;
use super::service::{self, Service};
use crate::hostile_events::well_formed;

/// A response is well formed and no server error, an error names its field, nothing is stored with an error, a repeat with the
/// same key gets the same response, and money is read exactly.
pub fn check(input: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Box<RawValue>>(input) else { return };
    let Some(function) = Service::function(&event) else { return };
    service::with(|service| {
        let before = service.commits();
        let response = service.respond(function, &event);
        let status = well_formed(&response).unwrap_or_else(|why| panic!("{why}: {response}"));
        assert!(status < 500, "{response}");
        let body: Value = serde_json::from_str(response["body"].as_str().unwrap_or_default()).unwrap_or_default();
        if status >= 400 {
            assert_eq!(service.commits(), before, "an error stored something: {response}");
        }
        if body["type"] == "urn:orders:problem:invalid-request" {
            let errors = body["errors"].as_array().filter(|errors| !errors.is_empty()).expect("errors");
            for member in ["path", "detail"] {
                let said = |error: &Value| error[member].as_str().is_some_and(|text| !text.is_empty());
                assert!(errors.iter().all(said), "{response}");
            }
        }
        if (200..300).contains(&status) && service.commits() > before {
            if function == "create-order" {
                assert_eq!(Some(total_of(&response)), asked_total(&event), "{response}");
            }
            repeat(service, function, &event, &response);
        }
    });
}

/// A repeat is executed once: with a key it gets the same response.
fn repeat(service: &Service, function: &str, event: &RawValue, first: &Value) {
    let stored = service.commits();
    let again = service.respond(function, event);
    if again["headers"]["idempotency-replayed"] == "true" {
        assert_eq!((&again["statusCode"], &again["body"]), (&first["statusCode"], &first["body"]));
        assert_eq!(service.commits(), stored, "a repeat stored something");
    } else {
        assert!(function == "pay-order" || !is_keyed(event), "a repeat with a key is not replayed: {again}");
    }
}

/// Whether an event has one idempotency key, and a valid one.
fn is_keyed(event: &RawValue) -> bool {
    const NAME: &str = "idempotency-key";
    let once = event.get().to_ascii_lowercase().matches(NAME).count() == 1;
    let event: Value = serde_json::from_str(event.get()).unwrap_or_default();
    let mut headers = event["headers"].as_object().into_iter().flatten();
    let header = headers.find(|(name, _)| name.eq_ignore_ascii_case(NAME));
    once && header.and_then(|(_, key)| key.as_str()).is_some_and(|key| IdempotencyKey::parse(key).is_ok())
}

/// The total in a response, in cents.
fn total_of(response: &Value) -> u128 {
    #[derive(Deserialize)]
    struct Created<'a> {
        #[serde(borrow)]
        total: &'a RawValue,
    }
    let created: Created<'_> = serde_json::from_str(response["body"].as_str().unwrap_or_default()).expect("an order");
    units(created.total.get(), 2).expect("an amount")
}

/// The total of the items in an event's body, in cents. A body that is no text is one as it is written.
fn asked_total(event: &RawValue) -> Option<u128> {
    #[derive(Deserialize)]
    struct Event {
        body: Box<RawValue>,
        #[serde(default, rename = "isBase64Encoded")]
        encoded: Value,
    }
    #[derive(Deserialize)]
    struct Body {
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        quantity: Box<RawValue>,
        price: Box<RawValue>,
    }
    use base64::Engine as _;
    let Event { body, encoded } = serde_json::from_str(event.get()).ok()?;
    let text = serde_json::from_str(body.get()).unwrap_or_else(|_| body.get().to_owned());
    let bytes = if encoded == true { base64::prelude::BASE64_STANDARD.decode(text).ok()? } else { text.into_bytes() };
    let body: Body = serde_json::from_slice(&bytes).ok()?;
    body.items.iter().map(|item| Some(units(item.quantity.get(), 0)? * units(item.price.get(), 2)?)).sum()
}
