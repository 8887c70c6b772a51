//! Changes of an input that keep it close to what a parser accepts: of the values of a JSON text, of JSON within its strings, and
//! of plain text.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::hostile_events::{RAW, TEXTS};

/// Texts that mean something to one of the parsers.
const WORDS: [&str; 40] = [
    "1e2",
    "0.1",
    "19.999",
    "-0",
    "1e-2",
    "10000000000000",
    "1e400",
    "99999999999999999999",
    "9223372036854775807",
    "18446744073709551615",
    "4294967296",
    "0",
    "01",
    "1.",
    "NaN",
    "null",
    "true",
    "EUR",
    "usd",
    "JPY",
    "*",
    "\"1\"",
    "W/\"1\"",
    "text/csv;q=0",
    "application/json",
    "2026-11-24T09:30:00Z",
    "9999-12-31T23:59:59-12:00",
    "0000-01-01T00:00:00+12:00",
    "0001-01-01",
    "captured",
    "declined",
    "pending",
    "paid",
    "cancelled",
    "limit=1",
    "&cursor=",
    "; ",
    "token-bucket",
    "sliding-window",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
];

/// An input with one to three changes.
pub fn mutated(input: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut changed = input.to_vec();
    for _ in 0..random.u8(1..=3) {
        changed = match serde_json::from_slice(&changed) {
            Ok(json) => changed_json(json, random).into_bytes(),
            Err(_) => changed_text(&String::from_utf8_lossy(&changed), random).into_bytes(),
        };
    }
    changed
}

/// The text of a value with one change.
fn changed_json(mut json: Value, random: &mut Rng) -> String {
    let count = nodes(&json);
    let copied = nth(&mut json, &mut random.usize(..count)).clone();
    // Where a value is to be what `Value` cannot hold.
    let mark = "\u{1}mark";
    let mut written = None;
    let node = nth(&mut json, &mut random.usize(..count));
    match (random.u8(..12), &mut *node) {
        (0..4, Value::String(text)) => {
            *text = match serde_json::from_str(text) {
                Ok(inner @ (Value::Object(_) | Value::Array(_))) => changed_json(inner, random),
                _ => changed_text(text, random),
            };
        }
        (0..4, Value::Number(number)) => *node = changed_number(number, random),
        (0..3, Value::Object(members)) => {
            let name = random.choice(members.keys()).cloned();
            if let Some(removed) = name.and_then(|name| members.remove(&name))
                && random.bool()
            {
                members.insert(text(random), removed);
            }
        }
        (3, Value::Object(members)) => {
            members.insert(text(random), copied);
        }
        (0..2, Value::Array(elements)) if !elements.is_empty() => {
            elements.remove(random.usize(..elements.len()));
        }
        (2..4, Value::Array(elements)) => elements.insert(random.usize(..=elements.len()), copied),
        (4..6, _) => *node = copied,
        (6, _) => {
            written = random.choice(RAW);
            *node = mark.into();
        }
        (7, Value::Object(members)) if !members.is_empty() => {
            let (name, member) = random.choice(members.iter()).expect("not empty");
            let (name, member, object) = (json!(name), member.to_string(), Value::Object(members.clone()).to_string());
            return json.to_string().replacen(&object, &format!("{{{name}:{member},{}", &object[1..]), 1);
        }
        (7..9, _) => *node = json!(text(random)),
        (9, _) => *node = json!(random.i64(..)),
        (10, _) => *node = json!([copied]),
        _ => {
            *node =
                random.choice([json!(null), json!({}), json!([]), json!(true), json!(0), json!("")]).expect("not empty")
        }
    }
    let text = json.to_string();
    written.map_or(text.clone(), |raw| text.replacen(&json!(mark).to_string(), raw, 1))
}

fn changed_number(number: &serde_json::Number, random: &mut Rng) -> Value {
    let integer = number.as_i64().unwrap_or(random.i64(..));
    match random.u8(..6) {
        0 => json!(integer.wrapping_add(1)),
        1 => json!(integer.wrapping_sub(1)),
        2 => json!(integer.wrapping_mul(10)),
        3 => json!(integer.wrapping_neg()),
        4 => json!(number.as_f64().unwrap_or_default() / 1000.0),
        _ => json!(random.u64(..)),
    }
}

/// A text with a part removed, repeated or replaced.
fn changed_text(text: &str, random: &mut Rng) -> String {
    let chars: Vec<char> = text.chars().collect();
    let a = random.usize(..=chars.len());
    let b = (a + random.usize(..=8)).min(chars.len());
    let [before, part, after] = [&chars[..a], &chars[a..b], &chars[b..]].map(|part| part.iter().collect::<String>());
    let part = match random.u8(..6) {
        0 => String::new(),
        1 => part.repeat(2),
        2 => self::text(random) + &part,
        3 => part.chars().map(|c| char::from_u32(c as u32 ^ (1 << random.u8(..7))).unwrap_or(c)).collect(),
        4 => part.repeat(random.usize(..200)),
        _ => self::text(random),
    };
    before + &part + &after
}

fn text(random: &mut Rng) -> String {
    let texts = if random.bool() { &TEXTS[..] } else { &WORDS };
    random.choice(texts).copied().unwrap_or_default().to_owned()
}

fn nodes(json: &Value) -> usize {
    1 + match json {
        Value::Object(members) => members.values().map(nodes).sum(),
        Value::Array(elements) => elements.iter().map(nodes).sum(),
        _ => 0,
    }
}

/// The n-th value within a value, which has more than n.
fn nth<'a>(json: &'a mut Value, n: &mut usize) -> &'a mut Value {
    if *n == 0 {
        return json;
    }
    *n -= 1;
    let inner: Box<dyn Iterator<Item = &mut Value>> = match json {
        Value::Object(members) => Box::new(members.values_mut()),
        Value::Array(elements) => Box::new(elements.iter_mut()),
        _ => Box::new(std::iter::empty()),
    };
    for value in inner {
        let count = nodes(value);
        if *n < count {
            return nth(value, n);
        }
        *n -= count;
    }
    unreachable!("there are more than n values")
}
