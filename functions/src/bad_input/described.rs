//! Bad values for every field of the bodies in the API description.

use std::path::Path;

use serde_json::{Value, json};

use super::functions::{self, good, send};
use super::{expect, with_body};
use crate::testing::Shop;

/// Texts without a visible character.
const INVISIBLE: [&str; 12] = [
    "\u{200b}",
    "\u{feff}",
    "\u{ad}",
    "\u{3164}",
    "\u{e0041}",
    "\u{2060}",
    "\u{200d}",
    "\u{fe0f}",
    "\u{115f}",
    "\u{2800}",
    "\u{61c}",
    " \u{200b} ",
];

fn api() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api/openapi.yaml");
    yaml_serde::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The schema that a reference within the description names.
fn resolved<'a>(api: &'a Value, mut schema: &'a Value) -> &'a Value {
    while let Some(reference) = schema["$ref"].as_str() {
        schema = api.pointer(reference.trim_start_matches('#')).unwrap();
    }
    schema
}

/// Every field that a schema has, as a JSON pointer, with its own schema. Of a list, the first element.
fn fields<'a>(api: &'a Value, schema: &'a Value, at: &str, found: &mut Vec<(String, &'a Value)>) {
    let schema = resolved(api, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        found.push((at.clone(), resolved(api, field)));
        fields(api, field, &at, found);
    }
    if !schema["items"].is_null() {
        fields(api, &schema["items"], &format!("{at}/0"), found);
    }
}

/// The fields of a function's body.
fn body_fields<'a>(api: &'a Value, function: &str) -> Vec<(String, &'a Value)> {
    let (verb, noun) = function.split_once('-').unwrap();
    let operation = format!("{verb}{}{}", noun[..1].to_uppercase(), &noun[1..]);
    let of_paths = api["paths"].as_object().unwrap().values();
    let methods = of_paths.flat_map(|path| [&path["post"], &path["put"]]);
    let schema = &methods.into_iter().find(|method| method["operationId"] == operation.as_str()).unwrap()["requestBody"]
        ["content"]["application/json"]["schema"];
    let mut found = Vec::new();
    fields(api, schema, "", &mut found);
    found
}

/// `/items/0/price` as errors name it: `items[0].price`.
fn path(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace("/0", "[0]").replace('/', ".")
}

/// The function's good body with another value at a pointer.
fn changed(good: &Value, pointer: &str, value: Value) -> Value {
    let mut body: Value = good["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or(json!({}));
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    with_body(good.clone(), &body.to_string())
}

#[tokio::test]
async fn no_field_of_any_body_may_be_null() {
    let (shop, api) = (Shop::open().await, api());
    let order_id = shop.create_order(44.98).await;
    let mut tried = 0;
    for function in functions::with_body() {
        for (pointer, _) in body_fields(&api, function) {
            let answer = send(&shop, function, changed(&good(function, &order_id), &pointer, Value::Null)).await;
            expect(&answer, 400, "invalid-request", Some(&path(&pointer)), &format!("{function} {pointer}"));
            tried += 1;
        }
    }
    assert!(tried >= 12, "{tried}");
    assert_eq!(shop.commits().await, 1);
}

#[tokio::test]
async fn every_text_of_any_body_must_have_a_visible_character() {
    let (shop, api) = (Shop::open().await, api());
    let order_id = shop.create_order(44.98).await;
    let mut tried = 0;
    for function in functions::with_body() {
        for (pointer, schema) in body_fields(&api, function) {
            if schema["type"] != "string" {
                continue;
            }
            for text in INVISIBLE {
                let answer = send(&shop, function, changed(&good(function, &order_id), &pointer, text.into())).await;
                let sent = format!("{function} {pointer} {text:?}");
                expect(&answer, 400, "invalid-request", Some(&path(&pointer)), &sent);
            }
            tried += 1;
        }
    }
    assert!(tried >= 8, "{tried}");
    assert_eq!(shop.commits().await, 1);
}
