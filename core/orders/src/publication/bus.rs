//! The event bus: what the publisher asks of it, and EventBridge.

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

/// A bus that takes entries.
pub trait EventBus: Send + Sync {
    /// Sends one request, within the bus's limits. The answer has a place for each entry: nothing when it was taken,
    /// or why it was not.
    ///
    /// # Errors
    /// The request as a whole had no answer; any of its entries may or may not have been taken.
    fn put(&self, entries: &[Envelope]) -> impl Future<Output = Result<Vec<Option<PutError>>, PutError>> + Send;
}

/// An entry, or a whole request, that the bus did not take.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It may be taken another time: throttling, a fault inside the bus, no answer, a permission that is missing.
    #[error("the event bus did not take the entry: {0}")]
    ForNow(String),
    /// It will not be taken as it is, however often it is sent.
    #[error("the event bus refuses the entry: {0}")]
    ForGood(String),
}

/// The bus cannot be used: there is none of that name, it may not be used, or it does not answer.
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

/// Sets time-outs and retries: what takes three seconds was lost, so an attempt ends then and the SDK makes another,
/// three in all and seven seconds at most.
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
    /// There is no such bus, or it could not be asked. PutEvents itself says nothing of a bus that is missing, so a
    /// publisher asks once, before it begins.
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
        Ok(results.iter().map(|result| result.error_code().map(|code| refusal(code, result.error_message()))).collect())
    }
}

/// What an error code means, after the API reference of `PutEventsResultEntry`. A permission that is missing comes back,
/// so it is waited for.
fn refusal(code: &str, message: Option<&str>) -> PutError {
    let error = format!("{code}: {}", message.unwrap_or_default());
    match code {
        "InvalidArgument" | "MalformedDetail" | "RedactionFailure" => PutError::ForGood(error),
        _ => PutError::ForNow(error),
    }
}
