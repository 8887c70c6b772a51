//! One mapping: from the shards of a stream to batches for a function.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::delivery::{Delivery, Stopping};
use super::failures::Failures;
use super::progress::Progress;
use super::reader::{Position, Record, Shard, ShardReader, Stream};
use super::wakeup::Wakeup;
use crate::files::write_atomically;
use crate::lambda::Invoke;
use crate::template::StreamMapping;

/// The pause after an error of the stream.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// Most bytes of records in one event: Lambda's 6 MB, less the envelope.
const EVENT_LIMIT: usize = 6_000_000;

/// One mapping, as long as the stack runs.
pub(super) struct Mapping<F> {
    pub name: String,
    pub function: F,
    pub function_arn: String,
    pub settings: StreamMapping,
    pub stream: Stream,
    pub failures: Failures,
    pub progress: Progress,
    pub wakeup: Wakeup,
    pub checkpoints: Mutex<Checkpoints>,
}

impl<F: Invoke + 'static> Mapping<F> {
    pub(super) fn reader(&self, shard: &str, otherwise: Position) -> ShardReader {
        let checkpoints = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let position = checkpoints.of(shard).map_or(otherwise, |sequence| Position::After(sequence.to_owned()));
        self.stream.reader(shard, position)
    }

    /// Reads every shard once its parent is read to the end.
    pub(super) async fn run(self, mut pending: Vec<(Shard, ShardReader)>) {
        let mapping = Arc::new(self);
        let mut known: BTreeSet<String> = pending.iter().map(|(shard, _)| shard.id.clone()).collect();
        let mut ended = BTreeSet::new();
        let mut running = JoinSet::new();
        loop {
            let (ready, blocked): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(shard, _)| {
                // A parent that is not listed has expired.
                shard.parent.as_ref().is_none_or(|parent| ended.contains(parent) || !known.contains(parent))
            });
            pending = blocked;
            for (shard, reader) in ready {
                let mapping = mapping.clone();
                running.spawn(async move { mapping.follow(reader).await.map(|()| shard.id) });
            }
            match running.join_next().await {
                Some(Ok(Ok(shard))) => drop(ended.insert(shard)),
                Some(Ok(Err(Stopping))) => return,
                Some(Err(error)) => return tracing::error!(mapping = mapping.name, "a stream reader failed: {error}"),
                None => sleep(AFTER_ERROR).await,
            }
            match mapping.stream.shards().await {
                Ok(shards) => {
                    let new = shards.into_iter().filter(|shard| known.insert(shard.id.clone())).collect::<Vec<_>>();
                    // The first record of a new shard follows the last one of its parent.
                    pending.extend(new.into_iter().map(|shard| {
                        let reader = mapping.reader(&shard.id, Position::Oldest);
                        (shard, reader)
                    }));
                }
                Err(error) => tracing::warn!(mapping = mapping.name, "cannot list the shards: {error}"),
            }
        }
    }

    /// Delivers the records of a shard until it ends.
    async fn follow(&self, mut reader: ShardReader) -> Result<(), Stopping> {
        let mut wakeup = self.wakeup.clone();
        loop {
            wakeup.before_read();
            let page = match reader.next(self.settings.batch_size).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(mapping = self.name, "cannot read the stream: {error}");
                    sleep(AFTER_ERROR).await;
                    continue;
                }
            };
            match page.records.last().map(|record| record.sequence.clone()) {
                Some(last) => {
                    wakeup.reset();
                    self.progress.received(&self.name, &reader.shard, &page.records);
                    self.process(&reader.shard, page.records).await?;
                    self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner).advance(&reader.shard, &last);
                    self.progress.processed(&self.name, &reader.shard, &last);
                }
                None if page.ended => {}
                None => wakeup.wait().await,
            }
            if page.ended {
                return Ok(());
            }
        }
    }

    async fn process(&self, shard: &str, records: Vec<Record>) -> Result<(), Stopping> {
        let delivery = Delivery {
            function: &self.function,
            function_arn: &self.function_arn,
            settings: &self.settings,
            mapping: &self.name,
            stream: &self.stream.arn,
            shard,
            failures: &self.failures,
        };
        let filters = &self.settings.filters;
        let passes = |record: &Record| filters.is_empty() || filters.iter().any(|one| one.matches(&record.json));
        for batch in batches(records.into_iter().filter(passes)) {
            delivery.deliver(batch).await?;
        }
        Ok(())
    }
}

/// Splits records into batches of at most 6 MB.
fn batches(records: impl Iterator<Item = Record>) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let size = record.json.to_string().len();
        match batches.last_mut().filter(|_| bytes + size <= EVENT_LIMIT) {
            Some(batch) => batch.push(record),
            None => {
                bytes = 0;
                batches.push(vec![record]);
            }
        }
        bytes += size;
    }
    batches
}

/// The last processed record of each shard of a mapping. With a data directory they survive a restart.
#[derive(Debug)]
pub(super) struct Checkpoints {
    file: Option<PathBuf>,
    state: State,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    stream: String,
    shards: BTreeMap<String, String>,
}

impl Checkpoints {
    /// Those of the mapping on this stream; checkpoints of another stream are dropped.
    pub(super) fn load(data: Option<&Path>, mapping: &str, stream: &str) -> Self {
        let file = data.map(|path| path.join("streams").join(format!("{mapping}.json")));
        let state = file.as_ref().and_then(|file| serde_json::from_slice::<State>(&std::fs::read(file).ok()?).ok());
        let fresh = || State { stream: stream.to_owned(), shards: BTreeMap::new() };
        Self { file, state: state.filter(|state| state.stream == stream).unwrap_or_else(fresh) }
    }

    fn of(&self, shard: &str) -> Option<&str> {
        self.state.shards.get(shard).map(String::as_str)
    }

    /// Every record up to this one is processed. When the file cannot be written, records are delivered again after a
    /// restart.
    fn advance(&mut self, shard: &str, sequence: &str) {
        self.state.shards.insert(shard.to_owned(), sequence.to_owned());
        if let Some(file) = &self.file
            && let Err(error) = write_atomically(file, &self.state)
        {
            tracing::warn!("cannot write the checkpoint {}: {error}", file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_is_split_by_size() {
        let record = |size: usize| Record { sequence: "1".into(), created: None, json: json!("x".repeat(size)) };
        let lengths =
            |sizes: &[usize]| batches(sizes.iter().map(|size| record(*size))).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[2_500_000; 4]), [2, 2]);
        assert_eq!(lengths(&[7_000_000, 1]), [1, 1]);
        assert_eq!(lengths(&[]), [0_usize; 0]);
    }

    #[test]
    fn checkpoints_survive_a_restart_with_the_same_stream() {
        let directory = std::env::temp_dir().join(format!("orders-local-{}", uuid::Uuid::new_v4()));
        let load = |stream| Checkpoints::load(Some(&directory), "Project-Stream", stream);
        let mut checkpoints = load("arn:1");
        assert_eq!(checkpoints.of("shard"), None);
        checkpoints.advance("shard", "41");
        checkpoints.advance("shard", "42");
        assert_eq!(load("arn:1").of("shard"), Some("42"));
        assert_eq!(load("arn:2").of("shard"), None);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
