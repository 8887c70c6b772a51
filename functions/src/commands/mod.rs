//! The functions that change orders, and how all of them run a command.

pub mod cancel_order;
pub mod create_order;
pub mod deliver_order;
pub mod pay_order;
pub mod return_order;
pub mod ship_order;
#[cfg(test)]
mod verified_payments;

use dynamodb_event_store::{
    EventStore, Examined, ExecuteError, Executed, IdempotencyKey, Loaded, Metadata, Resolution, StreamId, Versions,
};
use orders_core::domain::{Currency, Decide, DecisionError, Order, PaymentId};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout_at;

use crate::answer::Answer;
use crate::caller::{Caller, Needs};
use crate::config::Config;
use crate::preconditions::Preconditions;
use crate::problem::Problem;
use crate::request::Request;
#[cfg(test)]
use crate::testing::Shop;
use crate::{idempotency, outcomes, ownership, parameters, telemetry};

/// What the functions that change orders share. Created once per container.
#[derive(Clone, Debug)]
pub struct Commands {
    store: EventStore<Order>,
    currency: Currency,
    scope_prefix: String,
}

/// The conditions in a request's headers under which its command runs.
#[derive(Clone)]
struct Conditions {
    key: Option<IdempotencyKey>,
    if_match: Option<Versions>,
}

impl Conditions {
    /// Those on an existing order.
    ///
    /// # Errors
    /// 400 when a header is malformed.
    fn of(request: &Request) -> Result<Self, Problem> {
        Ok(Self { key: idempotency::key(request)?, if_match: Preconditions::of(request)?.versions() })
    }

    /// Those on a new order. It has no version that `If-None-Match` could name.
    ///
    /// # Errors
    /// 400 when a header is malformed, 412 for an `If-Match`, `*` included.
    fn of_new(request: &Request) -> Result<Self, Problem> {
        let conditions = Self { key: idempotency::key(request)?, if_match: None };
        if Preconditions::of(request)?.require_existing() {
            let detail = "A new order has no version. Omit If-Match.";
            return Err(Problem::new(412, "precondition-failed", "The order does not exist yet", detail));
        }
        Ok(conditions)
    }
}

impl Commands {
    /// On the event table that the environment names.
    pub fn new(config: &Config, client: aws_sdk_dynamodb::Client) -> Self {
        let store = config.event_store(client);
        Self { store, currency: config.currency, scope_prefix: config.scope_prefix.clone() }
    }

    /// The caller.
    ///
    /// # Errors
    /// 401 and 403.
    fn authorize(&self, request: &Request, needs: Needs) -> Result<Caller, Problem> {
        Caller::authorize(request, &self.scope_prefix, needs)
    }

    /// Runs a command on the order that the path names.
    ///
    /// # Errors
    /// As [`Commands::find`] and [`Commands::execute`].
    async fn run<C: Decide + Serialize>(
        &self,
        request: &Request,
        caller: &Caller,
        command: &C,
    ) -> Result<Executed<Order>, Problem> {
        let conditions = Conditions::of(request)?;
        let loaded = self.find(request, caller).await?;
        self.execute(request, caller, &conditions, loaded, command).await
    }

