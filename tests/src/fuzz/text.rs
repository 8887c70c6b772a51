//! Short texts: settings, amounts and headers.

use dynamodb_circuit_breaker::Settings;
use dynamodb_event_store::{IdempotencyKey, TraceContext};
use dynamodb_rate_limit::Policy;
use orders_core::domain::Currency;
use orders_functions::{accept, content};

use super::decimal::units;

/// A policy is parsed again from what it prints; an error points into the text.
pub fn policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match text.parse::<Policy>() {
        Ok(policy) => {
            let again: Policy = policy.to_string().parse().expect("what a policy prints");
            assert_eq!(format!("{policy:?}"), format!("{again:?}"));
            assert!((1..=policy.limit()).contains(&policy.cost) && policy.allows_cost(policy.cost).is_ok());
            let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!((1..=32).contains(&policy.name.len()) && policy.name.chars().all(name), "{:?}", policy.name);
        }
        Err(error) => points_into(text, &error.to_string()),
    }
    match text.parse::<Settings>() {
        Ok(settings) => {
            assert!(settings.open <= settings.open_max && settings.slow.is_none_or(|slow| slow < settings.lease));
            assert!((1..=100).contains(&settings.ratio) && settings.failures > 0 && settings.probes > 0);
        }
        Err(error) => points_into(text, &error.to_string()),
    }
}

/// `"TEXT", character N, at "FOUND": PROBLEM`, where FOUND begins at character N of the text.
fn points_into(text: &str, error: &str) {
    let rest = error.strip_prefix(&format!("{text:?}, character ")).expect("the text");
    let (at, rest) = rest.split_once(", at ").expect("a position");
    let at: usize = at.parse().expect("a number");
    let tail: String = text.chars().skip(at - 1).collect();
    let found = tail.char_indices().map(|(end, _)| end).chain([tail.len()]).map(|end| &tail[..end]);
    assert!(found.into_iter().any(|found| rest.starts_with(&format!("{found:?}: "))), "{error}");
}

/// An amount is what an independent reading says, in currencies of each number of decimals, and is written exactly.
pub fn money(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for (code, decimals) in [("JPY", 0), ("EUR", 2), ("KWD", 3), ("CLF", 4)] {
        let currency: Currency = code.parse().expect("a currency");
        let expected = units(text, decimals).filter(|amount| *amount <= 1_000_000_000_000_000);
        let read = currency.parse(text);
        assert_eq!(read.as_ref().ok().map(|amount| u128::from(amount.0)), expected, "{code} {text}");
        if let Ok(amount) = read {
            let written = currency.to_json(amount).to_string();
            assert_eq!(units(&written, decimals), expected, "{written}");
            assert_eq!(currency.parse(&written), Ok(amount));
        }
    }
}

/// What a header is read as is written as a header that is read as the same.
pub fn header(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(key) = IdempotencyKey::parse(text) {
        let quoted = format!("\"{}\"", key.as_str().replace('\\', "\\\\").replace('"', "\\\""));
        assert_eq!(IdempotencyKey::parse(&quoted), Ok(key));
    }
    let (parent, state) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(trace) = TraceContext::from_headers(parent, state) {
        let state = trace.tracestate().unwrap_or_default();
        assert!(state.len() <= 128 && trace.trace_id() != 0 && trace.parent_id() != 0);
        assert_eq!(TraceContext::from_headers(&trace.to_string(), state), Some(trace));
    }
    let forms = ["application/json", "text/csv"];
    let preferred = accept::preferred(Some(text), &forms);
    assert!(preferred.is_none_or(|form| forms.contains(&form)));
    // The order of what is offered decides only between what is preferred equally.
    let reversed = accept::preferred(Some(text), &["text/csv", "application/json"]);
    assert_eq!(preferred.is_none(), reversed.is_none());
    let upper = text.to_ascii_uppercase();
    assert_eq!(content::is_json(text), content::is_json(&upper), "{text}");
    assert_eq!(content::is_identity(text), content::is_identity(&upper), "{text}");
}
