//! Records whose retries are exhausted, in files, as the S3 on-failure destination stores them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::reader::Record;

/// Directory with the files of all destinations; a temporary one is removed with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct Failures(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    temporary: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.temporary {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// Discarded records.
pub(super) struct Discarded<'a> {
    pub function_arn: &'a str,
    pub mapping: &'a str,
    pub stream: &'a str,
    pub shard: &'a str,
    /// `RetryAttemptsExhausted` or `RecordAgeExceeded`.
    pub condition: &'a str,
    pub attempts: u32,
    pub records: &'a [Record],
}

impl Failures {
    /// In the directory of the stack's data, or in a temporary one. Nothing is written until something fails.
    pub(crate) fn new(data: Option<&Path>) -> Self {
        let temporary = || std::env::temp_dir().join(format!("orders-local-failures-{}", Uuid::new_v4()));
        let path = data.map_or_else(temporary, |data| data.join("failures"));
        Self(Arc::new(Directory { path, temporary: data.is_none() }))
    }

    /// Where the files are: `<bucket>/aws/lambda/<mapping>/<shard>/<day>/…`.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Writes the records to the bucket of that ARN.
    pub(super) fn write(&self, bucket_arn: &str, discarded: &Discarded<'_>) -> std::io::Result<PathBuf> {
        let now = Utc::now();
        let bucket = crate::template::arn_name(bucket_arn);
        let directory = self.path().join(bucket).join("aws/lambda").join(discarded.mapping).join(discarded.shard);
        let directory = directory.join(now.format("%Y/%m/%d").to_string());
        std::fs::create_dir_all(&directory)?;
        let file = directory.join(format!("{}-{}.json", now.format("%Y-%m-%dT%H.%M.%S"), Uuid::new_v4()));
        std::fs::write(&file, serde_json::to_vec_pretty(&discarded.to_json(now))?)?;
        Ok(file)
    }
}

impl Discarded<'_> {
    fn to_json(&self, now: chrono::DateTime<Utc>) -> Value {
        let records: Vec<&Value> = self.records.iter().map(|record| &record.json).collect();
        let (first, last) = (self.records.first(), self.records.last());
        let sequence = |record: Option<&Record>| record.map(|record| record.sequence.clone());
        let arrival = |record: Option<&Record>| record.and_then(|record| record.created).map(|time| time.to_rfc3339());
        json!({
            "requestContext": {
                "requestId": Uuid::new_v4(),
                "functionArn": self.function_arn,
                "condition": self.condition,
                "approximateInvokeCount": self.attempts,
            },
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": now.to_rfc3339_opts(SecondsFormat::Millis, true),
            "DDBStreamBatchInfo": {
                "shardId": self.shard,
                "startSequenceNumber": sequence(first),
                "endSequenceNumber": sequence(last),
                "approximateArrivalOfFirstRecord": arrival(first),
                "approximateArrivalOfLastRecord": arrival(last),
                "batchSize": self.records.len(),
                "streamArn": self.stream,
            },
            "payload": json!({"Records": records}).to_string(),
        })
    }
}
