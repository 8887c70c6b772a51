//! Follows the bus of a running stack, in a form for people.

use std::io::Write;

use chrono::{DateTime, Local};
use serde::Deserialize;
use serde_json::Value;

/// Seconds that the stack may take to answer when nothing happens.
const WAIT: u32 = 20;
/// Most characters of an event's data, or of a reason, that are shown.
const WIDTH: usize = 160;

/// Why the bus cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// Nobody answers there. Start a stack, or say `--port`.
    #[error("no local stack answers at {url}: {source}")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The output is closed.
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

#[derive(Deserialize)]
struct News {
    entries: Vec<Value>,
    next: u64,
}

/// Writes what the stack at that address has in its journal, and then whatever comes, until the output or the stack ends.
///
/// # Errors
/// When there is no stack at that address any more, or nobody reads the output.
pub async fn follow(url: &str, mut output: impl Write) -> Result<(), TailError> {
    let unreachable = |source| TailError::Unreachable { url: url.to_owned(), source };
    let client = reqwest::Client::new();
    let mut after = 0;
    loop {
        let ask = client.get(format!("{url}/dev/events?after={after}&wait={WAIT}")).send().await;
        let answer = ask.and_then(reqwest::Response::error_for_status).map_err(unreachable)?;
        let news: News = answer.json().await.map_err(unreachable)?;
        for entry in &news.entries {
            writeln!(output, "{}", line(entry))?;
        }
        output.flush()?;
        after = news.next;
    }
}

/// An entry of the journal as a line.
fn line(entry: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let at = entry["at"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let at = at.map(|at| at.with_timezone(&Local).format("%H:%M:%S%.3f").to_string()).unwrap_or_default();
    match entry["kind"].as_str().unwrap_or_default() {
        "event" => {
            let event = &entry["event"];
            let (detail, data) = (&event["detail"], &event["detail"]["data"]);
            let order = [&detail["metadata"]["order_id"], &data["order_id"]].into_iter().find_map(Value::as_str);
            let version = detail["metadata"]["version"].as_u64().map(|version| format!(" v{version}"));
            format!(
                "{at}  {:<10} {:<21} {}{}  {}",
                text(&event["source"]),
                text(&event["detail-type"]),
                order.unwrap_or("-"),
                version.unwrap_or_default(),
                short(&fields(if data.is_object() { data } else { detail })),
            )
        }
        "refused" => format!(
            "{at}  {:<10} {:<21} refused by the bus: {}",
            entry["source"].as_str().unwrap_or("-"),
            entry["detail_type"].as_str().unwrap_or("-"),
            text(&entry["message"])
        ),
        _ => {
            let reason = entry["reason"].as_str().map(|reason| format!(": {}", short(reason))).unwrap_or_default();
            let attempt = entry["attempt"].as_u64().filter(|attempt| *attempt > 1);
            let attempt = attempt.map(|attempt| format!(", attempt {attempt}")).unwrap_or_default();
            let outcome = match &entry["outcome"] {
                Value::Object(queue) => {
                    format!("given up, kept in the queue {}", queue.values().map(text).collect::<String>())
                }
                other if other == "missed" => "given up until the next run".to_owned(),
                other => text(other),
            };
            format!("{at}    └ {} {outcome}{attempt}{reason}", text(&entry["function"]))
        }
    }
}

/// The fields of an event's data that have one value each.
fn fields(data: &Value) -> String {
    let fields = data.as_object().into_iter().flatten();
    let fields =
        fields.filter(|(name, value)| *name != "order_id" && !value.is_null()).map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            Value::Array(list) => format!("{name}[{}]", list.len()),
            Value::Object(_) => format!("{name}{{…}}"),
            other => format!("{name}={other}"),
        });
    fields.collect::<Vec<_>>().join(" ")
}

fn short(text: &str) -> String {
    // What would move the cursor is no part of a line.
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(WIDTH).collect();
    if text.chars().nth(WIDTH).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(entry: Value) -> String {
        let line = line(&entry);
        line.split_once("  ").map_or(line.clone(), |(_, rest)| rest.to_owned())
    }

    #[test]
    fn an_event_shows_who_said_what_about_which_order() {
        let event = json!({"source": "orders", "detail-type": "OrderPaid", "detail": {
            "metadata": {"order_id": "o-1", "version": 2},
            "data": {"order_id": "o-1", "payment_id": "p-1", "amount": 19.99, "items": [1, 2]}}});
        assert_eq!(
            shown(json!({"kind": "event", "at": "2026-01-01T10:00:00.123Z", "event": event})),
            "orders     OrderPaid             o-1 v2  amount=19.99 items[2] payment_id=p-1"
        );
    }

    #[test]
    fn a_delivery_stands_below_its_event_and_says_how_it_went() {
        let delivery = |outcome: Value, attempt: u32, reason: Value| {
            let at = "2026-01-01T10:00:00.123Z";
            shown(
                json!({"kind": "delivery", "at": at, "function": "f", "outcome": outcome, "attempt": attempt, "reason": reason}),
            )
        };
        assert_eq!(delivery(json!("done"), 1, Value::Null), "  └ f done");
        assert_eq!(delivery(json!("failed"), 2, json!("no")), "  └ f failed, attempt 2: no");
        let missed = delivery(json!("missed"), 3, json!("no"));
        assert_eq!(missed, "  └ f given up until the next run, attempt 3: no");
        let given_up = delivery(json!({"in-queue": "Dead"}), 3, json!("no"));
        assert_eq!(given_up, "  └ f given up, kept in the queue Dead, attempt 3: no");
    }

    #[test]
    fn what_is_long_is_cut_and_what_is_strange_does_no_harm() {
        let event =
            json!({"source": "x", "detail-type": "T", "detail": {"a": format!("\u{1b}[2J{}", "y".repeat(1_000_000))}});
        let line = line(&json!({"kind": "event", "event": event}));
        assert!(line.chars().count() < 250 && line.ends_with('…') && !line.contains('\u{1b}'), "{line}");
        assert_eq!(
            shown(json!({"kind": "refused", "at": "", "message": "m"})),
            "-          -                     refused by the bus: m"
        );
        super::line(&json!(null));
    }
}