    /// The order that the path names, if the caller may access it.
    ///
    /// This comes before everything that could reveal the order's version or its commands.
    ///
    /// # Errors
    /// 400 for an invalid id, 404 for an order that does not exist or is someone else's, 500 and 503.
    async fn find(&self, request: &Request, caller: &Caller) -> Result<Loaded<Order>, Problem> {
        let stream = StreamId::from(parameters::order_id(request)?);
        let found = timeout_at(request.deadline, self.store.find(&stream)).await;
        let found = found.inspect_err(|_| outcomes::count_failure()).map_err(Problem::unavailable)?;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                outcomes::count_failure();
                return Err(ownership::visible_failure(&self.store, &stream, request, caller, error.into()).await);
            }
        };
        request.admission.admitted().await;
        let is_theirs = |loaded: &Loaded<Order>| {
            let order = loaded.stream().state().placed();
            order.is_some_and(|order| caller.may_touch(&order.user_id))
        };
        found.filter(is_theirs).ok_or_else(|| Problem::not_found("order"))
    }

    /// Runs a command on a loaded order: a repeat replays its response, then the preconditions are checked, then the
    /// state.
    ///
    /// # Errors
    /// 409, 412 and 422 when it was rejected, 503 when it was not run or the outcome is unknown.
    async fn execute<C: Decide + Serialize>(
        &self,
        request: &Request,
        caller: &Caller,
        conditions: &Conditions,
        loaded: Loaded<Order>,
        command: &C,
    ) -> Result<Executed<Order>, Problem> {
        let order_id = loaded.stream().id().to_string();
        let work = work(request, caller, conditions, loaded.stream().id(), command)?;
        request.admission.admitted().await;
        let executed = self.store.execute(loaded, &work, |order, now| command.decide(order, now)).await;
        outcomes::count(&executed);
        executed.map_err(|error| self.problem(error, &order_id, conditions.key.is_some()))
    }

    /// The same checks, with `check` in place of the command's decision; nothing is stored.
    ///
    /// # Errors
    /// Those with which [`Commands::execute`] would not run the command.
    async fn examine<C: Decide + Serialize, T>(
        &self,
        request: &Request,
        caller: &Caller,
        conditions: &Conditions,
        loaded: Loaded<Order>,
        command: &C,
        check: impl Fn(&Order) -> Result<T, DecisionError>,
    ) -> Result<Examined<Order, T>, Problem> {
        let order_id = loaded.stream().id().to_string();
        let work = work(request, caller, conditions, loaded.stream().id(), command)?;
        let examined = self.store.examine(loaded, &work, check).await;
        match &examined {
            Ok(Examined::Replayed(executed)) => outcomes::count_resolution(executed.resolution),
            Ok(Examined::Ready(..)) => {}
            Err(error) => outcomes::count_error(error),
        }
        examined.map_err(|error| self.problem(error, &order_id, conditions.key.is_some()))
    }

    fn problem(&self, error: ExecuteError<DecisionError>, order_id: &str, keyed: bool) -> Problem {
        match error {
            ExecuteError::Rejected(error) => self.rejection(&error),
            ExecuteError::PreconditionFailed { current } => Problem::precondition_failed(current),
            ExecuteError::KeyReused => Problem::new(
                422,
                "idempotency-key-reused",
                "The idempotency key was used before",
                "This Idempotency-Key was used with another request. Use a new key for a new request.",
            ),
            ExecuteError::Contended => Problem::try_again(
                "contended",
                "Too many concurrent changes",
                "This order is being changed by other requests. Nothing was stored. Try again.",
            ),
            ExecuteError::OutcomeUnknown(source) => {
                let detail = if keyed {
                    "It is unknown whether this was stored. Retry with the same Idempotency-Key to find out."
                } else {
                    "It is unknown whether this was stored. Read the order at order_id before you retry."
                };
                let problem = Problem::try_again("outcome-unknown", "The outcome is unknown", detail);
                problem.with_member("order_id", order_id).caused_by(source)
            }
            ExecuteError::TooLarge { bytes } => {
                Problem::internal(format!("the commit would take {bytes} bytes, which the limits should not allow"))
            }
            ExecuteError::Store(error) => error.into(),
        }
    }

    fn rejection(&self, error: &DecisionError) -> Problem {
        let amount = |amount| self.currency.to_json(amount);
        let (status, title) = match error {
            DecisionError::NotFound => return Problem::not_found("order"),
            DecisionError::PaymentUnverified(payment_id) => return unverified(payment_id),
            DecisionError::AlreadyExists | DecisionError::WrongStatus { .. } | DecisionError::PaymentInProgress(_) => {
                (409, "The order's state does not allow this")
            }
            _ => (422, "The request breaks a rule"),
        };
        let detail = match error {
            DecisionError::AmountMismatch { total, given } => {
                format!("The amount is {}, but the order's total is {}. Pay the total.", amount(*given), amount(*total))
            }
            DecisionError::PaymentAmountDiffers { payment_id, recorded, given } => format!(
                "The amount is {}, but payment {payment_id} is recorded with {}.",
                amount(*given),
                amount(*recorded)
            ),
            other => sentence(&other.to_string()),
        };
        let problem = Problem::new(status, error.code(), title, detail);
        match error {
            DecisionError::WrongStatus { actual, .. } => problem.with_member("order_status", actual.as_str()),
            _ => problem,
        }
    }
}

