//! Reads a table's stream: its shards, parents before children, and the records of each in order.

use std::collections::HashMap;

use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodbstreams::error::DisplayErrorContext;
use aws_sdk_dynamodbstreams::types::{AttributeValue, Record as Raw, ShardIteratorType};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::template::{REGION, StartingPosition};

/// A record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Its sequence number.
    pub sequence: String,
    /// When the item was written, to the second.
    pub created: Option<DateTime<Utc>>,
    /// The JSON that a function gets.
    pub json: Value,
}

/// Where a reader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Before the oldest record.
    Oldest,
    /// After the newest record.
    Newest,
    /// After the record of this sequence number.
    After(String),
}

impl From<StartingPosition> for Position {
    fn from(start: StartingPosition) -> Self {
        match start {
            StartingPosition::TrimHorizon => Self::Oldest,
            StartingPosition::Latest => Self::Newest,
        }
    }
}

/// A shard and its parent.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub id: String,
    pub parent: Option<String>,
}

/// The stream could not be read; the call may be retried.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ReadError(String);

impl ReadError {
    fn new(error: impl std::error::Error) -> Self {
        Self(DisplayErrorContext(error).to_string())
    }
}

/// A stream.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub client: Client,
    pub arn: String,
}

/// Reads one shard.
#[derive(Debug)]
pub(super) struct ShardReader {
    stream: Stream,
    pub shard: String,
    position: Position,
    iterator: Option<String>,
}

/// The next records of a shard.
pub(super) struct Page {
    pub records: Vec<Record>,
    /// Whether the shard has ended.
    pub ended: bool,
}

/// A client of the streams at that endpoint.
pub(super) fn client(endpoint: &str) -> Client {
    let config = aws_sdk_dynamodbstreams::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(endpoint);
    Client::from_conf(config.build())
}

impl Stream {
    /// All shards of the stream.
    pub(super) async fn shards(&self) -> Result<Vec<Shard>, ReadError> {
        let mut shards = Vec::new();
        let mut after = None;
        loop {
            let request = self.client.describe_stream().stream_arn(&self.arn).set_exclusive_start_shard_id(after);
            let answer = request.send().await.map_err(ReadError::new)?;
            let Some(description) = answer.stream_description else { return Ok(shards) };
            let page = description.shards.unwrap_or_default().into_iter();
            shards.extend(page.filter_map(|shard| Some(Shard { id: shard.shard_id?, parent: shard.parent_shard_id })));
            after = description.last_evaluated_shard_id;
            if after.is_none() {
                return Ok(shards);
            }
        }
    }

    /// A reader of one of its shards.
    pub(super) fn reader(&self, shard: &str, position: Position) -> ShardReader {
        ShardReader { stream: self.clone(), shard: shard.to_owned(), position, iterator: None }
    }
}

impl ShardReader {
    /// Fixes the position. Without it a reader of the newest records starts at its first [`Self::next`].
    pub(super) async fn open(&mut self) -> Result<(), ReadError> {
        let (kind, sequence) = match &self.position {
            Position::Oldest => (ShardIteratorType::TrimHorizon, None),
            Position::Newest => (ShardIteratorType::Latest, None),
            Position::After(sequence) => (ShardIteratorType::AfterSequenceNumber, Some(sequence.clone())),
        };
        let request = self.stream.client.get_shard_iterator().stream_arn(&self.stream.arn).shard_id(&self.shard);
        match request.shard_iterator_type(kind).set_sequence_number(sequence).send().await {
            Ok(answer) => self.iterator = answer.shard_iterator,
            Err(error) => {
                self.skip_trimmed(error.as_service_error().is_some_and(|e| e.is_trimmed_data_access_exception()));
                return Err(ReadError::new(error));
            }
        }
        Ok(())
    }

    /// The next records, at most `limit`.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Page, ReadError> {
        if self.iterator.is_none() {
            self.open().await?;
        }
        let limit = i32::try_from(limit.clamp(1, 1000)).unwrap_or(1000);
        let request = self.stream.client.get_records().set_shard_iterator(self.iterator.clone()).limit(limit);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let service = error.as_service_error();
                self.skip_trimmed(service.is_some_and(|error| error.is_trimmed_data_access_exception()));
                if service.is_some_and(|error| error.is_expired_iterator_exception()) {
                    self.iterator = None;
                }
                return Err(ReadError::new(error));
            }
        };
        let records: Vec<Record> =
            answer.records.unwrap_or_default().into_iter().filter_map(|raw| self.stream.record(raw)).collect();
        if let Some(last) = records.last() {
            self.position = Position::After(last.sequence.clone());
        }
        self.iterator = answer.next_shard_iterator;
        Ok(Page { records, ended: self.iterator.is_none() })
    }

    /// Records are retained for a day; a reader that is further behind continues at the oldest one.
    fn skip_trimmed(&mut self, trimmed: bool) {
        if trimmed {
            tracing::warn!(shard = self.shard, "records have expired before they were read");
            self.position = Position::Oldest;
            self.iterator = None;
        }
    }
}

