//! Running the command that an event stands for.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SubsecRound, Utc};
use lambda_runtime::Context;
use orders_core::event_store::{
    CommitKey, Consistency, EventStore, ExecuteError, IdempotencyKey, Metadata, Request, RequestHash, Settled,
    StoreError, StreamId,
};
use orders_core::order::{Decide, DecisionError, Order, OrderId};
use orders_core::publication::{EventBus, Publisher, PutError, Rejection};
use serde::Serialize;
use tokio::time::Instant;

use super::event::{Detail, Event, InvalidEvent};

/// What is kept of the function's time to publish a refusal.
const RESERVE: Duration = Duration::from_secs(1);

/// Runs commands that come as events, and publishes what is refused.
#[derive(Clone, Debug)]
pub struct Runner<B> {
    /// The orders.
    pub store: EventStore<Order>,
    /// Where refusals go.
    pub publisher: Publisher<B>,
}

/// An event that was not dealt with: it comes again, and in the end goes to the queue for redrive.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// The command could not be run, or its fate is not known.
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
    /// The refusal could not be published.
    #[error("the refusal of event {event_id} could not be published")]
    Rejection {
        /// The event.
        event_id: String,
        /// What was wrong.
        #[source]
        source: PutError,
    },
    /// A command that does not serialise.
    #[error(transparent)]
    Fingerprint(#[from] serde_json::Error),
}

/// An event on its way to becoming a command.
#[derive(Debug)]
pub struct Received<'a> {
    event: &'a Event,
    detail: Detail,
    now: DateTime<Utc>,
    deadline: Instant,
}

impl<'a> Received<'a> {
    /// The event, as it arrives now.
    ///
    /// # Errors
    /// [`InvalidEvent`], with as much of the event as there is.
    pub fn new(event: &'a Event, context: &Context) -> (Self, Result<(), InvalidEvent>) {
        let (detail, read) = match event.detail() {
            Ok(detail) => (detail, Ok(())),
            Err(error) => (Detail::default(), Err(error)),
        };
        let remaining = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let deadline = Instant::now() + remaining.saturating_sub(RESERVE);
        (Self { event, detail, now: Utc::now().trunc_subsecs(3), deadline }, read)
    }

    /// What the producer says.
    pub fn detail(&self) -> &Detail {
        &self.detail
    }

    fn id(&self) -> &str {
        self.event.id(&self.detail)
    }

    fn correlation_id(&self) -> &str {
        self.detail.correlation_id().unwrap_or_else(|| self.id())
    }

    fn request(&self, order_id: OrderId, kind: &str, body: &impl Serialize) -> Result<Request, serde_json::Error> {
        let origin = format!("event|{}", self.event.source);
        let stream = StreamId::new(order_id.to_string());
        let hash = RequestHash::of(kind, body)?;
        let metadata = Metadata {
            actor: origin.clone(),
            correlation_id: self.correlation_id().to_owned(),
            causation_id: self.id().to_owned(),
            request_hash: None,
        };
        let key = CommitKey::keyed(&stream, &origin, &IdempotencyKey::of_event(self.id()), hash);
        Ok(Request { key, metadata, if_match: None, now: self.now, deadline: self.deadline })
    }
}

impl<B: EventBus> Runner<B> {
    /// Runs a command, under the event's id as idempotency key, so that the same event twice is one command.
    ///
    /// # Errors
    /// [`NotDone`]; a refusal by the rules is none, but is published.
    pub async fn run<C: Decide + Serialize>(&self, received: &Received<'_>, command: &C) -> Result<(), NotDone> {
        let order_id = match received.detail.order_id() {
            Ok(order_id) => order_id,
            Err(error) => return self.reject(received, error.code(), &error.to_string()).await,
        };
        let request = received.request(order_id, C::NAME, command)?;
        let loaded = self.store.load(&StreamId::new(order_id.to_string()), Consistency::Eventual).await?;
        let executed = self.store.execute(loaded, &request, |order| command.decide(order, request.now)).await;
        match executed {
            Ok(executed) => {
                let replayed = executed.settled == Settled::Replayed;
                tracing::info!(%order_id, version = executed.version, replayed, command = C::NAME, "command run");
                Ok(())
            }
            Err(ExecuteError::Refused(error)) => self.reject(received, error.code(), &error.to_string()).await,
            Err(error @ ExecuteError::KeyReused) => {
                self.reject(received, "idempotency-key-reused", &error.to_string()).await
            }
            Err(source) => Err(NotDone::Command { event_id: received.id().to_owned(), source }),
        }
    }

    /// Publishes that an event is refused.
    ///
    /// # Errors
    /// [`NotDone::Rejection`].
    pub async fn reject(&self, received: &Received<'_>, code: &str, reason: &str) -> Result<(), NotDone> {
        let event_id = received.id();
        let order_id = received.detail.named_order();
        let (source, detail_type) = (&received.event.source, &received.event.detail_type);
        tracing::warn!(event_id, source, detail_type, code, reason, "event refused");
        let rejection = Rejection {
            source,
            event_id,
            detail_type,
            order_id: order_id.as_deref(),
            correlation_id: received.correlation_id(),
            code,
            reason,
        };
        let mut unpublished = self.publisher.publish(&[rejection.envelope(received.now)]).await;
        match unpublished.0.pop_first() {
            None => Ok(()),
            Some((_, source)) => Err(NotDone::Rejection { event_id: event_id.to_owned(), source }),
        }
    }
}
