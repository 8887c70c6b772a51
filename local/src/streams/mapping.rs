//! One mapping: from the shards of a stream to batches for a function.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::delivery::{Delivery, Invoke, Stopping};
use super::failures::Failures;
use super::news::News;
use super::progress::Progress;
use super::reader::{Position, Record, Shard, ShardReader, Stream};
use crate::template::StreamMapping;

/// The pause after which a reader that could not read tries again.
const TROUBLE: Duration = Duration::from_secs(1);
/// Most bytes of records in one event: Lambda's 6 MB, less the frame around them.
const EVENT_LIMIT: usize = 6_000_000;

/// One mapping, as long as the stack runs.
pub(super) struct Mapping<F> {
    pub name: String,
    pub function: F,
    pub function_arn: String,
    pub settings: StreamMapping,
    pub stream: Stream,
    pub failures: Failures,
    pub news: News,
    pub progress: Mutex<Progress>,
}

impl<F: Invoke + 'static> Mapping<F> {
    pub(super) fn reader(&self, shard: &str, otherwise: Position) -> ShardReader {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let position = progress.of(shard).map_or(otherwise, |sequence| Position::After(sequence.to_owned()));
        self.stream.reader(shard, position)
    }

    /// Reads every shard once its parent is read to the end, for ever.
    pub(super) async fn run(self, mut waiting: Vec<(Shard, ShardReader)>) {
        let mapping = Arc::new(self);
        let mut known: BTreeSet<String> = waiting.iter().map(|(shard, _)| shard.id.clone()).collect();
        let mut ended = BTreeSet::new();
        let mut running = JoinSet::new();
        loop {
            let (ready, blocked): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(shard, _)| {
                // A parent that is not listed any more has expired.
                shard.parent.as_ref().is_none_or(|parent| ended.contains(parent) || !known.contains(parent))
            });
            waiting = blocked;
            for (shard, reader) in ready {
                let mapping = mapping.clone();
                running.spawn(async move { mapping.follow(reader).await.map(|()| shard.id) });
            }
            match running.join_next().await {
                Some(Ok(Ok(shard))) => drop(ended.insert(shard)),
                Some(Ok(Err(Stopping))) => return,
                Some(Err(error)) => return tracing::error!(mapping = mapping.name, "a stream reader broke: {error}"),
                None => sleep(TROUBLE).await,
            }
            match mapping.stream.shards().await {
                Ok(shards) => {
                    let new = shards.into_iter().filter(|shard| known.insert(shard.id.clone())).collect::<Vec<_>>();
                    // A shard that appears later goes on from another one: its first record is the next.
                    waiting.extend(new.into_iter().map(|shard| {
                        let reader = mapping.reader(&shard.id, Position::Oldest);
                        (shard, reader)
                    }));
                }
                Err(error) => tracing::warn!(mapping = mapping.name, "cannot list the shards: {error}"),
            }
        }
    }

    /// Gives the records of a shard to the function until the shard has ended.
    async fn follow(&self, mut reader: ShardReader) -> Result<(), Stopping> {
        let most = self.settings.batch_size.saturating_mul(self.settings.parallelization);
        let mut news = self.news.clone();
        loop {
            let (records, ended) = self.gather(&mut reader, &mut news, most).await;
            if let Some(last) = records.last().map(|record| record.sequence.clone()) {
                news.found();
                self.process(&reader.shard, records).await?;
                self.progress.lock().unwrap_or_else(PoisonError::into_inner).advance(&reader.shard, &last);
            } else if !ended {
                news.more().await;
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// The next records, and whether they are the shard's last; waits for more as long as the batching window is open.
    async fn gather(&self, reader: &mut ShardReader, news: &mut News, most: usize) -> (Vec<Record>, bool) {
        let mut records = Vec::new();
        let mut closes = None;
        loop {
            news.look();
            match reader.next(most - records.len()).await {
                Ok(page) => {
                    records.extend(page.records);
                    if page.ended {
                        return (records, true);
                    }
                }
                Err(error) => {
                    tracing::warn!(mapping = self.name, "cannot read the stream: {error}");
                    sleep(TROUBLE).await;
                    if records.is_empty() {
                        continue;
                    }
                }
            }
            let closes = *closes.get_or_insert_with(|| Instant::now() + self.settings.window);
            if records.is_empty() || records.len() >= most || Instant::now() >= closes {
                return (records, false);
            }
            drop(timeout_at(closes, news.more()).await);
        }
    }

    /// Items of one partition key go to one lane and so stay in order; the lanes run at once.
    async fn process(&self, shard: &str, records: Vec<Record>) -> Result<(), Stopping> {
        let mut lanes = vec![Vec::new(); self.settings.parallelization];
        for record in records.into_iter().filter(|record| self.wants(record)) {
            let mut hasher = DefaultHasher::new();
            record.partition.hash(&mut hasher);
            let lane = usize::try_from(hasher.finish() % lanes.len() as u64).unwrap_or_default();
            lanes[lane].push(record);
        }
        let delivery = Delivery {
            function: &self.function,
            function_arn: &self.function_arn,
            settings: &self.settings,
            mapping: &self.name,
            stream: &self.stream.arn,
            shard,
            failures: &self.failures,
        };
        let lanes = lanes.into_iter().map(async |lane| {
            for batch in batches(lane, self.settings.batch_size) {
                delivery.deliver(batch).await?;
            }
            Ok(())
        });
        join_all(lanes).await.into_iter().collect()
    }

    fn wants(&self, record: &Record) -> bool {
        let filters = &self.settings.filters;
        filters.is_empty() || filters.iter().any(|pattern| pattern.matches(&record.json))
    }
}

/// Cuts records into batches of at most so many and of at most 6 MB.
fn batches(records: Vec<Record>, most: usize) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let size = record.json.to_string().len();
        match batches.last_mut().filter(|batch| batch.len() < most && bytes + size <= EVENT_LIMIT) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_is_cut_by_count_and_by_size() {
        let record = |size: usize| Record {
            sequence: "1".into(),
            partition: "p".into(),
            created: None,
            json: json!("x".repeat(size)),
        };
        let lengths = |records: Vec<Record>| batches(records, 3).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths((0..7).map(|_| record(1)).collect()), [3, 3, 1]);
        assert_eq!(lengths((0..4).map(|_| record(2_500_000)).collect()), [2, 2]);
        assert_eq!(lengths(vec![record(7_000_000), record(1)]), [1, 1]);
        assert_eq!(lengths(Vec::new()), [0_usize; 0]);
    }
}
