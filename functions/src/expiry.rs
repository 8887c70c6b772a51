//! Cancels orders that were not paid in time.

use std::time::Duration;

use chrono::TimeDelta;
use dynamodb_event_store::{CommitKey, Consistency, EventStore, Metadata, Request, Resolution, StreamId};
use futures::{StreamExt, stream};
use lambda_runtime::Context;
use orders_core::domain::{Decide, ExpireOrder, Order, OrderId};
use orders_core::error::chain;
use orders_core::read_model::{OpenStatus, Orders, RowsError};
use serde::Serialize;
use service_clock::Timestamp;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::config::{self, Config, ConfigError};
use crate::deadline::deadline;
use crate::{outcomes, telemetry};

/// Orders per page of the list.
const PAGE: usize = 100;
/// Commands that run concurrently.
const CONCURRENCY: usize = 8;
/// No page is started with less time left than this; the next run continues.
const RESERVE: Duration = Duration::from_secs(5);

/// Cancels unpaid orders.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// The rows, which list the pending orders.
    pub rows: Orders,
    /// The orders.
    pub store: EventStore<Order>,
    /// How long an order may stay unpaid; `None` for no limit.
    pub after: Option<TimeDelta>,
}

/// The result of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// Orders cancelled.
    pub cancelled: u32,
    /// Orders that the list still showed, but that were paid, being paid or cancelled.
    pub left: u32,
    /// Orders that could not be cancelled; the next run tries again.
    pub failed: u32,
}

impl Expiry {
    /// From the environment.
    ///
    /// # Errors
    /// `EXPIRE_UNPAID_AFTER_HOURS`, where 0 means never, is missing or invalid.
    pub fn new(config: &Config, client: aws_sdk_dynamodb::Client) -> Result<Self, ConfigError> {
        let hours: u32 = config::setting("EXPIRE_UNPAID_AFTER_HOURS")?;
        let rows = Orders::new(client.clone(), &config.orders_table);
        let store = config.event_store(client);
        Ok(Self { rows, store, after: (hours > 0).then(|| TimeDelta::hours(hours.into())) })
    }

    /// Cancels the pending orders that are too old, oldest first, until the time is up.
    ///
    /// # Errors
    /// The list could not be read; orders cancelled before stay cancelled.
    pub async fn run(&self, context: &Context) -> Result<Expired, RowsError> {
        let mut expired = Expired::default();
        let Some(after) = self.after else { return Ok(expired) };
        let deadline = deadline(context, Duration::ZERO);
        let command = ExpireOrder { created_before: Timestamp::now() - after };
        let mut cursor = None;
        loop {
            let page = self.rows.by_status(OpenStatus::PENDING, PAGE, cursor.as_deref()).await?;
            let old = page.orders.iter().take_while(|order| order.created_at < command.created_before);
            let old: Vec<OrderId> = old.map(|order| order.order_id).collect();
            let runs = old.iter().map(|order_id| self.expire(*order_id, &command, deadline, context));
            let runs: Vec<_> = stream::iter(runs).buffer_unordered(CONCURRENCY).collect().await;
            runs.into_iter().for_each(|run| expired.count(run));
            cursor = page.next_cursor;
            let all_old = old.len() == page.orders.len();
            if cursor.is_none() || !all_old || Instant::now() + RESERVE >= deadline {
                return Ok(expired);
            }
        }
    }

    async fn expire(
        &self,
        order_id: OrderId,
        command: &ExpireOrder,
        deadline: Instant,
        context: &Context,
    ) -> Result<Resolution, ()> {
        let stream = StreamId::from(order_id);
        let causation_id = format!("{}/{order_id}", context.request_id);
        let expired = async {
            let loaded = self.store.load(&stream, Consistency::Eventual).await?;
            let span = telemetry::order_span("expire order", order_id, loaded.stream().trace());
            let metadata = Metadata {
                actor: "schedule|expire-orders".into(),
                correlation_id: context.request_id.clone(),
                causation_id,
                trace: span.in_scope(telemetry::trace),
            };
            let request = Request { key: CommitKey::unkeyed(), metadata, if_match: None, deadline };
            let executed = self.store.execute(loaded, &request, |order, now| command.decide(order, now));
            executed.instrument(span).await
        };
        let executed = expired.await;
        outcomes::count(&executed);
        match executed {
            Ok(executed) => Ok(executed.resolution),
            Err(error) => {
                tracing::error!(%order_id, error = chain(&error), "order not expired");
                Err(())
            }
        }
    }
}

impl Expired {
    fn count(&mut self, run: Result<Resolution, ()>) {
        match run {
            Ok(Resolution::Stored | Resolution::Replayed) => self.cancelled += 1,
            Ok(Resolution::Unchanged) => self.left += 1,
            Err(()) => self.failed += 1,
        }
    }
}
