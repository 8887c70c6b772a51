//! `pay-order`: a customer, or the shop's backend, pays an order.

use std::time::Duration;

use dynamodb_circuit_breaker::Cause;
use dynamodb_event_store::{Examined, Executed, Resolution};
use orders_core::domain::{DecisionError, Money, Order, PayOrder, PaymentId, PaymentStatus, Reason, Verification, pay};
use orders_core::payments::{Claim, GuardedProvider, HttpProvider, PaymentProvider, Verdict, VerifyError};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Commands, Conditions, answer};
use crate::answer::Answer;
use crate::body::{self, Given};
use crate::caller::{Needs, Scope};
use crate::config::{Config, ConfigError};
use crate::payments::{self, Payments};
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: Some(Scope::Write), any: &[Scope::Checkout] };

/// Time reserved after the provider's response, to store the result.
const FOR_THE_STORE: Duration = Duration::from_secs(2);

/// The commands, and what verifies payments. Created once per container.
#[derive(Clone)]
pub struct VerifiedCommands<P = HttpProvider> {
    /// The commands.
    pub commands: Commands,
    /// What verifies payments.
    pub payments: Payments<P>,
}

impl VerifiedCommands {
    /// From the environment.
    ///
    /// # Errors
    /// Those of [`Payments::from_env`].
    pub async fn from_env(config: &Config, client: aws_sdk_dynamodb::Client) -> Result<Self, ConfigError> {
        Ok(Self { payments: Payments::from_env(&client).await?, commands: Commands::new(config, client) })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    payment_id: Given<PaymentId>,
    amount: Box<RawValue>,
}

/// Responds 200 for a recorded payment, and 202 for one that could not be verified: it is settled later, and the response
/// says so.
///
/// The provider is called at most once, however often a conflict makes the command be decided again, and only for a payment
/// that the order can accept. A request with an idempotency key is the exception: it may be a retry while the first attempt
/// is still calling. It is rejected for the order's state or version only if the provider reports that nothing is captured;
/// without a result the caller must retry. So no caller is finally rejected while the first attempt records money.
///
/// # Errors
/// Why the payment was not recorded, or why that is unknown.
pub async fn handle<P: PaymentProvider>(verified: &VerifiedCommands<P>, request: &Request) -> Result<Answer, Problem> {
    let VerifiedCommands { commands, payments } = verified;
    let caller = commands.authorize(request, NEEDS)?;
    let body: Body = body::parse(request)?;
    let amount = body::amount("amount", &body.amount, &commands.currency)?;
    let mut command = PayOrder { payment_id: body.payment_id.0, amount, verification: Verification::Trusted };
    let mut unverified = false;
    let mut conditions = Conditions::of(request)?;
    let mut loaded = commands.find(request, &caller).await?;
    if let Payments::Verified(provider) = payments {
        let keyed = conditions.key.is_some();
        let check = |order: &Order| match pay::needs_verification(order, &command.payment_id, amount) {
            Err(DecisionError::WrongStatus { .. } | DecisionError::PaymentInProgress(_)) if keyed => Ok(true),
            checked => checked,
        };
        let examined = Conditions { if_match: conditions.if_match.clone().filter(|_| !keyed), ..conditions.clone() };
        let needed = match commands.examine(request, &caller, &examined, loaded, &command, check).await? {
            Examined::Replayed(executed) => return respond(&executed, &command.payment_id),
            Examined::Ready(open, needed) => {
                loaded = *open;
                needed
            }
        };
        command.verification = match loaded.stream().state().placed().filter(|_| needed) {
            Some(order) => {
                let (payment_id, order_id) = (command.payment_id.clone(), order.order_id);
                let claim = Claim { payment_id, order_id, amount, currency: commands.currency };
                let until = request.deadline.checked_sub(FOR_THE_STORE).unwrap_or(request.deadline);
                verify(provider, &claim, until).await
            }
            None => Verification::Deferred,
        };
        // A capture is recorded whatever version the caller expects.
        if matches!(command.verification, Verification::Captured(_)) {
            conditions.if_match = None;
        }
        unverified = needed && command.verification == Verification::Deferred;
    }
    match commands.execute(request, &caller, &conditions, loaded, &command).await {
        Err(rejected) if unverified && rejected.status() == 412 => Err(super::unverified(&command.payment_id)),
        executed => respond(&executed?, &command.payment_id),
    }
}

/// The provider's result; deferred without one.
async fn verify(provider: &GuardedProvider<impl PaymentProvider>, claim: &Claim, until: Instant) -> Verification {
    match provider.verify(claim, until).await {
        Ok(Verdict::Captured) => Verification::Captured(claim.amount),
        Ok(Verdict::Declined(reason)) => Verification::Declined(reason),
        Ok(Verdict::Pending) => Verification::Deferred,
        Err(cause) => {
            payments::log(claim, &cause);
            match cause {
                // Money was captured and must be recorded, unless the amount is zero.
                Cause::Failed(VerifyError::OtherAmount { captured }) if captured > Money::ZERO => {
                    Verification::Captured(captured)
                }
                _ => Verification::Deferred,
            }
        }
    }
}

fn respond(executed: &Executed<Order>, payment_id: &PaymentId) -> Result<Answer, Problem> {
    match payment_status(executed, payment_id) {
        Some(PaymentStatus::Rejected(reason)) => Err(declined(&reason, executed.resolution)),
        Some(PaymentStatus::Deferred) => {
            if executed.resolution == Resolution::Stored {
                metrics::counter!("PaymentsDeferred").increment(1);
            }
            let fallback = [("payment", "deferred".into()), ("fallback", true.into())];
            Ok(answer(202, executed, fallback)?.with_header("fallback", "payment-deferred"))
        }
        Some(PaymentStatus::RefundDue(_)) => answer(200, executed, [("payment", "refund-due".into())]),
        Some(PaymentStatus::Refunded) => answer(200, executed, [("payment", "refunded".into())]),
        Some(PaymentStatus::Paid) | None => answer(200, executed, []),
    }
}

/// The status of the payment after the commit of this request, or the recorded one.
fn payment_status(executed: &Executed<Order>, payment_id: &PaymentId) -> Option<PaymentStatus> {
    let recorded = || executed.stream.state().placed()?.payment_status(payment_id);
    executed.outcome.payment.clone().or_else(recorded)
}

fn declined(reason: &Reason, resolution: Resolution) -> Problem {
    let detail = format!("The provider declined this payment: {reason}. Pay in another way.");
    let problem = Problem::new(422, "payment-declined", "The payment was declined", detail);
    if resolution == Resolution::Replayed { problem.with_header("idempotency-replayed", "true") } else { problem }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, OWNER, Shop, body, call, problem, with_header};