/// 503: the order cannot accept the payment in its state, but the provider may have captured it.
fn unverified(payment_id: &PaymentId) -> Problem {
    let detail = format!(
        "The order cannot accept payment {payment_id}, but the provider may have captured it, and does not respond. \
         Nothing was stored. Retry with the same Idempotency-Key."
    );
    Problem::try_again("payment-unverified", "It is unknown whether the payment was captured", detail)
}

/// The request to the event store.
fn work<C: Decide + Serialize>(
    request: &Request,
    caller: &Caller,
    conditions: &Conditions,
    stream: &StreamId,
    command: &C,
) -> Result<dynamodb_event_store::Request, Problem> {
    Ok(dynamodb_event_store::Request {
        key: idempotency::commit_key(conditions.key.as_ref(), stream, caller, command)?,
        metadata: Metadata {
            actor: caller.user().to_string(),
            correlation_id: request.correlation_id.clone(),
            causation_id: request.causation_id.clone(),
            trace: telemetry::trace(),
        },
        if_match: conditions.if_match.clone(),
        deadline: request.deadline,
    })
}

/// The response that all commands have: order, version and status, and what a command adds. A repeat replays the first
/// response and says so.
fn answer<const N: usize>(
    http_status: u16,
    executed: &Executed<Order>,
    more: [(&str, Value); N],
) -> Result<Answer, Problem> {
    let order_id = executed.stream.id().as_str();
    let Some(status) = executed.outcome.status else {
        return Err(Problem::internal(format!("a command on order {order_id} ended without an order")));
    };
    let mut body = json!({"order_id": order_id, "version": executed.version, "status": status.as_str()});
    more.into_iter().for_each(|(name, value)| body[name] = value);
    let answer = Answer::json(http_status, &body).with_etag(executed.version);
    Ok(match executed.resolution {
        Resolution::Replayed => answer.with_header("idempotency-replayed", "true"),
        Resolution::Stored | Resolution::Unchanged => answer,
    })
}

/// Runs the command function of this name, for tests of all of them.
#[cfg(test)]
pub(crate) async fn handle(shop: &Shop, function: &str, request: &Request) -> Result<Answer, Problem> {
    let commands = &shop.commands;
    match function {
        "create-order" => create_order::handle(commands, request).await,
        "pay-order" => pay_order::handle(&shop.paying(), request).await,
        "ship-order" => ship_order::handle(commands, request).await,
        "deliver-order" => deliver_order::handle(commands, request).await,
        "return-order" => return_order::handle(commands, request).await,
        "cancel-order" => cancel_order::handle(commands, request).await,
        _ => panic!("there is no function {function}"),
    }
}

