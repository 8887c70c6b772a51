//! Settles deferred payments: verifies them with the provider and records the result.

mod outcome;
mod provider_check;

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use chrono::TimeDelta;
use dynamodb_circuit_breaker::{Cause, Rejected, State};
use dynamodb_event_store::{
    CommitKey, Consistency, EventStore, IdempotencyKey, Loaded, Metadata, Request, RequestHash, Resolution, StreamId,
};
use futures::future::try_join_all;
use lambda_runtime::Context;
use orders_core::domain::{ConfirmPayment, Currency, Decide, Order, OrderId, PaymentId, PaymentStatus, RejectPayment};
use orders_core::error::chain;
use orders_core::payments::{Claim, GuardedProvider, HttpProvider, PaymentProvider, Verdict, VerifyError};
use orders_core::read_model::{Deferred, DeferredPlace, Orders, RowsError};
use serde::Serialize;
use service_clock::Timestamp;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use outcome::Outcome;
pub use outcome::Run;
pub use provider_check::ProviderCheck;

use crate::breakers::micros;
use crate::config::{Config, ConfigError};
use crate::deadline::deadline;
use crate::outcomes;
use crate::payments::{self, Payments};
use crate::telemetry;

/// Orders per page of the list.
const PAGE: i32 = 100;
/// No payment is verified with less time left than this; the next run continues.
const RESERVE: Duration = Duration::from_secs(8);
/// How long to wait when the breaker allows some calls, but not this one.
const PAUSE: Duration = Duration::from_millis(250);
/// Every run verifies a payment until it has waited this many seconds. Then it is verified less and less often: on average
/// once in a twentieth of its age. So payments that are never settled do not keep the function busy.
const EVERY_RUN_SECONDS: f64 = 20.0 * 60.0;
/// How long a payment may wait that the provider does not know for this order. A provider may learn of a payment late, but
/// not after a day.
const UNKNOWN_FOR: TimeDelta = TimeDelta::hours(24);

/// Settles deferred payments.
#[doc(alias = "reconciliation")]
pub struct Settlement<P = HttpProvider> {
    /// The rows, which list them.
    pub rows: Orders,
    /// The orders.
    pub store: EventStore<Order>,
    /// How payments are verified.
    pub payments: Payments<P>,
    /// The currency of the orders.
    pub currency: Currency,
}

impl Settlement {
    /// From the environment.
    ///
    /// # Errors
    /// Those of [`Payments::from_env`].
    pub async fn from_env(config: &Config, client: aws_sdk_dynamodb::Client) -> Result<Self, ConfigError> {
        let payments = Payments::from_env(&client).await?;
        let store = config.event_store(client.clone());
        Ok(Self { rows: Orders::new(client, &config.orders_table), store, payments, currency: config.currency })
    }
}

impl<P: PaymentProvider> Settlement<P> {
    /// Settles the deferred payments until the time is up or the circuit opens. Concurrent runs and the provider's events
    /// settle each payment once.
    ///
    /// # Errors
    /// The list could not be read; payments settled before stay settled.
    pub async fn run(&self, context: &Context) -> Result<Run, RowsError> {
        // Without a provider, payments that were deferred earlier wait for the provider's events.
        let Payments::Verified(provider) = &self.payments else { return Ok(Run::default()) };
        let work = Work {
            settlement: self,
            provider,
            context,
            now: Timestamp::now(),
            deadline: deadline(context, Duration::ZERO),
            stopped: AtomicBool::new(false),
        };
        let runs = try_join_all(DeferredPlace::beginnings().map(|place| work.settle_list(place))).await?;
        Ok(runs.into_iter().fold(Run::default(), Run::add))
    }

    /// Records metrics for the alarms: the deferred payments and the circuit's state.
    ///
    /// # Errors
    /// The list could not be read.
    pub async fn measure(&self) -> Result<(), RowsError> {
        let count = self.rows.deferred_count().await?;
        let age = count.oldest.map_or(0, |oldest| (Timestamp::now() - oldest).num_seconds());
        metrics::histogram!("PaymentsWaiting").record(count.waiting as f64);
        metrics::histogram!("OldestPaymentWaiting").record(age as f64);
        if let Payments::Verified(provider) = &self.payments {
            match provider.breaker().inspect().await {
                Ok(circuit) => {
                    let closed = circuit.state == State::Closed;
                    metrics::histogram!("PaymentCircuitOpen").record(if closed { 0 } else { 1 });
                    let forced = circuit.active_override(micros(Timestamp::now())).is_some();
                    metrics::histogram!("PaymentCircuitForced").record(if forced { 1 } else { 0 });
                }
                // Without its metrics, the alarms on the circuit would stay silent.
                Err(error) => tracing::error!(error = chain(&error), "circuit state unknown"),
            }
        }
        Ok(())
    }
}

struct Work<'a, P> {
    settlement: &'a Settlement<P>,
    provider: &'a GuardedProvider<P>,
    context: &'a Context,
    now: Timestamp,
    deadline: Instant,
    stopped: AtomicBool,
}