impl Stream {
    /// The record as Lambda shows it; `None` without a sequence number.
    fn record(&self, raw: Raw) -> Option<Record> {
        let change = raw.dynamodb?;
        let sequence = change.sequence_number?;
        let created = change.approximate_creation_date_time;
        let keys = change.keys.unwrap_or_default();
        let mut json = json!({
            "eventID": raw.event_id,
            "eventName": raw.event_name.map(|name| name.as_str().to_owned()),
            "eventVersion": raw.event_version,
            "eventSource": raw.event_source,
            "awsRegion": raw.aws_region,
            "dynamodb": {
                "ApproximateCreationDateTime": created.map(|time| time.secs()),
                "Keys": item(keys),
                "SequenceNumber": sequence,
                "SizeBytes": change.size_bytes,
                "StreamViewType": change.stream_view_type.map(|view| view.as_str().to_owned()),
            },
            "eventSourceARN": self.arn,
        });
        for (name, image) in [("NewImage", change.new_image), ("OldImage", change.old_image)] {
            if let Some(image) = image {
                json["dynamodb"][name] = item(image);
            }
        }
        if let Some(identity) = raw.user_identity {
            json["userIdentity"] = json!({"type": identity.r#type, "principalId": identity.principal_id});
        }
        let created = created.and_then(|time| DateTime::from_timestamp(time.secs(), 0));
        Some(Record { sequence, created, json })
    }
}

fn item(attributes: HashMap<String, AttributeValue>) -> Value {
    let attributes = attributes.into_iter().map(|(name, value)| {
        let value = serde_dynamo::AttributeValue::from(value);
        (name, serde_json::to_value(value).unwrap_or_default())
    });
    Value::Object(attributes.collect())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::Blob;
    use aws_sdk_dynamodb::types::AttributeValue as Attribute;

    use super::*;
    use crate::dynamodb::{Database, Storage, tables};
    use crate::template::tests::template;

    async fn stream(database: &Database) -> Stream {
        let template = template();
        let arn = tables::create(&database.client(), template.table("Events").unwrap()).await.unwrap().unwrap();
        Stream { client: client(database.endpoint()), arn }
    }

    async fn put(database: &Database, version: u32) {
        let put = database.client().put_item().table_name("Events").item("stream_id", Attribute::S("a".into()));
        put.item("version", Attribute::N(version.to_string()))
            .item("raw", Attribute::B(Blob::new(*b"hi")))
            .item("list", Attribute::L(vec![Attribute::Bool(true), Attribute::Null(true)]))
            .send()
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_record_looks_as_lambda_shows_it() {
        let database = Database::start(&Storage::Memory).unwrap();
        let stream = stream(&database).await;
        put(&database, 1).await;
        let shard = stream.shards().await.unwrap().remove(0).id;
        let page = stream.reader(&shard, Position::Oldest).next(10).await.unwrap();
        let record = &page.records[0].json;
        assert_eq!(record["eventName"], "INSERT");
        assert_eq!(record["eventSource"], "aws:dynamodb");
        assert_eq!(record["eventSourceARN"], stream.arn);
        assert_eq!(record["dynamodb"]["Keys"], json!({"stream_id": {"S": "a"}, "version": {"N": "1"}}));
        assert_eq!(
            record["dynamodb"]["NewImage"],
            json!({"stream_id": {"S": "a"}, "version": {"N": "1"}, "raw": {"B": "aGk="},
                "list": {"L": [{"BOOL": true}, {"NULL": true}]}})
        );
        assert!(record["dynamodb"].get("OldImage").is_none() && record.get("userIdentity").is_none());
        assert_eq!(record["dynamodb"]["StreamViewType"], "NEW_AND_OLD_IMAGES");
        assert!(record["dynamodb"]["ApproximateCreationDateTime"].as_i64().unwrap() > 1_600_000_000);
        assert_eq!(record["dynamodb"]["SequenceNumber"], page.records[0].sequence);
    }
}
