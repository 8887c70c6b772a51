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
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let at = entry["at"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let at = at.map(|at| at.with_timezone(&Local).format("%H:%M:%S%.3f").to_string()).unwrap_or_default();
    match entry["kind"].as_str().unwrap_or_default() {
        "event" => {
            let event = &entry["event"];
            let (detail, data) = (&event["detail"], &event["detail"]["data"]);
            let order = [&detail["metadata"]["order_id"], &data["order_id"]].into_iter().find_map(Value::as_str);
            let version = detail["metadata"]["version"].as_u64().map(|version| format!(" v{version}"));
            let (source, kind) = (text(&event["source"]), text(&event["detail-type"]));
            let (order, version) = (order.unwrap_or("-"), version.unwrap_or_default());
            let data = short(&fields(if data.is_object() { data } else { detail }));
            format!("{at}  {source:<10} {kind:<21} {order}{version}  {data}")
        }
        "refused" => {
            let (source, kind) = (&entry["source"], &entry["detail_type"]);
            let (source, kind) = (source.as_str().unwrap_or("-"), kind.as_str().unwrap_or("-"));
            format!("{at}  {source:<10} {kind:<21} rejected by the bus: {}", text(&entry["message"]))
        }
        _ => {
            let reason = entry["reason"].as_str().map(|reason| format!(": {}", short(reason))).unwrap_or_default();
            let attempt = entry["attempt"].as_u64().filter(|attempt| *attempt > 1);
            let attempt = attempt.map(|attempt| format!(", attempt {attempt}")).unwrap_or_default();
            let outcome = match &entry["outcome"] {
                Value::Object(queue) => {
                    format!("failed, now in the queue {}", queue.values().map(text).collect::<String>())
                }
                other if other == "missed" => "failed until the next run".to_owned(),
                other => text(other),
            };
            format!("{at}    └ {} {outcome}{attempt}{reason}", text(&entry["function"]))
        }
    }
}

/// The fields of an event's data, without nested values.
fn fields(data: &Value) -> String {
    let fields = data.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, value)| *name != "order_id" && !value.is_null());
    let field = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}={text}"),
        Value::Array(list) => format!("{name}[{}]", list.len()),
        Value::Object(_) => format!("{name}{{…}}"),
        other => format!("{name}={other}"),
    };
    fields.map(field).collect::<Vec<_>>().join(" ")
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

    #[test]
    fn events_and_their_deliveries_are_lines() {
        let event = json!({"source": "orders", "detail-type": "OrderPaid", "detail": {
            "metadata": {"order_id": "o-1", "version": 2},
            "data": {"order_id": "o-1", "payment_id": "p-1", "amount": 19.99, "items": [1, 2]}}});
        let delivery = |outcome: Value, attempt: u32, reason: Value| json!({"kind": "delivery", "function": "f", "outcome": outcome, "attempt": attempt, "reason": reason});
        for (entry, expected) in [
            (
                json!({"kind": "event", "event": event}),
                "  orders     OrderPaid             o-1 v2  amount=19.99 items[2] payment_id=p-1",
            ),
            (json!({"kind": "refused", "message": "m"}), "  -          -                     rejected by the bus: m"),
            (delivery(json!("done"), 1, Value::Null), "    └ f done"),
            (delivery(json!("failed"), 2, json!("no")), "    └ f failed, attempt 2: no"),
            (delivery(json!("missed"), 3, json!("no")), "    └ f failed until the next run, attempt 3: no"),
            (
                delivery(json!({"in-queue": "Dead"}), 3, json!("no")),
                "    └ f failed, now in the queue Dead, attempt 3: no",
            ),
        ] {
            assert_eq!(line(&entry), expected);
        }
        let long =
            json!({"source": "x", "detail-type": "T", "detail": {"a": format!("\u{1b}[2J{}", "y".repeat(9_999))}});
        let long = line(&json!({"kind": "event", "event": long}));
        assert!(long.chars().count() < 250 && long.ends_with('…') && !long.contains('\u{1b}'), "{long}");
    }
}
