//! `events`: follows the bus of a running stack.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use chrono::{DateTime, Local};
use serde::Deserialize;
use serde_json::Value;

use crate::Stop;

/// Seconds of a long poll.
const WAIT: u32 = 20;
/// Most characters of an event's data, or of a reason, that are shown.
const WIDTH: usize = 160;

#[derive(Deserialize)]
struct Page {
    entries: Vec<Value>,
    next: u64,
}

/// Writes the journal of the stack on that port, and then new entries, until the output is closed or a signal to stop.
///
/// # Errors
/// When no stack runs there.
pub async fn run(port: u16, stop: Stop<'_>) -> Result<ExitCode, Box<dyn Error>> {
    tokio::select! {
        followed = follow(port) => match followed {
            Err(error) if error.is::<std::io::Error>() => Ok(ExitCode::SUCCESS),
            followed => followed.map(|()| ExitCode::SUCCESS),
        },
        () = stop => Ok(ExitCode::SUCCESS),
    }
}

async fn follow(port: u16) -> Result<(), Box<dyn Error>> {
    let client = reqwest::Client::new();
    let mut after = 0;
    loop {
        let url = format!("http://127.0.0.1:{port}/dev/events?after={after}&wait={WAIT}");
        let page = async { client.get(url).send().await?.error_for_status()?.json::<Page>().await };
        let page = page.await.map_err(|error| format!("no local stack responds on port {port}: {error}"))?;
        let mut output = std::io::stdout().lock();
        for entry in &page.entries {
            writeln!(output, "{}", line(entry))?;
        }
        output.flush()?;
        after = page.next;
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
            "{at}  {:<10} {:<21} rejected by the bus: {}",
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
                    format!("retries exhausted, stored in the queue {}", queue.values().map(text).collect::<String>())
                }
                other if other == "missed" => "retries exhausted, until the next run".to_owned(),
                other => text(other),
            };
            format!("{at}    └ {} {outcome}{attempt}{reason}", text(&entry["function"]))
        }
    }
}

/// The fields of an event's data, without nested values.
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
    // Control characters could move the cursor.
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
    fn an_event_shows_its_source_type_order_and_data() {
        let event = json!({"source": "orders", "detail-type": "OrderPaid", "detail": {
            "metadata": {"order_id": "o-1", "version": 2},
            "data": {"order_id": "o-1", "payment_id": "p-1", "amount": 19.99, "items": [1, 2]}}});
        assert_eq!(
            shown(json!({"kind": "event", "at": "2026-01-01T10:00:00.123Z", "event": event})),
            "orders     OrderPaid             o-1 v2  amount=19.99 items[2] payment_id=p-1"
        );
    }

    #[test]
    fn a_delivery_shows_its_outcome_below_its_event() {
        let delivery = |outcome: Value, attempt: u32, reason: Value| {
            let at = "2026-01-01T10:00:00.123Z";
            shown(
                json!({"kind": "delivery", "at": at, "function": "f", "outcome": outcome, "attempt": attempt, "reason": reason}),
            )
        };
        assert_eq!(delivery(json!("done"), 1, Value::Null), "  └ f done");
        assert_eq!(delivery(json!("failed"), 2, json!("no")), "  └ f failed, attempt 2: no");
        let missed = delivery(json!("missed"), 3, json!("no"));
        assert_eq!(missed, "  └ f retries exhausted, until the next run, attempt 3: no");
        let given_up = delivery(json!({"in-queue": "Dead"}), 3, json!("no"));
        assert_eq!(given_up, "  └ f retries exhausted, stored in the queue Dead, attempt 3: no");
    }

    #[test]
    fn long_data_is_cut_and_control_characters_are_removed() {
        let event =
            json!({"source": "x", "detail-type": "T", "detail": {"a": format!("\u{1b}[2J{}", "y".repeat(1_000_000))}});
        let line = line(&json!({"kind": "event", "event": event}));
        assert!(line.chars().count() < 250 && line.ends_with('…') && !line.contains('\u{1b}'), "{line}");
        assert_eq!(
            shown(json!({"kind": "refused", "at": "", "message": "m"})),
            "-          -                     rejected by the bus: m"
        );
        super::line(&json!(null));
    }
}
