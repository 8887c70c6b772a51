//! What functions log, and how long each invocation took.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

type Sink = dyn Fn(&str, &str) + Send + Sync;
type Reports = dyn Fn(&str, Duration) + Send + Sync;

/// The destination of log lines, with the function's name.
#[derive(Clone)]
pub struct Logs {
    lines: Arc<Sink>,
    reports: Arc<Reports>,
}

impl Logs {
    /// To the standard error stream, formatted for people.
    pub fn stderr() -> Self {
        Self::to(|function, line| {
            // A closed terminal does not stop the stack.
            drop(writeln!(std::io::stderr().lock(), "{function:>16} | {}", readable(line)));
        })
    }

    /// To a closure that takes the function's name and the original line.
    pub fn to(sink: impl Fn(&str, &str) + Send + Sync + 'static) -> Self {
        Self { lines: Arc::new(sink), reports: Arc::new(|_, _| {}) }
    }

    /// Also reports the end of every invocation to a closure: the function's name and the duration, without its start.
    #[must_use]
    pub fn reporting(self, reports: impl Fn(&str, Duration) + Send + Sync + 'static) -> Self {
        Self { reports: Arc::new(reports), ..self }
    }

    /// An invocation ended.
    pub(crate) fn report(&self, function: &str, duration: Duration) {
        (self.reports)(function, duration);
    }

    /// Writes one line of that function.
    pub fn line(&self, function: &str, line: &str) {
        (self.lines)(function, line);
    }

    /// Writes every line of an output until its end.
    pub(crate) async fn follow(self, function: String, output: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(output).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            self.line(&function, String::from_utf8_lossy(&line).trim_end());
        }
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logs")
    }
}

/// A JSON log line as `LEVEL message name=value …`; anything else unchanged.
fn readable(line: &str) -> String {
    let Ok(Value::Object(mut entry)) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    if entry.contains_key("_aws") {
        return metrics(&entry);
    }
    let mut fields = Map::new();
    if let Some(Value::Object(inner)) = entry.remove("fields") {
        fields.extend(inner);
    }
    let mut take = |name: &str| match fields.remove(name).or_else(|| entry.remove(name)) {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (level, message) = (take("level"), take("message"));
    for noise in ["timestamp", "time", "target", "span", "spans", "threadId", "filename", "line_number"] {
        take(noise);
    }
    fields.extend(entry);
    if level.is_empty() && message.is_empty() {
        return line.to_owned();
    }
    format!("{level:5} {message}{}", pairs(fields.iter()))
}

/// An embedded metric: only its values.
fn metrics(entry: &Map<String, Value>) -> String {
    format!("{:5} {}", "COUNT", pairs(entry.iter().filter(|(name, _)| *name != "_aws")).trim_start())
}

fn pairs<'a>(fields: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    fields
        .map(|(name, value)| match value {
            Value::String(text) => format!(" {name}={text}"),
            other => format!(" {name}={other}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_formatted_and_another_line_is_unchanged() {
        let line = r#"{"timestamp":"t","level":"WARN","fields":{"message":"parked","order_id":"o-1"},"version":3,"target":"x"}"#;
        assert_eq!(readable(line), "WARN  parked order_id=o-1 version=3");
        assert_eq!(readable("Error: no table"), "Error: no table");
        assert_eq!(readable(r#"{"a":1}"#), r#"{"a":1}"#);
    }

    #[test]
    fn a_metric_line_shows_only_its_values() {
        assert_eq!(
            readable(r#"{"_aws":{"Timestamp":1},"Parked":1,"service":"orders"}"#),
            "COUNT Parked=1 service=orders"
        );
    }

    #[tokio::test]
    async fn lines_that_are_not_unicode_do_not_end_the_log() {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let into = seen.clone();
        let logs = Logs::to(move |name, line| into.lock().unwrap().push(format!("{name}:{line}")));
        logs.follow("f".into(), &b"one\n\xff\ntwo"[..]).await;
        assert_eq!(*seen.lock().unwrap(), ["f:one", "f:\u{fffd}", "f:two"]);
    }
}