impl<P: PaymentProvider> Work<'_, P> {
    async fn settle_list(&self, beginning: DeferredPlace) -> Result<Run, RowsError> {
        let (mut run, mut place) = (Run::default(), Some(beginning));
        while let Some(from) = place {
            let page = self.settlement.rows.deferred(from, PAGE).await?;
            for entry in page.entries {
                if self.stopped.load(Relaxed) {
                    return Ok(run);
                }
                if !is_due(&entry, self.now) {
                    continue;
                }
                let outcome = self.settle(entry.order_id).await;
                run.count(outcome);
                if matches!(outcome, Outcome::CircuitOpen | Outcome::OutOfTime) {
                    self.stopped.store(true, Relaxed);
                }
            }
            place = page.next;
        }
        Ok(run)
    }

    async fn settle(&self, order_id: OrderId) -> Outcome {
        let stream = StreamId::from(order_id);
        let loaded = match self.settlement.store.load(&stream, Consistency::Eventual).await {
            Ok(loaded) => loaded,
            Err(error) => {
                outcomes::count_failure();
                return not_settled(order_id, &error);
            }
        };
        let span = telemetry::order_span("settle payment", order_id, loaded.stream().trace());
        Box::pin(self.settle_loaded(order_id, loaded).instrument(span)).await
    }

    async fn settle_loaded(&self, order_id: OrderId, loaded: Loaded<Order>) -> Outcome {
        let order = loaded.stream().state().placed();
        // The list may lag behind the events.
        let Some((order, deferred)) = order.and_then(|order| Some((order, order.deferred.as_ref()?))) else {
            return Outcome::Gone;
        };
        let unknown_for_long = Timestamp::now() - deferred.deferred_at >= UNKNOWN_FOR;
        let claim = Claim {
            payment_id: deferred.payment_id.clone(),
            order_id,
            amount: order.total,
            currency: self.settlement.currency,
        };
        loop {
            if Instant::now() + RESERVE >= self.deadline {
                return Outcome::OutOfTime;
            }
            let payment_id = claim.payment_id.clone();
            return match self.provider.verify(&claim, self.deadline).await {
                Ok(Verdict::Captured) => {
                    self.run(loaded, &claim, &ConfirmPayment { payment_id, amount: claim.amount }).await
                }
                Ok(Verdict::Declined(reason)) => self.run(loaded, &claim, &RejectPayment { payment_id, reason }).await,
                Ok(Verdict::Pending) => Outcome::Waiting,
                Err(Cause::Rejected(Rejected::Open { .. } | Rejected::ForcedOpen { .. })) => Outcome::CircuitOpen,
                Err(Cause::Rejected(_)) => {
                    sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
                    continue;
                }
                Err(cause) => {
                    payments::log(&claim, &cause);
                    let Cause::Failed(error) = cause else { return Outcome::Waiting };
                    match (error.not_of_this_order(), error) {
                        // Money was captured and must be recorded.
                        (_, VerifyError::OtherAmount { captured: amount }) => {
                            self.run(loaded, &claim, &ConfirmPayment { payment_id, amount }).await
                        }
                        // The order can then be paid in another way. A later capture is still recorded.
                        (Some(reason), _) if unknown_for_long => {
                            self.run(loaded, &claim, &RejectPayment { payment_id, reason }).await
                        }
                        _ => Outcome::Waiting,
                    }
                }
            };
        }
    }

    /// Runs the command for the provider's result.
    ///
    /// The idempotency key is derived from the payment, the order's version and the command: concurrent runs execute it
    /// once, and a payment that is deferred again has another key.
    async fn run<C: Decide + Serialize>(&self, loaded: Loaded<Order>, claim: &Claim, command: &C) -> Outcome {
        let order_id = claim.order_id;
        let hash = match RequestHash::of(C::NAME, command) {
            Ok(hash) => hash,
            Err(error) => return not_settled(order_id, &error),
        };
        let head = loaded.stream().version();
        let key = IdempotencyKey::of_event(&format!("{}@{head}/{}", claim.payment_id, String::from(hash)));
        let request = Request {
            key: CommitKey::keyed(loaded.stream().id(), "settle", &key, hash),
            metadata: Metadata {
                actor: "schedule|settle-payments".into(),
                correlation_id: self.context.request_id.clone(),
                causation_id: format!("{}/{order_id}", self.context.request_id),
                trace: telemetry::trace(),
            },
            if_match: None,
            deadline: self.deadline,
        };
        let executed = self.settlement.store.execute(loaded, &request, |order, now| command.decide(order, now)).await;
        outcomes::count(&executed);
        let executed = match executed {
            Ok(executed) => executed,
            Err(error) => return not_settled(order_id, &error),
        };
        match (executed.resolution, executed.outcome.payment) {
            (Resolution::Stored, Some(PaymentStatus::Paid)) => Outcome::Paid,
            (Resolution::Stored, Some(PaymentStatus::RefundDue(_))) => Outcome::RefundDue,
            (Resolution::Stored, Some(PaymentStatus::Rejected(_))) => Outcome::Rejected,
            // Another run, or the provider's event, came first.
            _ if !is_deferred(executed.stream.state(), &claim.payment_id) => Outcome::Gone,
            _ => not_settled(order_id, &StillDeferred),
        }
    }
}

/// The command was run, and the payment is still deferred.
#[derive(Debug, thiserror::Error)]
#[error("the payment is still deferred after the provider's result was recorded")]
struct StillDeferred;

fn is_deferred(order: &Order, payment_id: &PaymentId) -> bool {
    let deferred = order.placed().and_then(|order| order.deferred.as_ref());
    deferred.is_some_and(|deferred| deferred.payment_id == *payment_id)
}

fn not_settled(order_id: OrderId, error: &(dyn Error + 'static)) -> Outcome {
    tracing::error!(%order_id, error = chain(error), "payment not settled");
    Outcome::Failed
}

fn is_due(entry: &Deferred, now: Timestamp) -> bool {
    let age = (now - entry.deferred_at).to_std().unwrap_or_default().as_secs_f64();
    fastrand::f64() * age < EVERY_RUN_SECONDS
}

#[cfg(test)]
mod tests;
