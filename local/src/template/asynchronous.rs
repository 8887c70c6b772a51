//! What happens to asynchronous invocations of a function that fail.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{TemplateError, loose};

/// How an asynchronous invocation is tried again, and what becomes of it in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncPolicy {
    /// How often it is tried again after the function failed.
    pub max_retries: u32,
    /// How long it is kept.
    pub max_age: Duration,
    /// ARN of the queue for a record of what failed: the event, and why.
    pub on_failure: Option<String>,
    /// ARN of the queue for the failed event itself.
    pub dead_letter: Option<String>,
}

impl Default for AsyncPolicy {
    /// What Lambda does when nothing is said.
    fn default() -> Self {
        Self { max_retries: 2, max_age: Duration::from_secs(6 * 3600), on_failure: None, dead_letter: None }
    }
}

/// `EventInvokeConfig` of a function.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub(super) struct EventInvokeConfig {
    #[serde(deserialize_with = "loose::option")]
    maximum_retry_attempts: Option<u32>,
    #[serde(deserialize_with = "loose::option")]
    maximum_event_age_in_seconds: Option<u64>,
    destination_config: Destinations,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct Destinations {
    on_failure: Option<Destination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Destination {
    destination: String,
    #[serde(rename = "Type")]
    _kind: Option<Value>,
}

/// `DeadLetterQueue` of a function.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeadLetterQueue {
    target_arn: String,
    #[serde(rename = "Type")]
    _kind: Option<Value>,
}

impl AsyncPolicy {
    pub(super) fn read(config: EventInvokeConfig, queue: Option<DeadLetterQueue>) -> Result<Self, TemplateError> {
        let default = Self::default();
        let policy = Self {
            max_retries: config.maximum_retry_attempts.unwrap_or(default.max_retries),
            max_age: config.maximum_event_age_in_seconds.map_or(default.max_age, Duration::from_secs),
            on_failure: config.destination_config.on_failure.map(|destination| destination.destination),
            dead_letter: queue.map(|queue| queue.target_arn),
        };
        for queue in policy.on_failure.iter().chain(&policy.dead_letter) {
            require_queue(queue)?;
        }
        Ok(policy)
    }
}

/// Failed events go to queues only.
pub(super) fn require_queue(arn: &str) -> Result<(), TemplateError> {
    if arn.starts_with("arn:aws:sqs:") {
        return Ok(());
    }
    Err(TemplateError::UnknownIntrinsic(format!("{arn} as a place for failed events: it is no SQS queue")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: Value) -> Result<AsyncPolicy, TemplateError> {
        AsyncPolicy::read(serde_json::from_value(config).unwrap(), None)
    }

    #[test]
    fn what_is_not_said_is_as_lambda_has_it() {
        assert_eq!(read(json!({})).unwrap(), AsyncPolicy::default());
        let queue = "arn:aws:sqs:us-east-1:000000000000:Failed";
        let config = json!({"MaximumRetryAttempts": "1", "MaximumEventAgeInSeconds": 60,
            "DestinationConfig": {"OnFailure": {"Type": "SQS", "Destination": queue}}});
        let expected = AsyncPolicy {
            max_retries: 1,
            max_age: Duration::from_secs(60),
            on_failure: Some(queue.into()),
            dead_letter: None,
        };
        assert_eq!(read(config).unwrap(), expected);
    }

    #[test]
    fn a_destination_that_is_no_queue_is_named() {
        let config = json!({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sns:r:0:topic"}}});
        assert!(read(config).unwrap_err().to_string().contains("arn:aws:sns:r:0:topic"));
    }
}
