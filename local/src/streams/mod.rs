//! Stream mappings: each reads a table's stream at its own pace and delivers the records to its function, in order.

mod delivery;
mod failures;
mod mapping;
mod progress;
mod reader;
mod wakeup;

use std::path::Path;
use std::sync::Mutex;

use tokio::task::JoinSet;

use crate::lambda::Invoke;
use crate::template::{Function, StreamMapping};
use mapping::{Checkpoints, Mapping};
use reader::{ReadError, Stream};

pub(crate) use failures::Failures;
pub(crate) use progress::{Position, Progress};
pub(crate) use wakeup::Wakeup;

/// The mappings that run. They end when this is dropped; what was not processed is delivered again after the next start.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    mappings: JoinSet<()>,
}

/// What a mapping reads and where it stores its state.
#[derive(Clone, Debug)]
pub(crate) struct Source<'a> {
    /// Address of the DynamoDB.
    pub dynamodb: &'a str,
    pub stream_arn: &'a str,
    pub wakeup: Wakeup,
    /// Directory of the checkpoints; without it there are none after a restart.
    pub data: Option<&'a Path>,
    pub failures: &'a Failures,
    pub progress: &'a Progress,
}

impl Streams {
    /// Starts a mapping of a function. When this returns, whatever is written to the table afterwards reaches the function.
    pub(crate) async fn start<F: Invoke + 'static>(
        &mut self,
        function: &Function,
        invoke: F,
        settings: &StreamMapping,
        source: Source<'_>,
    ) -> Result<(), StreamError> {
        let (name, arn) = (format!("{}-{}", function.logical_id, settings.name), source.stream_arn);
        let mapping = Mapping {
            checkpoints: Mutex::new(Checkpoints::load(source.data, &name, arn)),
            name,
            function: invoke,
            function_arn: function.arn(),
            settings: settings.clone(),
            stream: Stream { client: reader::client(source.dynamodb), arn: arn.to_owned() },
            failures: source.failures.clone(),
            progress: source.progress.clone(),
            wakeup: source.wakeup,
        };
        let unreadable = |error: ReadError| StreamError { stream: arn.to_owned(), reason: error.to_string() };
        let mut opened = Vec::new();
        for shard in mapping.stream.shards().await.map_err(unreadable)? {
            let mut reader = mapping.reader(&shard.id, settings.starting_position.into());
            reader.open().await.map_err(unreadable)?;
            opened.push((shard, reader));
        }
        self.mappings.spawn(mapping.run(opened));
        Ok(())
    }
}

/// The stream of a mapping could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the stream {stream}: {reason}")]
pub struct StreamError {
    stream: String,
    reason: String,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aws_sdk_dynamodb::types::AttributeValue;
    use axum::body::Bytes;
    use serde_json::Value;
    use tokio::time::{Duration, Instant, sleep};

    use super::*;
    use crate::dynamodb::{self, Database, Storage, tables};
    use crate::gate::{Gate, tests::gate};
    use crate::lambda::InvokeError;
    use crate::template::{StartingPosition, Template, tests::template};

    /// The sequence numbers of an event's records.
    pub(super) fn numbers_in(event: &Value) -> Vec<u32> {
        let number = |record: &Value| record["dynamodb"]["SequenceNumber"].as_str().unwrap().parse().unwrap();
        event["Records"].as_array().unwrap().iter().map(number).collect()
    }

    /// Records the items that it gets, as `stream_id/version`; fails while `broken`.
    #[derive(Clone, Default)]
    struct Function {
        got: Arc<Mutex<Vec<String>>>,
        broken: bool,
    }

    impl Invoke for Function {
        async fn invoke(&self, event: Bytes) -> Result<Bytes, InvokeError> {
            if self.broken {
                return Err(InvokeError::Function(Bytes::from_static(b"broken")));
            }
            let event: Value = serde_json::from_slice(&event).unwrap();
            let keys = event["Records"].as_array().unwrap().iter().map(|record| &record["dynamodb"]["Keys"]);
            let names =
                keys.map(|keys| format!("{}/{}", keys["stream_id"]["S"], keys["version"]["N"]).replace('"', ""));
            self.got.lock().unwrap().extend(names);
            Ok(Bytes::from_static(b"{}"))
        }
    }

    impl Function {
        fn got(&self) -> Vec<String> {
            self.got.lock().unwrap().clone()
        }

