//! `ops-status`: circuit breakers, rate limits and deferred payments.

use std::collections::BTreeMap;

use dynamodb_circuit_breaker::CircuitBreaker;
use dynamodb_rate_limit::Policy;
use orders_core::error::chain;
use orders_core::read_model::{DeferredCount, Orders};
use serde_json::json;

use crate::answer::Answer;
use crate::breakers::{self, TIMEOUT};
use crate::caller::{Caller, Needs};
use crate::config::{self, Config, ConfigError};
use crate::payments;
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: None, any: &[] };

/// What the status shows. Created once per container.
pub struct Operations {
    /// The rows, which list deferred payments.
    pub rows: Orders,
    /// The breakers.
    pub breakers: Vec<CircuitBreaker>,
    /// The policies of the limiters, by what they limit.
    pub limits: BTreeMap<&'static str, Policy>,
    /// The prefix of the scopes.
    pub scope_prefix: String,
}

impl Operations {
    /// From the environment.
    ///
    /// # Errors
    /// A variable that is missing or invalid.
    pub fn from_env(config: &Config, client: aws_sdk_dynamodb::Client) -> Result<Self, ConfigError> {
        Ok(Self {
            breakers: vec![payments::breaker(|variable| std::env::var(variable).ok(), &client, TIMEOUT)?],
            rows: Orders::new(client, &config.orders_table),
            limits: BTreeMap::from([
                ("create", config::setting("CREATE_RATE_LIMIT")?),
                ("change", config::setting("CHANGE_RATE_LIMIT")?),
                ("read", config::setting("READ_RATE_LIMIT")?),
            ]),
            scope_prefix: config.scope_prefix.clone(),
        })
    }
}

/// Responds with the breakers, the limits and the number of deferred payments. The state of a breaker whose table is
/// unavailable is `unknown`.
///
/// # Errors
/// 401, 403; 503 when the rows cannot be counted.
pub async fn handle(operations: &Operations, request: &Request) -> Result<Answer, Problem> {
    Caller::authorize(request, &operations.scope_prefix, NEEDS)?;
    let breakers = operations.breakers.iter().map(|breaker| async {
        match breaker.inspect().await {
            Ok(circuit) => breakers::show(breaker, &circuit, request.now),
            Err(error) => {
                tracing::warn!(breaker = breaker.name(), error = chain(&error), "circuit state unknown");
                json!({"name": breaker.name(), "state": "unknown"})
            }
        }
    });
    let (breakers, waiting) = tokio::join!(futures::future::join_all(breakers), operations.rows.deferred_count());
    let DeferredCount { waiting, and_more, oldest } = waiting?;
    let age = oldest.map(|oldest| (request.now - oldest).num_seconds().max(0));
    Ok(Answer::json(
        200,
        &json!({
            "breakers": breakers,
            "limits": operations.limits.iter().map(|(what, policy)| (*what, policy.to_string())).collect::<BTreeMap<_, _>>(),
            "deferred_payments": {
                "waiting": waiting, "and_more": and_more, "oldest": oldest, "oldest_age_seconds": age,
            },
        }),
    ))
}

#[cfg(test)]
mod tests {
    use orders_core::domain::{Money, PayOrder, Verification};
    use orders_local::payments::Mode;
    use service_clock::Timestamp;

    use super::*;
    use crate::commands::pay_order;
    use crate::testing::{self, OWNER, Shop, ask, body, call, problem};

    async fn status(shop: &Shop, scopes: &str) -> Answer {
        let operations = shop.operations();
        testing::answer(async |request| handle(&operations, request).await, ask("admin", scopes, "", "")).await
    }

    #[tokio::test]
    async fn an_idle_service_has_a_closed_breaker_and_no_deferred_payments() {
        let answer = status(&Shop::open().await, "orders:admin").await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        let expected = json!({
            "breakers": [{
                "name": "payments", "state": "closed", "generation": 0, "since": null, "opened_in_a_row": 0,
                "override": null, "window": {"seconds": 20, "failures": 0, "successes": 0},
            }],
            "limits": {"read": "sliding-window; limit=3000; window=60s; by=user; name=read"},
            "deferred_payments": {"waiting": 0, "and_more": false, "oldest": null, "oldest_age_seconds": null},
        });
        assert_eq!(body(&answer), expected);
    }

    #[tokio::test]
    async fn an_outage_shows_as_an_open_breaker_and_deferred_payments() {
        let (shop, provider, _served) = Shop::with_provider("failures=3; calls=3; open=1h; open-max=1h").await;
        provider.set_mode(Mode::Down);
        for n in 0..4 {
            let order_id = shop.create_order(1.0).await;
            let payment = json!({"payment_id": format!("p{n}"), "amount": 1});
            let pay = async |request: &_| pay_order::handle(&shop.paying(), request).await;
            testing::answer(pay, call(OWNER, "orders:write", &order_id, &payment)).await;
        }
        shop.project().await;
        let shown = body(&status(&shop, "orders:admin").await);
        let breaker = &shown["breakers"][0];
        assert_eq!(
            (&breaker["state"], &breaker["generation"], &breaker["window"]["failures"]),
            (&json!("open"), &json!(1), &json!(3))
        );
        for time in [&breaker["since"], &breaker["open_until"], &shown["deferred_payments"]["oldest"]] {
            time.as_str().unwrap().parse::<Timestamp>().unwrap();
        }
        assert_eq!(shown["deferred_payments"]["waiting"], 4);
        assert!(shown["deferred_payments"]["oldest_age_seconds"].as_i64().unwrap() < 60);
    }

    #[tokio::test]
    async fn only_administrators_see_the_status() {
        let shop = Shop::open().await;
        for scopes in ["orders:read orders:write", "orders:fulfil", "orders:checkout", ""] {
            let answer = status(&shop, scopes).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (403, "forbidden"), "{scopes}");
        }
    }

    #[tokio::test]
    async fn a_breaker_whose_table_is_unavailable_is_shown_as_unknown() {
        let shop = Shop::open_with_faults().await;
        let order_id = shop.create_order(1.0).await;
        let deferred =
            PayOrder { payment_id: "p1".parse().unwrap(), amount: Money(100), verification: Verification::Deferred };
        shop.run(&order_id, &deferred).await;
        shop.project().await;
        shop.faults()
            .plan(|call| call.table.contains("CircuitBreakers").then_some(dynamodb_testkit::faults::Fault::Fail));
        let shown = body(&status(&shop, "orders:admin").await);
        assert_eq!(shown["breakers"], json!([{"name": "payments", "state": "unknown"}]));
        assert_eq!(shown["deferred_payments"]["waiting"], 1);
    }
}
