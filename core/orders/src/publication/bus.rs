//! The event bus: what the publisher needs of it, and EventBridge.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::Builder;
use aws_sdk_eventbridge::config::retry::RetryConfig;
use aws_sdk_eventbridge::config::timeout::TimeoutConfig;
use aws_sdk_eventbridge::error::SdkError;
use aws_sdk_eventbridge::operation::describe_event_bus::DescribeEventBusError;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

use super::envelope::{Envelope, SOURCE};
use crate::error::chain;

/// A bus that accepts entries.
pub trait EventBus: Send + Sync {
    /// Sends one request, within the bus's limits. The response has a place for each entry: `None` if it was accepted,
    /// or why it was not.
    ///
    /// # Errors
    /// The request as a whole failed; any of its entries may or may not have been accepted.
    fn put(&self, entries: &[Envelope]) -> impl Future<Output = Result<Vec<Option<PutError>>, PutError>> + Send;
}

/// An entry, or a whole request, that the bus did not accept.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Transient: throttling, an internal error of the bus, no response, a missing permission.
    #[error("the event bus did not accept the entry: {0}")]
    ForNow(String),
    /// Permanent: the entry will not be accepted as it is.
    #[error("the event bus rejected the entry: {0}")]
    ForGood(String),
}

/// The bus cannot be used: it does not exist, access is denied, or it does not respond.
#[derive(thiserror::Error)]
#[error("the event bus {bus} cannot be used: {}", chain(source))]
pub struct UnusableBus {
    bus: String,
    source: Box<SdkError<DescribeEventBusError>>,
}

/// As `main` prints it when it returns one.
impl fmt::Debug for UnusableBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Sets timeouts and retries: an attempt times out after three seconds and is retried by the SDK, at most three attempts
/// in seven seconds.
pub fn for_requests(config: Builder) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(500))
        .operation_attempt_timeout(Duration::from_secs(3))
        .operation_timeout(Duration::from_secs(7))
        .build();
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50));
    config.timeout_config(timeouts).retry_config(retries)
}

/// A bus on Amazon EventBridge.
#[derive(Clone, Debug)]
pub struct EventBridge {
    client: Client,
    bus: String,
}

impl EventBridge {
    /// The bus of this name.
    ///
    /// # Errors
    /// The bus does not exist, or the check failed. PutEvents itself does not report a missing bus, so a publisher checks
    /// once, before it starts.
    pub async fn open(client: Client, bus: impl Into<String>) -> Result<Self, UnusableBus> {
        let bus = bus.into();
        match client.describe_event_bus().name(&bus).send().await {
            Ok(_) => Ok(Self { client, bus }),
            Err(error) => Err(UnusableBus { bus, source: Box::new(error) }),
        }
    }

    fn entry(&self, envelope: &Envelope) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(SOURCE)
            .detail_type(&envelope.detail_type)
            .time(DateTime::from_millis(envelope.time.timestamp_millis()))
            .detail(&envelope.detail)
            .build()
    }
}

impl EventBus for EventBridge {
    async fn put(&self, entries: &[Envelope]) -> Result<Vec<Option<PutError>>, PutError> {
        let request = self.client.put_events().set_entries(Some(entries.iter().map(|e| self.entry(e)).collect()));
        let answer = request.send().await.map_err(|error| PutError::ForNow(chain(&error)))?;
        let results = answer.entries.unwrap_or_default();
        if results.len() != entries.len() {
            let error = format!("{} results for {} entries", results.len(), entries.len());
            return Err(PutError::ForNow(error));
        }
        Ok(results.iter().map(|result| result.error_code().map(|code| failure(code, result.error_message()))).collect())
    }
}

/// The meaning of an error code, after the API reference of `PutEventsResultEntry`. A missing permission is expected to be
/// granted, so it is transient.
fn failure(code: &str, message: Option<&str>) -> PutError {
    let error = format!("{code}: {}", message.unwrap_or_default());
    match code {
        "InvalidArgument" | "MalformedDetail" | "RedactionFailure" => PutError::ForGood(error),
        _ => PutError::ForNow(error),
    }
}
