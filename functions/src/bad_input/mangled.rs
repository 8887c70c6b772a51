//! Randomly corrupted requests.

use serde_json::Value;

use super::functions::{FUNCTIONS, good, send};
use crate::testing::{Shop, problem};

/// Texts that are inserted.
const ODDITIES: [&str; 24] = [
    "",
    " ",
    "\"",
    "\\",
    "\0",
    "\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "-1",
    "0",
    "1e999",
    "99999999999999999999",
    "é",
    "\u{202e}",
    "\u{feff}",
    "%",
    "%2",
    "%00",
    "&limit=",
];

/// A text with a part removed or repeated, or something inserted.
fn mangled(text: &str, random: &mut fastrand::Rng) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (a, b) = (random.usize(..=chars.len()), random.usize(..=chars.len()));
    let (before, between, after) = (&chars[..a.min(b)], &chars[a.min(b)..a.max(b)], &chars[a.max(b)..]);
    let oddity = random.choice(ODDITIES).unwrap_or_default();
    let between: String = between.iter().collect();
    let between = match random.u8(0..4) {
        0 => oddity.to_owned(),
        1 => between.repeat(2),
        2 => between + oddity,
        _ => oddity.repeat(100) + &between,
    };
    before.iter().collect::<String>() + &between + &after.iter().collect::<String>()
}

#[tokio::test]
async fn no_mangled_request_makes_a_function_fail() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    let mut rejected = 0;
    for _ in 0..1_000 {
        let (function, _) = random.choice(FUNCTIONS.iter()).unwrap();
        let mut event = good(function, &order_id);
        for _ in 0..random.usize(1..=2) {
            let place = match random.u8(0..7) {
                0 | 1 => "/body".to_owned(),
                2 | 3 => "/rawQueryString".to_owned(),
                4 => format!("/pathParameters/{}", random.choice(["id", "user_id"]).unwrap()),
                _ => {
                    let headers = ["accept", "content-type", "if-match", "idempotency-key", "x-correlation-id"];
                    format!("/headers/{}", random.choice(headers).unwrap())
                }
            };
            if event.pointer(&place).is_none() {
                let (parent, name) = place.rsplit_once('/').unwrap();
                let Some(Value::Object(parent)) = event.pointer_mut(parent) else { continue };
                parent.insert(name.to_owned(), "\"1\"".into());
            }
            let text = event.pointer_mut(&place).unwrap();
            *text = mangled(text.as_str().unwrap_or_default(), &mut random).into();
        }
        let answer = send(&shop, function, event.clone()).await;
        assert!(answer.status() < 500, "{function}: {event}: {}", answer.body());
        if answer.status() >= 400 {
            assert!(!problem(&answer).is_empty());
            rejected += 1;
        }
    }
    assert!(
        (100..1_000).contains(&rejected),
        "{rejected} rejections: some requests must be mangled, and some still valid"
    );
}