        async fn gets(&self, count: usize) -> Vec<String> {
            until(|| self.got().len() >= count).await;
            self.got()
        }
    }

    async fn until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline);
            sleep(Duration::from_millis(5)).await;
        }
    }

    struct World {
        _database: Database,
        gate: Gate,
        template: Template,
        arn: String,
        failures: Failures,
    }

    impl World {
        async fn new() -> Self {
            let database = Database::start(&Storage::Memory).unwrap();
            let template = template();
            let arn = tables::create_all(&database.client(), &template.tables).await.unwrap().remove("Events").unwrap();
            let gate = gate(database.endpoint()).await;
            Self { _database: database, gate, template, arn, failures: Failures::new(None) }
        }

        async fn start(&self, function: &Function, start: StartingPosition, data: Option<&Path>) -> Streams {
            let declared = self.template.function("ProjectThings").unwrap();
            let mut settings = declared.streams[0].clone();
            settings.starting_position = start;
            let mut streams = Streams::default();
            let source = Source {
                dynamodb: self.gate.endpoint(),
                stream_arn: &self.arn,
                wakeup: Wakeup::new(Some(self.gate.writes())),
                data,
                failures: &self.failures,
                progress: &Progress::default(),
            };
            streams.start(declared, function.clone(), &settings, source).await.unwrap();
            streams
        }

        async fn put(&self, stream: &str, version: u32) {
            let put = dynamodb::client(self.gate.endpoint()).put_item().table_name("Events");
            let put = put.item("stream_id", AttributeValue::S(stream.into()));
            put.item("version", AttributeValue::N(version.to_string())).send().await.unwrap();
        }
    }

    #[tokio::test]
    async fn every_record_that_passes_the_filter_arrives_once_and_in_order() {
        let world = World::new().await;
        world.put("old", 1).await;
        let function = Function::default();
        let _streams = world.start(&function, StartingPosition::TrimHorizon, None).await;
        for version in 1..=40 {
            world.put("a", version).await;
            world.put("b", version).await;
        }
        // A MODIFY, which the filter does not let pass.
        world.put("a", 1).await;
        world.put("c", 1).await;
        let got = function.gets(82).await;
        let of = |stream: &str| got.iter().filter(|name| name.starts_with(stream)).cloned().collect::<Vec<_>>();
        for stream in ["a", "b"] {
            assert_eq!(of(stream), (1..=40).map(|version| format!("{stream}/{version}")).collect::<Vec<_>>());
        }
        assert_eq!((&got[0], &got[81], got.len()), (&"old/1".to_owned(), &"c/1".to_owned(), 82));
    }

    #[tokio::test]
    async fn a_reader_of_the_latest_gets_only_what_is_written_after_its_start() {
        let world = World::new().await;
        world.put("a", 1).await;
        let function = Function::default();
        let _streams = world.start(&function, StartingPosition::Latest, None).await;
        world.put("a", 2).await;
        assert_eq!(function.gets(1).await, ["a/2"]);
    }

    #[tokio::test]
    async fn a_stuck_reader_does_not_hold_up_another_one() {
        let world = World::new().await;
        let (stuck, healthy) = (Function { broken: true, ..Function::default() }, Function::default());
        let _first = world.start(&stuck, StartingPosition::TrimHorizon, None).await;
        let _second = world.start(&healthy, StartingPosition::TrimHorizon, None).await;
        for version in 1..=5 {
            world.put("a", version).await;
        }
        assert_eq!(healthy.gets(5).await.len(), 5);
        assert!(stuck.got().is_empty());
    }

    #[tokio::test]
    async fn after_a_restart_a_reader_continues_at_its_checkpoint() {
        let directory = std::env::temp_dir().join(format!("orders-local-{}", uuid::Uuid::new_v4()));
        let world = World::new().await;
        let function = Function::default();
        let first = world.start(&function, StartingPosition::TrimHorizon, Some(&directory)).await;
        world.put("a", 1).await;
        function.gets(1).await;
        // The checkpoint is written after the function has responded.
        until(|| directory.join("streams/ProjectThings-Stream.json").exists()).await;
        drop(first);
        world.put("a", 2).await;
        let _second = world.start(&function, StartingPosition::TrimHorizon, Some(&directory)).await;
        assert_eq!(function.gets(2).await, ["a/1", "a/2"]);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
