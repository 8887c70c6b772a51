//! The latest events of the bus and their deliveries.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::sync::watch;

/// Most entries that are retained.
const MOST_ENTRIES: usize = 10_000;
/// Most bytes of events that are retained.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// An entry of the journal.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its number; the first is 1.
    pub sequence: u64,
    /// The time.
    #[serde(serialize_with = "millis")]
    pub at: DateTime<Utc>,
    /// The event or delivery.
    #[serde(flatten)]
    pub kind: EntryKind,
}

fn millis<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The kind of an entry.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EntryKind {
    /// The bus accepted an event.
    Event {
        /// Its bus.
        bus: String,
        /// The event as targets get it.
        event: Arc<RawValue>,
        /// The functions and queues that it goes to.
        targets: Vec<String>,
    },
    /// The bus rejected an entry.
    Refused {
        /// Its source, if it has one.
        source: Option<String>,
        /// Its detail type, if it has one.
        detail_type: Option<String>,
        /// The error code.
        code: String,
        /// The reason.
        message: String,
    },
    /// An attempt to deliver an event.
    Delivery(Delivery),
}

/// An attempt to deliver an event to a function or a queue.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// Id of the event.
    pub event_id: String,
    /// Name of the rule or schedule.
    pub rule: String,
    /// The function's binary, or the queue's name.
    pub function: String,
    /// The outcome.
    pub outcome: Outcome,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The reason of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The outcome of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The function succeeded, or the queue has it.
    Done,
    /// It is retried.
    Failed,
    /// Its retries are exhausted; the event is in that queue.
    InQueue(String),
    /// Its retries are exhausted, and there is no queue for it.
    Lost,
    /// The retries of a scheduled run are exhausted; the next run follows.
    Missed,
}

/// The latest entries. Clones are the same journal.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    retained: Mutex<Retained>,
    newest: watch::Sender<u64>,
    file: Option<File>,
}

#[derive(Debug, Default)]
struct Retained {
    entries: VecDeque<Entry>,
    bytes: usize,
    next: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self::appending_to(None)
    }
}

impl EntryKind {
    /// Whether it is an event with that text.
    pub(crate) fn contains(&self, text: &str) -> bool {
        matches!(self, Self::Event { event, .. } if event.get().contains(text))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Event { event, .. } => event.get().len(),
            _ => 0,
        }
    }
}

impl Journal {
    /// With a data directory every entry is also appended to the file `bus.jsonl` in it, before anything is delivered.
    pub(crate) fn new(data: Option<&Path>) -> std::io::Result<Self> {
        let Some(data) = data else { return Ok(Self::default()) };
        std::fs::create_dir_all(data)?;
        Ok(Self::appending_to(Some(File::options().append(true).create(true).open(data.join("bus.jsonl"))?)))
    }

    fn appending_to(file: Option<File>) -> Self {
        Self(Arc::new(Inner { retained: Mutex::default(), newest: watch::Sender::new(0), file }))
    }

    fn append(&self, entry: &Entry) -> std::io::Result<()> {
        let Some(mut file) = self.0.file.as_ref() else { return Ok(()) };
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.write_all(&line)
    }

    pub(crate) fn write(&self, kind: EntryKind) {
        let mut retained = self.lock();
        retained.next += 1;
        retained.bytes += kind.bytes();
        let entry = Entry { sequence: retained.next, at: Utc::now(), kind };
        if let Err(error) = self.append(&entry) {
            tracing::warn!("cannot write the journal of the bus: {error}");
        }
        retained.entries.push_back(entry);
        while (retained.entries.len() > MOST_ENTRIES || retained.bytes > MOST_BYTES)
            && let Some(oldest) = retained.entries.pop_front()
        {
            retained.bytes -= oldest.kind.bytes();
        }
        self.0.newest.send_replace(retained.next);
    }

    /// Entries with a number above `after`, oldest first.
    pub fn since(&self, after: u64) -> Vec<Entry> {
        let retained = self.lock();
        let from = retained.entries.partition_point(|entry| entry.sequence <= after);
        retained.entries.range(from..).cloned().collect()
    }

    /// Returns when there is an entry with a number above `after`.
    pub async fn past(&self, after: u64) {
        // It cannot fail: the sender lives as long as the journal.
        drop(self.0.newest.subscribe().wait_for(|newest| *newest > after).await);
    }

    fn lock(&self) -> MutexGuard<'_, Retained> {
        self.0.retained.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn refused() -> EntryKind {
        EntryKind::Refused { source: None, detail_type: None, code: "c".into(), message: "m".into() }
    }

    #[test]
    fn the_oldest_entries_are_dropped() {
        let journal = Journal::default();
        let event: Arc<RawValue> = RawValue::from_string(format!("\"{}\"", "x".repeat(MOST_BYTES / 2))).unwrap().into();
        for _ in 0..3 {
            journal.write(EntryKind::Event { bus: "b".into(), event: event.clone(), targets: vec![] });
        }
        assert_eq!(journal.since(0).iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [3]);
        for _ in 0..MOST_ENTRIES + 5 {
            journal.write(refused());
        }
        assert_eq!(journal.since(0).len(), MOST_ENTRIES);
    }

    #[test]
    fn entries_survive_a_restart_with_a_data_directory() {
        let data = std::env::temp_dir().join(format!("orders-local-{}", Uuid::new_v4()));
        for _ in 0..2 {
            Journal::new(Some(&data)).unwrap().write(refused());
        }
        let file = std::fs::read_to_string(data.join("bus.jsonl")).unwrap();
        let entries: Vec<serde_json::Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(entries.iter().map(|entry| &entry["kind"]).collect::<Vec<_>>(), ["refused", "refused"]);
        std::fs::remove_dir_all(data).unwrap();
    }
}