    async fn pay(shop: &Shop, event: Value) -> Answer {
        testing::answer(async |request| handle(&shop.paying(), request).await, event).await
    }

    fn payment(order_id: &str, payment_id: &str, amount: f64) -> Value {
        call(OWNER, "orders:write", order_id, &json!({"payment_id": payment_id, "amount": amount}))
    }

    #[tokio::test]
    async fn a_payment_of_the_total_pays_the_order() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let answer = pay(&shop, payment(&order_id, "p1", 44.98)).await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        assert_eq!(answer.header("etag"), Some("\"2\""));
        assert_eq!(body(&answer), json!({"order_id": order_id, "version": 2, "status": "paid"}));
    }

    #[tokio::test]
    async fn another_amount_than_the_total_is_rejected_with_both() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let answer = pay(&shop, payment(&order_id, "p1", 44.9)).await;
        assert_eq!((answer.status(), problem(&answer).as_str()), (422, "amount-mismatch"));
        let detail = body(&answer)["detail"].to_string();
        assert!(detail.contains("is 44.9,") && detail.contains("44.98"), "{detail}");
        assert_eq!(shop.commits().await, 1);
    }

    #[tokio::test]
    async fn a_recorded_payment_is_success_without_an_event() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for _ in 0..2 {
            let answer = pay(&shop, payment(&order_id, "p1", 44.98)).await;
            assert_eq!((answer.status(), &body(&answer)["version"]), (200, &json!(2)));
            assert_eq!(answer.header("idempotency-replayed"), None);
        }
        assert_eq!(shop.commits().await, 2);
    }

    #[tokio::test]
    async fn an_order_cannot_be_paid_twice() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        pay(&shop, payment(&order_id, "p1", 44.98)).await;
        let answer = pay(&shop, payment(&order_id, "p2", 44.98)).await;
        assert_eq!((answer.status(), problem(&answer).as_str()), (409, "order-not-pending"));
        assert_eq!(body(&answer)["order_status"], "paid");
        assert_eq!(shop.commits().await, 2);
    }

    #[tokio::test]
    async fn a_retry_is_replayed_before_if_match_and_the_state_are_checked() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let event = with_header(payment(&order_id, "p1", 44.98), "idempotency-key", "k1");
        let event = with_header(event, "if-match", "\"1\"");
        let first = pay(&shop, event.clone()).await;
        shop.ship(&order_id).await;
        let repeat = pay(&shop, event).await;
        assert_eq!((repeat.status(), repeat.body()), (first.status(), first.body()));
        assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
        assert_eq!(repeat.header("etag"), first.header("etag"));
    }

    #[tokio::test]
    async fn a_rejection_is_not_replayed() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let with = |amount| with_header(payment(&order_id, "p1", amount), "idempotency-key", "k1");
        assert_eq!(pay(&shop, with(1.0)).await.status(), 422);
        assert_eq!(pay(&shop, with(44.98)).await.status(), 200);
    }

    #[tokio::test]
    async fn if_none_match_rejects_the_version_that_it_names() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for excluded in ["*", "\"1\"", "W/\"1\"", "\"7\", \"1\""] {
            let answer = pay(&shop, with_header(payment(&order_id, "p1", 44.98), "if-none-match", excluded)).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (412, "precondition-failed"), "{excluded}");
            assert_eq!(answer.header("etag"), Some("\"1\""));
        }
        let answer = pay(&shop, with_header(payment(&order_id, "p1", 44.98), "if-none-match", "1")).await;
        assert_eq!((answer.status(), &body(&answer)["errors"][0]["path"]), (400, &json!("If-None-Match")));
        assert_eq!(shop.commits().await, 1);
        let event = with_header(payment(&order_id, "p1", 44.98), "if-none-match", "\"7\", \"01\"");
        let event = with_header(event, "idempotency-key", "k1");
        assert_eq!(pay(&shop, event.clone()).await.status(), 200);
        let repeat = pay(&shop, with_header(event, "if-none-match", "\"2\"")).await;
        assert_eq!(repeat.header("idempotency-replayed"), Some("true"), "repeats come before conditions");
    }

    #[tokio::test]
    async fn the_response_for_a_recorded_payment_has_the_current_order_whatever_the_key() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        pay(&shop, with_header(payment(&order_id, "p1", 44.98), "idempotency-key", "k1")).await;
        let satisfied = with_header(payment(&order_id, "p1", 44.98), "idempotency-key", "k2");
        let answer = pay(&shop, satisfied.clone()).await;
        assert_eq!((answer.status(), &body(&answer)["version"]), (200, &json!(2)));
        shop.ship(&order_id).await;
        let answer = pay(&shop, satisfied).await;
        assert_eq!(body(&answer), json!({"order_id": order_id, "version": 3, "status": "shipped"}));
        assert_eq!((answer.header("etag"), answer.header("idempotency-replayed")), (Some("\"3\""), None));
        // Nothing was stored with the key, so it is free for another request.
        let cancel = call(OWNER, "orders:write", &order_id, &json!({"reason": "too late"}));
        let cancel = with_header(cancel, "idempotency-key", "k2");
        let handle = async |request: &Request| crate::commands::cancel_order::handle(&shop.commands, request).await;
        assert_eq!(testing::answer(handle, cancel).await.status(), 200);
        assert_eq!(shop.commits().await, 4);
    }

    #[tokio::test]
    async fn if_match_is_checked_against_the_orders_version() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for stale in ["\"2\"", "W/\"1\"", "\"abc\""] {
            let answer = pay(&shop, with_header(payment(&order_id, "p1", 44.98), "if-match", stale)).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (412, "precondition-failed"), "{stale}");
            assert_eq!(answer.header("etag"), Some("\"1\""));
        }
        assert_eq!(shop.commits().await, 1);
        let answer = pay(&shop, with_header(payment(&order_id, "p1", 44.98), "if-match", "\"7\", \"1\"")).await;
        assert_eq!(answer.status(), 200);
    }

    #[tokio::test]
    async fn another_users_order_is_not_found_whatever_the_version_or_key() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let mut event = payment(&order_id, "p1", 44.98);
        event["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] = "other-user".into();
        let plain = pay(&shop, event.clone()).await;
        assert_eq!((plain.status(), problem(&plain).as_str()), (404, "not-found"));
        let stale = pay(&shop, with_header(event.clone(), "if-match", "\"9\"")).await;
        let unknown = pay(&shop, payment("00000000-0000-4000-8000-000000000000", "p1", 44.98)).await;
        for other in [stale, unknown] {
            assert_eq!(body(&other)["detail"], body(&plain)["detail"]);
            assert_eq!(other.status(), 404);
        }
        assert_eq!(shop.commits().await, 1);
        event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] = "orders:checkout".into();
        assert_eq!(pay(&shop, event).await.status(), 200, "the shop's backend pays any order");
    }
}
