//! Settling the payments that were taken on without the provider's word.

mod outcome;

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use chrono::TimeDelta;
use dynamodb_circuit_breaker::{Cause, Rejected, State};
use dynamodb_event_store::{
    CommitKey, Consistency, EventStore, IdempotencyKey, Loaded, Metadata, Request, RequestHash, Settled, StreamId,
};
use futures::future::try_join_all;
use lambda_runtime::Context;
use orders_core::domain::{ConfirmPayment, Currency, Decide, Order, OrderId, PaymentId, PaymentStatus, RejectPayment};
use orders_core::error::chain;
use orders_core::payments::{Claim, GuardedProvider, HttpProvider, Verdict, VerifyError};
use orders_core::read_model::{Deferred, DeferredPlace, Orders, RowsError};
use serde::Serialize;
use service_clock::Timestamp;
use tokio::time::{Instant, sleep};

use outcome::Fate;
pub use outcome::Run;

use crate::breakers::micros;
use crate::config::{Config, ConfigError};
use crate::deadline::deadline;
use crate::payments::{self, Payments};

/// How many orders are looked up at once.
const PAGE: i32 = 100;
/// What is left of the function's time when it stops taking on more: the next run goes on.
const RESERVE: Duration = Duration::from_secs(8);
/// How long to wait where the breaker lets some calls through, but not this one.
const PAUSE: Duration = Duration::from_millis(250);
/// A payment is asked about in every run until it has waited this long, and then less and less often: on average once
/// in a twentieth of its age. So payments that nobody will ever settle do not keep the function busy.
const OFTEN: f64 = 20.0 * 60.0;
/// How long a payment waits that the provider does not know as one of this order's. A provider learns of payments too,
/// but not after a day.
const UNKNOWN_FOR: TimeDelta = TimeDelta::hours(24);

/// Settles deferred payments.
pub struct Settlement {
    /// The rows, which list them.
    pub rows: Orders,
    /// The orders.
    pub store: EventStore<Order>,
    /// Whom to ask.
    pub payments: Payments,
    /// The currency of the orders.
    pub currency: Currency,
}

impl Settlement {
    /// On the tables and with the provider that the environment names.
    ///
    /// # Errors
    /// A variable that is missing or wrong.
    pub fn from_env(config: &Config, client: aws_sdk_dynamodb::Client) -> Result<Self, ConfigError> {
        let payments = Payments::from_env(&client)?;
        let store = config.event_store(client.clone());
        Ok(Self { rows: Orders::new(client, &config.orders_table), store, payments, currency: config.currency })
    }

    /// Goes through the deferred payments as far as the time suffices and the breaker allows. Two runs at once, or
    /// beside the provider's own events, settle each payment once.
    ///
    /// # Errors
    /// The list could not be read; whatever was settled before stays settled.
    pub async fn run(&self, context: &Context) -> Result<Run, RowsError> {
        // Without a provider nobody can be asked: what was deferred before waits for the provider's events.
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

    /// Counts what waits and says whether the circuit is open, for the alarms.
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
                Err(error) => tracing::warn!(error = chain(&error), "the state of the circuit is not known"),
            }
        }
        Ok(())
    }
}

struct Work<'a> {
    settlement: &'a Settlement,
    provider: &'a GuardedProvider<HttpProvider>,
    context: &'a Context,
    now: Timestamp,
    deadline: Instant,
    stopped: AtomicBool,
}

impl Work<'_> {
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
                let fate = self.settle(entry.order_id).await;
                run.count(fate);
                if matches!(fate, Fate::CircuitOpen | Fate::OutOfTime) {
                    self.stopped.store(true, Relaxed);
                }
            }
            place = page.next;
        }
        Ok(run)
    }

    async fn settle(&self, order_id: OrderId) -> Fate {
        let stream = StreamId::from(order_id);
        let loaded = match self.settlement.store.load(&stream, Consistency::Eventual).await {
            Ok(loaded) => loaded,
            Err(error) => return not_settled(order_id, &error),
        };
        let order = loaded.stream().state().placed();
        // The list is behind the events for a moment.
        let Some((order, deferred)) = order.and_then(|order| Some((order, order.deferred.as_ref()?))) else {
            return Fate::Gone;
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
                return Fate::OutOfTime;
            }
            let payment_id = claim.payment_id.clone();
            return match self.provider.verify(&claim, self.deadline).await {
                Ok(Verdict::Captured) => {
                    self.run(loaded, &claim, &ConfirmPayment { payment_id, amount: claim.amount }).await
                }
                Ok(Verdict::Declined(reason)) => self.run(loaded, &claim, &RejectPayment { payment_id, reason }).await,
                Ok(Verdict::Pending) => Fate::Waiting,
                Err(Cause::Rejected(Rejected::Open { .. } | Rejected::ForcedOpen { .. })) => Fate::CircuitOpen,
                Err(Cause::Rejected(_)) => {
                    sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
                    continue;
                }
                Err(cause) => {
                    payments::log(&claim, &cause);
                    let Cause::Failed(error) = cause else { return Fate::Waiting };
                    match (error.not_of_this_order(), error) {
                        // Money was captured all the same, and must not be lost.
                        (_, VerifyError::OtherAmount { captured: amount }) => {
                            self.run(loaded, &claim, &ConfirmPayment { payment_id, amount }).await
                        }
                        // So that the order can be paid in another way. A capture is recorded even after that.
                        (Some(reason), _) if unknown_for_long => {
                            self.run(loaded, &claim, &RejectPayment { payment_id, reason }).await
                        }
                        _ => Fate::Waiting,
                    }
                }
            };
        }
    }

    /// Runs what the provider's word means for the order.
    ///
    /// The idempotency key is the word on the payment as the order had it at this version: two runs at once are one
    /// command, and a payment that is deferred once more is another one.
    async fn run<C: Decide + Serialize>(&self, loaded: Loaded<Order>, claim: &Claim, command: &C) -> Fate {
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
            },
            if_match: None,
            deadline: self.deadline,
        };
        let executed = self.settlement.store.execute(loaded, &request, |order, now| command.decide(order, now)).await;
        let executed = match executed {
            Ok(executed) => executed,
            Err(error) => return not_settled(order_id, &error),
        };
        match (executed.settled, executed.outcome.payment) {
            (Settled::Stored, Some(PaymentStatus::Paid)) => Fate::Paid,
            (Settled::Stored, Some(PaymentStatus::RefundDue(_))) => Fate::RefundDue,
            (Settled::Stored, Some(PaymentStatus::Rejected(_))) => Fate::Rejected,
            // Another run, or the provider's event, came first.
            _ if !is_deferred(executed.stream.state(), &claim.payment_id) => Fate::Gone,
            _ => not_settled(order_id, &StillDeferred),
        }
    }
}

/// The provider's word was run, and the order still waits for it.
#[derive(Debug, thiserror::Error)]
#[error("the payment is still deferred after the provider's answer was recorded")]
struct StillDeferred;

fn is_deferred(order: &Order, payment_id: &PaymentId) -> bool {
    let deferred = order.placed().and_then(|order| order.deferred.as_ref());
    deferred.is_some_and(|deferred| deferred.payment_id == *payment_id)
}

fn not_settled(order_id: OrderId, error: &(dyn Error + 'static)) -> Fate {
    tracing::error!(%order_id, error = chain(error), "payment not settled");
    Fate::Failed
}

fn is_due(entry: &Deferred, now: Timestamp) -> bool {
    let age = (now - entry.deferred_at).to_std().unwrap_or_default().as_secs_f64();
    fastrand::f64() * age < OFTEN
}

#[cfg(test)]
mod tests;
