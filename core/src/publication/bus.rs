//! The event bus: what the publisher asks of it, and EventBridge.

use std::error::Error;
use std::future::Future;

use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

use super::envelope::{Envelope, SOURCE};

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
    /// It may be taken the next time: throttling, a fault inside the bus, no answer.
    #[error("the event bus did not take the entry: {0}")]
    Transient(#[source] Box<dyn Error + Send + Sync>),
    /// It will not be taken however often it is sent: no permission, no such bus, a malformed entry.
    #[error("the event bus refuses the entry: {0}")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}

/// A bus on Amazon EventBridge.
#[derive(Clone, Debug)]
pub struct EventBridge {
    client: aws_sdk_eventbridge::Client,
    bus: String,
}

impl EventBridge {
    /// The bus of this name.
    ///
    /// # Errors
    /// There is no such bus, or it could not be asked. PutEvents itself says nothing of a bus that is missing, so a
    /// publisher asks once, before it begins.
    pub async fn open(client: aws_sdk_eventbridge::Client, bus: impl Into<String>) -> Result<Self, PutError> {
        let bus = bus.into();
        let described = client.describe_event_bus().name(&bus).send().await;
        match described {
            Ok(_) => Ok(Self { client, bus }),
            Err(error) if error.as_service_error().is_some() => Err(PutError::Refused(Box::new(error))),
            Err(error) => Err(PutError::Transient(Box::new(error))),
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
        let answer = request.send().await.map_err(|error| PutError::Transient(Box::new(error)))?;
        let results = answer.entries.unwrap_or_default();
        if results.len() != entries.len() {
            let error = format!("{} results for {} entries", results.len(), entries.len());
            return Err(PutError::Transient(error.into()));
        }
        Ok(results.iter().map(|result| result.error_code().map(|code| refusal(code, result.error_message()))).collect())
    }
}

/// The codes that are worth another try, after the API reference of `PutEventsResultEntry`.
fn refusal(code: &str, message: Option<&str>) -> PutError {
    let error = format!("{code}: {}", message.unwrap_or_default()).into();
    match code {
        "InternalFailure" | "InternalException" | "ThrottlingException" | "ServiceUnavailable" => {
            PutError::Transient(error)
        }
        _ => PutError::Refused(error),
    }
}
