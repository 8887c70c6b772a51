//! `override-breaker`: an administrator forces a circuit breaker open or closed, or resets it.
//!
//! A request names the desired state, so it needs no idempotency key.

use std::str::FromStr;

use dynamodb_circuit_breaker::{Action, CircuitBreaker, Malformed, Override};
use orders_core::domain::Reason;
use serde::Deserialize;
use service_clock::Timestamp;

use crate::answer::Answer;
use crate::body::{self, Given};
use crate::breakers::{self, TIMEOUT, micros};
use crate::caller::{Caller, Needs};
use crate::config::{Config, ConfigError};
use crate::payments;
use crate::preconditions::Preconditions;
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: None, any: &[] };

/// All circuit breakers. Created once per container.
pub struct Breakers {
    /// The breakers.
    pub breakers: Vec<CircuitBreaker>,
    /// The prefix of the scopes.
    pub scope_prefix: String,
}

impl Breakers {
    /// From the environment.
    ///
    /// # Errors
    /// A variable that is missing or invalid.
    pub fn from_env(config: &Config, client: aws_sdk_dynamodb::Client) -> Result<Self, ConfigError> {
        let breakers = vec![payments::breaker(|variable| std::env::var(variable).ok(), &client, TIMEOUT)?];
        Ok(Self { breakers, scope_prefix: config.scope_prefix.clone() })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    state: Given<Forced>,
    reason: Given<Reason>,
    #[serde(default, deserialize_with = "body::present")]
    until: Option<String>,
}

/// Parsed from the text, since a derived `Deserialize` accepts `{"open": null}` too.
#[derive(Clone, Copy)]
enum Forced {
    Open,
    Closed,
    Reset,
}

impl FromStr for Forced {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            "none" => Ok(Self::Reset),
            _ => Err("must be open, closed or none"),
        }
    }
}

/// Responds 200 with the breaker's new state.
///
/// # Errors
/// 400, 401, 403; 404 for a breaker that does not exist; 412, since breakers have no entity tag; 503 when it is unknown
/// whether the override was stored.
pub async fn handle(breakers: &Breakers, request: &Request) -> Result<Answer, Problem> {
    let caller = Caller::authorize(request, &breakers.scope_prefix, NEEDS)?;
    let name = request.path_parameter("name").unwrap_or_default();
    let breaker = breakers.breakers.iter().find(|breaker| breaker.name() == name);
    let breaker = breaker.ok_or_else(|| Problem::not_found("circuit breaker"))?;
    let body: Body = body::parse(request)?;
    if !Preconditions::of(request)?.hold_without_tag() {
        return Err(Problem::not_selected(None));
    }
    let requested = Override {
        action: action(&body, request.now)?,
        by: caller.to_string(),
        why: body.reason.0.as_str().to_owned(),
    };
    request.admission.admitted().await;
    // The item stores only the last override, and a response may be lost.
    let (action, by) = (requested.action.to_string(), requested.by.as_str());
    tracing::warn!(breaker = name, action, by, until = body.until, "override requested");
    let circuit = breaker.set_override(&requested).await.map_err(|error| {
        if error.0.is::<Malformed>() {
            return Problem::internal(error);
        }
        let detail = "It is unknown whether this was stored. Retry the request.";
        Problem::try_again("outcome-unknown", "The outcome is unknown", detail).caused_by(error)
    })?;
    Ok(Answer::json(200, &breakers::show(breaker, &circuit, request.now)))
}

