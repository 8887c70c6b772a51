//! Runs the command of an event.

use std::time::Duration;

use dynamodb_event_store::{
    CommitKey, Consistency, EventStore, ExecuteError, IdempotencyKey, Metadata, Request, RequestHash, Resolution,
    StoreError, StreamId, TraceContext,
};
use lambda_runtime::{Context, Diagnostic};
use orders_core::domain::{Decide, DecisionError, Order, OrderId};
use orders_core::publication::{EventBus, Publisher, PutError, Rejection};
use serde::Serialize;
use service_clock::Timestamp;
use tokio::time::Instant;

use super::event::{self, Detail, Event, InvalidEvent};
use crate::deadline::deadline;
use crate::{failure, outcomes, telemetry};

/// Time reserved at the end of an invocation to publish a rejection.
const RESERVE: Duration = Duration::from_secs(3);

/// How long of that publishing is retried; a request in flight then needs the rest.
const PUBLISHING: Duration = Duration::from_secs(1);

/// Runs the commands of events, and publishes rejections.
#[derive(Clone, Debug)]
pub struct Runner<B> {
    /// The orders.
    pub store: EventStore<Order>,
    /// Publishes rejections.
    pub publisher: Publisher<B>,
}

/// An event that was not processed: Lambda retries it, and finally moves it to a dead-letter queue.
#[derive(Debug, thiserror::Error)]
pub enum NotProcessed {
    /// The command could not be run, or its outcome is unknown.
    #[error("the command of event {event_id} could not be run")]
    Command {
        /// The event.
        event_id: String,
        /// What was wrong.
        #[source]
        source: ExecuteError<DecisionError>,
    },
    /// The stream could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rejection could not be published.
    #[error("the rejection of event {event_id} could not be published")]
    Rejection {
        /// The event.
        event_id: String,
        /// What was wrong.
        #[source]
        source: PutError,
    },
    /// The rejection was published without the event, which reports money and must be retained.
    #[error("event {event_id} reports money, and is too large to be published with its rejection")]
    TooLarge {
        /// The event.
        event_id: String,
    },
    /// A command that does not serialize.
    #[error(transparent)]
    Fingerprint(#[from] serde_json::Error),
}

impl From<NotProcessed> for Diagnostic {
    fn from(error: NotProcessed) -> Self {
        failure::diagnostic("NotProcessed", &error)
    }
}

/// An event that is being processed.
#[derive(Debug)]
pub struct Received {
    event: Event,
    detail: Detail,
    readable: Result<(), InvalidEvent>,
    deadline: Instant,
}

impl Received {
    /// An event that is received now.
    pub fn new(event: Event, context: &Context) -> Self {
        let (detail, readable) = event.detail();
        Self { event, detail, readable, deadline: deadline(context, RESERVE) }
    }

    /// What happened.
    pub fn detail_type(&self) -> &str {
        self.event.detail_type()
    }

    /// Its detail.
    ///
    /// # Errors
    /// [`InvalidEvent`].
    pub fn detail(&self) -> Result<&Detail, InvalidEvent> {
        self.readable.clone().map(|()| &self.detail)
    }

    /// The correlation id; without one, the event's id.
    pub fn correlation_id(&self) -> &str {
        self.detail.correlation_id().unwrap_or_else(|| self.id())
    }

    /// The trace of the event, if its producer sent one.
    pub fn trace(&self) -> Option<TraceContext> {
        self.detail.trace.clone()
    }

    /// Counts the dropped fields of the metadata.
    pub fn count_dropped(&self) {
        self.detail.dropped.iter().for_each(|path| event::count_dropped(path));
    }

    fn id(&self) -> &str {
        self.event.id(&self.detail)
    }

    fn request(&self, order_id: OrderId, kind: &str, body: &impl Serialize) -> Result<Request, serde_json::Error> {
        let origin = format!("event|{}", self.event.source());
        let stream = StreamId::from(order_id);
        let hash = RequestHash::of(kind, body)?;
        let metadata = Metadata {
            actor: origin.clone(),
            correlation_id: self.correlation_id().to_owned(),
            causation_id: self.id().to_owned(),
            trace: telemetry::trace(),
        };
        let key = CommitKey::keyed(&stream, &origin, &IdempotencyKey::of_event(self.id()), hash);
        Ok(Request { key, metadata, if_match: None, deadline: self.deadline })
    }
}

impl<B: EventBus> Runner<B> {
    /// Runs a command with the event's id as idempotency key, so that repeats of the event run it once.
    ///
    /// # Errors
    /// [`NotProcessed`]. A rejection by the rules is not an error: it is published.
    pub async fn run<C: Decide + Serialize>(&self, received: &Received, command: &C) -> Result<(), NotProcessed> {
        let order_id = match received.detail.order_id() {
            Ok(order_id) => order_id,
            Err(error) => return self.reject(received, error.code(), &error.to_string()).await,
        };
        telemetry::record_order_id(order_id);
        let request = received.request(order_id, C::NAME, command)?;
        let loaded = self.store.load(&StreamId::from(order_id), Consistency::Eventual).await;
        let loaded = loaded.inspect_err(|_| outcomes::count_failure())?;
        let executed = self.store.execute(loaded, &request, |order, now| command.decide(order, now)).await;
        match executed {
            Ok(executed) => {
                outcomes::count_resolution(executed.resolution);
                let replayed = executed.resolution == Resolution::Replayed;
                tracing::info!(version = executed.version, replayed, command = C::NAME, "command run");
                Ok(())
            }
            Err(ExecuteError::Rejected(error)) => self.reject(received, error.code(), &error.to_string()).await,
            Err(error @ ExecuteError::KeyReused) => {
                self.reject(received, "idempotency-key-reused", &error.to_string()).await
            }
            Err(source) => {
                outcomes::count_error(&source);
                Err(NotProcessed::Command { event_id: received.id().to_owned(), source })
            }
        }
    }

    /// Publishes that an event is rejected. If it reports money, a rule of the bus sends the same entry to the queue of
    /// unrecorded money, so that neither happens without the other.
    ///
    /// # Errors
    /// [`NotProcessed::Rejection`]; [`NotProcessed::TooLarge`], so that the event is retained in the dead-letter queue.
    pub async fn reject(&self, received: &Received, code: &'static str, reason: &str) -> Result<(), NotProcessed> {
        outcomes::count_rejection(code);
        let event_id = received.id();
        let order_id = received.detail.named_order();
        let (source, detail_type) = (received.event.source(), received.event.detail_type());
        let money = received.event.is_money().then_some(&*received.event.whole);
        let unrecorded_money = money.is_some();
        tracing::warn!(event_id, source, detail_type, code, reason, unrecorded_money, "event rejected");
        let rejection = Rejection {
            source,
            event_id,
            detail_type,
            order_id: order_id.as_deref(),
            correlation_id: received.correlation_id(),
            trace: telemetry::trace(),
            code,
            reason,
            money,
        };
        let deadline = received.deadline + PUBLISHING;
        let mut unpublished = self.publisher.publish(&[rejection.envelope(Timestamp::now())], deadline).await;
        match unpublished.0.pop_first() {
            None if rejection.is_complete() => Ok(()),
            None => Err(NotProcessed::TooLarge { event_id: event_id.to_owned() }),
            Some((_, source)) => Err(NotProcessed::Rejection { event_id: event_id.to_owned(), source }),
        }
    }
}
