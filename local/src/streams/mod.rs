//! Stream mappings: each reads a table's stream at its own pace and gives the records to its function, in order.

mod delivery;
mod failures;
mod mapping;
mod news;
mod progress;
mod reader;

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use tokio::task::JoinSet;

use crate::containers::{Containers, InvokeError};
use crate::template::{ACCOUNT, Function, REGION, StreamMapping, Table};
use mapping::Mapping;
use progress::Progress;
use reader::{ReadError, Stream};

pub(crate) use delivery::Invoke;
pub(crate) use failures::Failures;
pub(crate) use news::News;

impl Invoke for Arc<Containers> {
    async fn invoke(&self, event: Bytes) -> Result<Bytes, InvokeError> {
        Containers::invoke(self, event).await
    }
}

/// The mappings that run. They end when this is dropped; what was under way is delivered again after the next start.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    mappings: JoinSet<()>,
}

impl Streams {
    /// Starts the mapping of a function on the stream of that ARN. When this returns, whatever is written to the table
    /// afterwards reaches the function.
    pub(crate) async fn start<F: Invoke + 'static>(
        &mut self,
        endpoint: &str,
        (function, invoke): (&Function, F),
        settings: &StreamMapping,
        (table, arn, news): (&Table, &str, News),
        directories: (Option<&Path>, &Failures),
    ) -> Result<(), StreamError> {
        let name = format!("{}-{}", function.logical_id, settings.name);
        let key = table.key.first().map(|(name, _)| name.clone()).unwrap_or_default();
        let mapping = Mapping {
            progress: Mutex::new(Progress::load(directories.0, &name, arn)),
            name,
            function: invoke,
            function_arn: format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", function.logical_id),
            settings: settings.clone(),
            stream: Stream { client: reader::client(endpoint), arn: arn.to_owned(), key },
            failures: directories.1.clone(),
            news,
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

/// A stream that a mapping reads could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the stream {stream}: {reason}")]
pub struct StreamError {
    stream: String,
    reason: String,
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use serde_json::Value;
    use tokio::time::{Duration, Instant, sleep};

    use super::*;
    use crate::database::{Database, Storage};
    use crate::relay::Relay;
    use crate::tables;
    use crate::template::{StartingPosition, Template, fixture};

    /// Remembers the items that it got, as `stream_id/version`, and fails while it is told to.
    #[derive(Clone, Default)]
    struct Function {
        got: Arc<Mutex<Vec<String>>>,
        calls: Arc<Mutex<usize>>,
        broken: Arc<Mutex<bool>>,
    }

    impl Invoke for Function {
        async fn invoke(&self, event: Bytes) -> Result<Bytes, InvokeError> {
            if *self.broken.lock().unwrap() {
                return Err(InvokeError::Function(Bytes::from_static(b"broken")));
            }
            let event: Value = serde_json::from_slice(&event).unwrap();
            let keys = event["Records"].as_array().unwrap().iter().map(|record| &record["dynamodb"]["Keys"]);
            let names =
                keys.map(|keys| format!("{}/{}", keys["stream_id"]["S"], keys["version"]["N"]).replace('"', ""));
            self.got.lock().unwrap().extend(names);
            *self.calls.lock().unwrap() += 1;
            Ok(Bytes::from_static(b"{}"))
        }
    }

    impl Function {
        fn got(&self) -> Vec<String> {
            self.got.lock().unwrap().clone()
        }

        async fn gets(&self, count: usize) -> Vec<String> {
            let deadline = Instant::now() + Duration::from_secs(10);
            while self.got().len() < count {
                assert!(Instant::now() < deadline, "only {:?}", self.got());
                sleep(Duration::from_millis(5)).await;
            }
            self.got()
        }
    }

    struct World {
        database: Database,
        relay: Relay,
        template: Template,
        arn: String,
        failures: Failures,
    }

    impl World {
        async fn new() -> Self {
            let database = Database::start(&Storage::Memory).unwrap();
            let template = fixture::template();
            let arn = tables::create_all(&database.client(), &template.tables).await.unwrap().remove("Events").unwrap();
            let relay = Relay::start(database.endpoint(), vec!["Events".into()]).await.unwrap();
            Self { database, relay, template, arn, failures: Failures::new(None) }
        }

        async fn start(
            &self,
            function: &Function,
            name: &str,
            data: Option<&Path>,
            start: StartingPosition,
        ) -> Streams {
            let declared = &self.template.function("ProjectThings").unwrap().streams[0];
            let settings = StreamMapping { name: name.into(), starting_position: start, ..declared.clone() };
            self.start_with(function, settings, data).await
        }

        async fn start_with(&self, function: &Function, settings: StreamMapping, data: Option<&Path>) -> Streams {
            let declared = self.template.function("ProjectThings").unwrap();
            let mut streams = Streams::default();
            let source =
                (self.template.table("Events").unwrap(), self.arn.as_str(), News::new(Some(self.relay.writes())));
            let invoke = (declared, function.clone());
            streams.start(self.database.endpoint(), invoke, &settings, source, (data, &self.failures)).await.unwrap();
            streams
        }

        async fn put(&self, stream: &str, version: u32) {
            crate::database::client(self.relay.endpoint())
                .put_item()
                .table_name("Events")
                .item("stream_id", AttributeValue::S(stream.into()))
                .item("version", AttributeValue::N(version.to_string()))
                .send()
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn every_record_arrives_once_and_those_of_one_key_in_order() {
        let world = World::new().await;
        world.put("old", 1).await;
        let function = Function::default();
        let _streams = world.start(&function, "S", None, StartingPosition::TrimHorizon).await;
        for version in 1..=40 {
            for stream in ["a", "b", "c"] {
                world.put(stream, version).await;
            }
        }
        let got = function.gets(121).await;
        for stream in ["a", "b", "c"] {
            let versions: Vec<String> = got.iter().filter(|name| name.starts_with(stream)).cloned().collect();
            assert_eq!(versions, (1..=40).map(|version| format!("{stream}/{version}")).collect::<Vec<_>>());
        }
        assert!(got.contains(&"old/1".into()));
    }

    #[tokio::test]
    async fn a_reader_of_the_newest_gets_what_is_written_after_it_started_and_nothing_before() {
        let world = World::new().await;
        world.put("a", 1).await;
        let function = Function::default();
        let _streams = world.start(&function, "S", None, StartingPosition::Latest).await;
        world.put("a", 2).await;
        assert_eq!(function.gets(1).await, ["a/2"]);
    }

    #[tokio::test]
    async fn a_record_that_does_not_pass_the_filter_is_left_out() {
        let world = World::new().await;
        let function = Function::default();
        let _streams = world.start(&function, "S", None, StartingPosition::TrimHorizon).await;
        let rewrite = crate::database::client(world.relay.endpoint()).put_item().table_name("Events");
        world.put("a", 1).await;
        let rewrite = rewrite.item("stream_id", AttributeValue::S("a".into()));
        rewrite
            .item("version", AttributeValue::N("1".into()))
            .item("x", AttributeValue::Bool(true))
            .send()
            .await
            .unwrap();
        world.put("a", 2).await;
        assert_eq!(function.gets(2).await, ["a/1", "a/2"], "the filter lets INSERT pass, not MODIFY");
    }

    /// A mapping with such a window, as the template declares it but for that.
    async fn with_window(world: &World, function: &Function, window: Duration) -> Streams {
        let declared = world.template.function("ProjectThings").unwrap().streams[0].clone();
        let settings = StreamMapping { window, batch_size: 100, parallelization: 1, ..declared };
        world.start_with(function, settings, None).await
    }

    #[tokio::test]
    async fn a_batching_window_stays_open_until_the_batch_is_full() {
        let world = World::new().await;
        let function = Function::default();
        let _streams = with_window(&world, &function, Duration::from_secs(3_600)).await;
        // Enough of them that a reader without a window finds them in more than one look.
        for version in 1..=100 {
            world.put("a", version).await;
        }
        assert_eq!(function.gets(100).await.len(), 100);
        assert_eq!(*function.calls.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_batching_window_closes_in_time_whatever_is_there() {
        let world = World::new().await;
        let function = Function::default();
        let _streams = with_window(&world, &function, Duration::from_millis(100)).await;
        world.put("a", 1).await;
        assert_eq!(function.gets(1).await, ["a/1"]);
    }

    #[tokio::test]
    async fn two_readers_of_a_stream_progress_alone() {
        let world = World::new().await;
        let (stuck, healthy) = (Function::default(), Function::default());
        *stuck.broken.lock().unwrap() = true;
        let _first = world.start(&stuck, "Stuck", None, StartingPosition::TrimHorizon).await;
        let _second = world.start(&healthy, "Healthy", None, StartingPosition::TrimHorizon).await;
        for version in 1..=5 {
            world.put("a", version).await;
        }
        assert_eq!(healthy.gets(5).await.len(), 5);
        assert!(stuck.got().is_empty());
    }

    #[tokio::test]
    async fn after_a_restart_a_reader_goes_on_where_it_was() {
        let directory = std::env::temp_dir().join(format!("orders-local-{}", uuid::Uuid::new_v4()));
        let world = World::new().await;
        let function = Function::default();
        let first = world.start(&function, "S", Some(&directory), StartingPosition::TrimHorizon).await;
        world.put("a", 1).await;
        function.gets(1).await;
        // Progress is written down after the function has answered.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !directory.join("streams/ProjectThings-S.json").exists() {
            assert!(Instant::now() < deadline);
            sleep(Duration::from_millis(5)).await;
        }
        drop(first);
        world.put("a", 2).await;
        let _second = world.start(&function, "S", Some(&directory), StartingPosition::TrimHorizon).await;
        assert_eq!(function.gets(2).await, ["a/1", "a/2"]);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