fn action(body: &Body, now: Timestamp) -> Result<Action, Problem> {
    let invalid = |detail: &str| Problem::invalid_field("until", detail);
    let until = match &body.until {
        None => None,
        Some(text) => {
            let until: Timestamp = text.parse().map_err(|_| invalid("must be a time such as 2026-11-24T12:00:00Z"))?;
            Some(until).filter(|until| *until > now).ok_or_else(|| invalid("must be in the future")).map(Some)?
        }
    };
    let until = until.map(micros);
    match body.state.0 {
        Forced::Open => Ok(Action::ForceOpen { until }),
        Forced::Closed => Ok(Action::ForceClosed { until }),
        Forced::Reset if until.is_some() => Err(invalid("must be omitted with state none, which has no end")),
        Forced::Reset => Ok(Action::Reset),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use dynamodb_testkit::faults::Fault;
    use orders_local::payments::Mode;
    use serde_json::{Value, json};

    use super::*;
    use crate::commands::pay_order;
    use crate::testing::{self, OWNER, Shop, body, call, event, problem, with_header};

    fn put(scopes: &str, name: &str, sent: &Value) -> Value {
        let mut event = call("admin", scopes, "", sent);
        event["requestContext"]["http"]["method"] = "PUT".into();
        event["pathParameters"] = json!({"name": name});
        event
    }

    async fn send(shop: &Shop, event: Value) -> Answer {
        let breakers = shop.breakers();
        testing::answer(async |request| handle(&breakers, request).await, event).await
    }

    async fn set_override(shop: &Shop, sent: &Value) -> Value {
        let answer = send(shop, put("orders:admin", "payments", sent)).await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        body(&answer)
    }

    /// The status of an attempt to pay a new order.
    async fn pay(shop: &Shop) -> u16 {
        let order_id = shop.create_order(1.0).await;
        let pay = async |request: &_| pay_order::handle(&shop.paying(), request).await;
        let sent = json!({"payment_id": "p1", "amount": 1});
        testing::answer(pay, call(OWNER, "orders:write", &order_id, &sent)).await.status()
    }

    fn ahead() -> Timestamp {
        Timestamp::now() + TimeDelta::hours(1)
    }

    #[tokio::test]
    async fn the_sample_event_gets_the_breaker_and_who_forced_it() {
        let shop = Shop::open().await;
        let mut sent = event("override-breaker");
        let until = ahead().to_string();
        sent["body"] = json!({"state": "open", "reason": "Wrong answers", "until": until}).to_string().into();
        let answer = send(&shop, sent).await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        let shown = body(&answer);
        assert_eq!(
            (&shown["name"], &shown["state"], &shown["generation"]),
            (&"payments".into(), &"open".into(), &1.into())
        );
        assert_eq!(shown["open_until"], json!(until));
        let last = &shown["override"];
        assert_eq!(
            (&last["state"], &last["in_force"], &last["by"], &last["reason"], &last["until"]),
            (&json!("open"), &json!(true), &json!("admin"), &json!("Wrong answers"), &json!(until))
        );
        assert!(last["since"].as_str().unwrap().parse::<Timestamp>().is_ok());
    }

    #[tokio::test]
    async fn a_breaker_that_is_forced_open_defers_payments_without_a_call_until_the_override_ends() {
        let (mut shop, provider, served) = Shop::with_provider("failures=3; calls=3").await;
        set_override(&shop, &json!({"state": "open", "reason": "Wrong answers"})).await;
        assert_eq!((pay(&shop).await, provider.requests()), (202, 0));
        let shown = set_override(&shop, &json!({"state": "none", "reason": "They are right again"})).await;
        assert_eq!(
            (&shown["state"], &shown["override"]["state"], &shown["override"]["in_force"]),
            (&json!("closed"), &json!("none"), &json!(false))
        );
        // A new container reads the state at once; others do after the cache time.
        shop.payments = shop.verified(&served.url, "failures=3; calls=3");
        assert_eq!((pay(&shop).await, provider.requests()), (200, 1));
    }

    #[tokio::test]
    async fn a_breaker_that_is_forced_closed_calls_a_failing_provider_every_time() {
        let (shop, provider, _served) = Shop::with_provider("failures=3; calls=3; open=1h; open-max=1h").await;
        set_override(&shop, &json!({"state": "closed", "reason": "Their status page says so", "until": ahead()})).await;
        provider.set_mode(Mode::Down);
        for requests in 1..=6 {
            assert_eq!((pay(&shop).await, provider.requests()), (202, requests));
        }
    }

    #[tokio::test]
    async fn a_repeated_request_changes_nothing() {
        let shop = Shop::open().await;
        let sent = json!({"state": "open", "reason": "Wrong answers", "until": ahead()});
        let (first, second) = (set_override(&shop, &sent).await, set_override(&shop, &sent).await);
        assert_eq!(first, second);
    }

    #[tokio::test]
    async fn only_administrators_may_override_and_only_a_breaker_that_exists() {
        let shop = Shop::open().await;
        let sent = json!({"state": "open", "reason": "x"});
        for scopes in ["orders:read orders:write", "orders:fulfil", "orders:checkout", ""] {
            let answer = send(&shop, put(scopes, "payments", &sent)).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (403, "forbidden"), "{scopes}");
        }
        for name in ["", "payment", "Payments", "shipping", "é"] {
            let answer = send(&shop, put("orders:admin", name, &sent)).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (404, "not-found"), "{name}");
        }
        assert_eq!(
            set_override(&shop, &json!({"state": "none", "reason": "x"})).await["generation"],
            1,
            "nothing was stored"
        );
    }

    #[tokio::test]
    async fn a_bad_body_is_400_with_its_field_and_stores_nothing() {
        let shop = Shop::open().await;
        let good = json!({"state": "open", "reason": "x"});
        let long = "x".repeat(501);
        for (field, value) in [
            ("state", json!("half-open")),
            ("state", json!("Open")),
            ("state", json!(null)),
            ("state", json!({"open": null})),
            ("reason", json!("")),
            ("reason", json!(long)),
            ("reason", json!("a\u{202e}b")),
            ("reason", json!("\u{200b}")),
            ("reason", json!(null)),
            ("until", json!("tomorrow")),
            ("until", json!("2020-01-01T00:00:00Z")),
            ("until", json!("2026-13-01T00:00:00Z")),
            ("until", json!(1_900_000_000)),
            ("until", json!(null)),
            ("untill", json!("2999-01-01T00:00:00Z")),
        ] {
            let mut sent = good.clone();
            sent[field] = value;
            let answer = send(&shop, put("orders:admin", "payments", &sent)).await;
            assert_eq!(answer.status(), 400, "{sent}");
            assert_eq!(body(&answer)["errors"][0]["path"], field, "{sent}: {}", answer.body());
        }
        for missing in ["state", "reason"] {
            let mut sent = good.clone();
            sent.as_object_mut().unwrap().remove(missing);
            let answer = send(&shop, put("orders:admin", "payments", &sent)).await;
            assert_eq!(body(&answer)["errors"][0]["path"], missing);
        }
        let endless = json!({"state": "none", "reason": "x", "until": ahead()});
        let answer = send(&shop, put("orders:admin", "payments", &endless)).await;
        assert_eq!((answer.status(), &body(&answer)["errors"][0]["path"]), (400, &json!("until")));
        assert_eq!(set_override(&shop, &good).await["generation"], 1, "nothing was stored before");
    }

    #[tokio::test]
    async fn preconditions_apply_to_a_breaker_that_has_no_entity_tag() {
        let shop = Shop::open().await;
        for (header, value, status) in [
            ("if-match", "*", 200),
            ("if-match", "\"1\"", 412),
            ("if-none-match", "\"1\"", 200),
            ("if-none-match", "*", 412),
            ("if-match", "1", 400),
        ] {
            let sent = put("orders:admin", "payments", &json!({"state": "none", "reason": "x"}));
            let answer = send(&shop, with_header(sent, header, value)).await;
            assert_eq!(answer.status(), status, "{header}: {value}");
        }
    }

    #[tokio::test]
    async fn an_unavailable_table_is_503_with_an_unknown_outcome() {
        let shop = Shop::open_with_faults().await;
        shop.faults().plan(|call| call.table.contains("CircuitBreakers").then_some(Fault::Fail));
        let answer = send(&shop, put("orders:admin", "payments", &json!({"state": "open", "reason": "x"}))).await;
        assert_eq!((answer.status(), problem(&answer).as_str()), (503, "outcome-unknown"));
        assert!(answer.header("retry-after").is_some());
    }
}