/// An error's text as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| format!("{}{}.", first.to_uppercase(), chars.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use dynamodb_testkit::faults::Fault;
    use serde_json::json;

    use super::*;
    use crate::payments::Payments;
    use crate::testing::{self, OWNER, Shop, body, call, problem, with_header};

    async fn pay(shop: &Shop, order_id: &str, key: &str) -> Answer {
        let event = call(OWNER, "orders:write", order_id, &json!({"payment_id": "p1", "amount": 44.98}));
        let pay = async |request: &Request| pay_order::handle(&shop.paying(), request).await;
        testing::answer(pay, with_header(event, "idempotency-key", key)).await
    }

    #[tokio::test]
    async fn an_unreachable_database_is_reported_without_internals() {
        let commands = testing::unreachable();
        let paying: pay_order::VerifiedCommands =
            pay_order::VerifiedCommands { commands: commands.clone(), payments: Payments::Trusted };
        let create = async |request: &Request| create_order::handle(&commands, request).await;
        let pay = async |request: &Request| pay_order::handle(&paying, request).await;
        let created = testing::answer(create, testing::event("create-order")).await;
        let paid = testing::answer(pay, testing::event("pay-order")).await;
        for (answer, name) in [(created, "outcome-unknown"), (paid, "unavailable")] {
            assert_eq!((answer.status(), problem(&answer).as_str()), (503, name));
            assert_eq!(answer.header("retry-after"), Some("1"));
            for inside in ["127.0.0.1", "table", "connect", "dispatch"] {
                assert!(!answer.body().contains(inside), "{}", answer.body());
            }
        }
    }

    #[tokio::test]
    async fn creating_is_one_call_and_any_other_command_two() {
        let shop = Shop::open_with_faults().await;
        let order_id = shop.create_order(44.98).await;
        assert_eq!(shop.faults().take_calls().operations(), ["PutItem"]);
        assert_eq!(pay(&shop, &order_id, "k1").await.status(), 200);
        let calls = shop.faults().take_calls();
        assert_eq!((calls.operations(), calls.units()), (vec!["Query", "PutItem"], 1.5));
        assert_eq!(pay(&shop, &order_id, "k1").await.header("idempotency-replayed"), Some("true"));
        assert_eq!(shop.faults().take_calls().operations(), ["Query"]);
    }

    #[tokio::test]
    async fn an_order_that_a_stale_read_misses_is_found() {
        let shop = Shop::open_with_faults().await;
        let order_id = shop.create_order(44.98).await;
        shop.faults().plan(|_| Some(Fault::Stale(1)));
        let answer = pay(&shop, &order_id, "k1").await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
    }

    #[tokio::test]
    async fn a_stale_read_rejects_no_command_and_no_version() {
        let shop = Shop::open_with_faults().await;
        let order_id = shop.create_order(44.98).await;
        pay(&shop, &order_id, "k1").await;
        shop.faults().plan(|_| Some(Fault::Stale(1)));
        let event = call("fulfilment", "orders:fulfil", &order_id, &json!({"tracking_number": "TRK-1"}));
        let ship = async |request: &Request| ship_order::handle(&shop.commands, request).await;
        let answer = testing::answer(ship, with_header(event, "if-match", "\"2\"")).await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
    }

    #[tokio::test]
    async fn a_payment_that_was_stored_succeeds_though_the_databases_response_was_lost() {
        let shop = Shop::open_with_faults().await;
        let order_id = shop.create_order(44.98).await;
        shop.faults().plan(|call| (call.operation == "PutItem" && call.attempt == 1).then_some(Fault::LoseResponse));
        let answer = pay(&shop, &order_id, "k1").await;
        assert_eq!((answer.status(), answer.header("idempotency-replayed")), (200, None), "{}", answer.body());
        assert_eq!(shop.commits().await, 2);
    }

    #[tokio::test]
    async fn a_repeat_with_the_same_key_settles_an_unknown_outcome() {
        let shop = Shop::open_with_faults().await;
        let order_id = shop.create_order(44.98).await;
        let mut stored = false;
        shop.faults().plan(move |call| {
            stored |= call.operation == "PutItem";
            stored.then_some(Fault::LoseResponse)
        });
        let unknown = pay(&shop, &order_id, "k1").await;
        assert_eq!((unknown.status(), problem(&unknown).as_str()), (503, "outcome-unknown"));
        assert!(body(&unknown)["detail"].as_str().unwrap().contains("same Idempotency-Key"));
        assert_eq!(body(&unknown)["order_id"], order_id);
        shop.faults().clear();
        let repeat = pay(&shop, &order_id, "k1").await;
        assert_eq!((repeat.status(), repeat.header("idempotency-replayed")), (200, Some("true")));
        assert_eq!(shop.commits().await, 2);
    }
}
