//! Rate limits: each request is counted while it is processed, and has no effect before it is admitted.

use std::pin::pin;

use aws_sdk_dynamodb::Client;
use dynamodb_rate_limit::{By, Checked, DynamoTable, Limiter, Subject};
use futures::future::{Either, select};
use serde_json::json;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::answer::Answer;
use crate::config::{self, ConfigError};
use crate::problem::Problem;
use crate::request::Request;

/// The rate limit of a function.
#[derive(Debug)]
pub struct Limits {
    limiter: Limiter<DynamoTable>,
}

/// Headers of a response.
type Fields = Vec<(&'static str, String)>;

impl Limits {
    /// From the environment. Connects to the table before any caller waits.
    ///
    /// # Errors
    /// The policy or the table's name is missing or invalid.
    pub async fn from_env(client: &Client) -> Result<Self, ConfigError> {
        let policy = config::setting("RATE_LIMIT")?;
        let table = DynamoTable::new(client, config::setting::<String>("RATE_LIMITS_TABLE")?);
        table.connect().await;
        Ok(Self::new(Limiter::new(table, policy)))
    }

    /// With this limiter.
    pub fn new(limiter: Limiter<DynamoTable>) -> Self {
        Self { limiter }
    }

    /// Counts a request while it is `handled`, and returns the handler's response unless the request is rejected.
    ///
    /// # Errors
    /// Those of the handler; 429; 503 if the request cannot be counted and the policy denies it then.
    pub(crate) async fn admit(
        &self,
        request: &Request,
        handled: impl Future<Output = Result<Answer, Problem>>,
    ) -> Result<Answer, Problem> {
        let checked = async {
            let fields = Box::pin(self.check(request)).await;
            if fields.is_ok() {
                request.admission.admit();
            }
            fields
        };
        let (outcome, fields) = match select(pin!(checked), pin!(handled)).await {
            Either::Left((fields, handled)) => {
                let fields = fields?;
                (handled.await, fields)
            }
            Either::Right((outcome, checked)) => (outcome, checked.await?),
        };
        let with = |outcome: Result<Answer, Problem>, (name, value): (&'static str, String)| match outcome {
            Ok(answer) => Ok(answer.with_header(name, value)),
            Err(problem) => Err(problem.with_header(name, value)),
        };
        fields.into_iter().fold(outcome, with)
    }

    async fn check(&self, request: &Request) -> Result<Fields, Problem> {
        // Without a subject the handler rejects the request.
        let Some(subject) = self.subject(request) else { return Ok(Fields::new()) };
        let policy = self.limiter.policy();
        let span = tracing::info_span!(
            target: "trace", "rate limit", policy = policy.name, allowed = Empty, degraded = Empty,
        );
        let checked = self.limiter.check(&subject).instrument(span.clone()).await;
        span.record("allowed", checked.decision().allowed);
        span.record("degraded", checked.error().is_some());
        drop(span);
        if let Some(error) = checked.error() {
            // An alarm counts these lines, so they are logged at every level.
            tracing::error!(%error, on_error = ?policy.on_error, "not counted");
        }
        let fields = checked.fields(policy);
        let decision = match checked {
            checked if checked.decision().allowed => return Ok(fields),
            Checked::Uncounted(_, error) => return Err(Problem::unavailable(error)),
            Checked::Decided(decision) | Checked::Degraded(decision, _) => decision,
        };
        // A function has one policy.
        metrics::counter!("RequestsLimited").increment(1);
        let seconds = decision.retry_after_seconds();
        let detail = format!("Nothing was stored. Try again in {seconds} s, and spread requests over time.");
        let problem = Problem::new(429, "rate-limited", "Too many requests", detail)
            .with_member("violated-policies", json!([policy.name]))
            .with_header("retry-after", seconds.to_string());
        Err(fields.into_iter().fold(problem, |problem, (name, value)| problem.with_header(name, value)))
    }

    fn subject(&self, request: &Request) -> Option<Subject> {
        match self.limiter.policy().by {
            By::User => request.claim("sub").map(Subject::user),
            By::Address => Some(Subject::address(request.source_address())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dynamodb_rate_limit::Policy;
    use dynamodb_testkit::faults::Fault;
    use dynamodb_testkit::proxy::Proxy;
    use orders_local::payments::PaymentProvider;
    use orders_tests::database::TestTables;
    use serde_json::Value;

    use super::*;
    use crate::commands::pay_order::VerifiedCommands;
    use crate::commands::{cancel_order, create_order, pay_order};
    use crate::testing::{self, OWNER, Shop, body, call, problem, with_header};

    /// A service with limits, and faults between them and their table.
    struct Bench {
        shop: Shop,
        tables: TestTables,
        proxy: Proxy,
    }

    impl Bench {
        async fn new() -> Self {
            let tables = TestTables::create(&["RateLimits"]).await;
            let proxy = Proxy::start(tables.endpoint());
            Self { shop: Shop::open_with_faults().await, tables, proxy }
        }

        fn limits(&self, policy: &str, timeout: Duration) -> Limits {
            let client = self.proxy.client(timeout);
            let table = DynamoTable::with_timeout(&client, self.tables.name("RateLimits"), timeout);
            let policy: Policy = policy.parse().unwrap();
            Limits::new(Limiter::new(table, policy))
        }

        /// With a timeout for a busy machine.
        fn patient(&self, policy: &str) -> Limits {
            self.limits(policy, Duration::from_secs(30))
        }

        async fn cancel(&self, limits: &Limits, event: Value) -> Answer {
            let handle = async |request: &Request| cancel_order::handle(&self.shop.commands, request).await;
            testing::limited(limits, handle, event).await
        }
    }

    const ONCE: &str = "token-bucket; rate=1/h; burst=1; by=user";
    const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

    fn cancel(order_id: &str) -> Value {
        call(OWNER, "orders:write", order_id, &json!({"reason": "changed my mind"}))
    }

    #[tokio::test]
    async fn every_response_has_the_remaining_quota() {
        let bench = Bench::new().await;
        let limits = bench.patient("token-bucket; rate=1/m; burst=3; by=user; name=change");
        let order_id = bench.shop.create_order(10.0).await;
        for (order_id, status, left) in [(order_id.as_str(), 200, 2), (order_id.as_str(), 409, 1), (UNKNOWN, 404, 0)] {
            let answer = bench.cancel(&limits, cancel(order_id)).await;
            assert_eq!(answer.status(), status, "{}", answer.body());
            assert_eq!(answer.header("ratelimit-policy"), Some("\"change\";q=3;w=180"));
            let field = answer.header("ratelimit").unwrap();
            assert!(field.starts_with(&format!("\"change\";r={left};t=")), "{field}");
        }
        let rejected = bench.cancel(&limits, cancel(UNKNOWN)).await;
        assert_eq!((rejected.status(), problem(&rejected).as_str()), (429, "rate-limited"), "{}", rejected.body());
        assert_eq!(body(&rejected)["violated-policies"], json!(["change"]));
        assert_eq!(rejected.header("ratelimit-policy"), Some("\"change\";q=3;w=180"));
        let wait: u64 = rejected.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(rejected.header("ratelimit"), Some(format!("\"change\";r=0;t={wait}").as_str()));
    }

    #[tokio::test]
    async fn a_rate_limited_command_stores_nothing_however_late_the_rejection_comes() {
        let bench = Bench::new().await;
        let orders = [bench.shop.create_order(10.0).await, bench.shop.create_order(10.0).await];
        assert_eq!(bench.cancel(&bench.patient(ONCE), cancel(&orders[0])).await.status(), 200);
        bench.proxy.faults.plan(|_| Some(Fault::Delay(Duration::from_millis(300))));
        bench.shop.faults().take_calls();
        // A new container learns of the rejection only from the table.
        assert_eq!(bench.cancel(&bench.patient(ONCE), cancel(&orders[1])).await.status(), 429);
        assert_eq!(bench.shop.faults().take_calls().of("PutItem").count(), 0);
        assert!(bench.shop.order(&orders[1]).await.cancellation.is_none());
        assert!(bench.shop.order(&orders[0]).await.cancellation.is_some());
    }

    #[tokio::test]
    async fn an_order_is_loaded_while_its_request_is_counted() {
        let bench = Bench::new().await;
        let order_id = bench.shop.create_order(10.0).await;
        bench.shop.faults().take_calls();
        bench.proxy.faults.plan(|_| Some(Fault::Hang));
        let limits = bench.limits(&format!("{ONCE}; on_error=deny"), Duration::from_secs(2));
        assert_eq!(bench.cancel(&limits, cancel(&order_id)).await.status(), 503);
        assert_eq!(bench.shop.faults().take_calls().operations(), ["Query"]);
    }

    #[tokio::test]
    async fn a_new_order_waits_for_the_limit_too() {
        let bench = Bench::new().await;
        let create = async |request: &Request| create_order::handle(&bench.shop.commands, request).await;
        let event = testing::event("create-order");
        assert_eq!(testing::limited(&bench.patient(ONCE), create, event.clone()).await.status(), 201);
        bench.proxy.faults.plan(|_| Some(Fault::Delay(Duration::from_millis(300))));
        bench.shop.faults().take_calls();
        assert_eq!(testing::limited(&bench.patient(ONCE), create, event).await.status(), 429);
        assert_eq!(bench.shop.faults().take_calls().count(), 0);
    }

    #[tokio::test]
    async fn no_rate_limited_payment_is_verified_with_the_provider() {
        let bench = Bench::new().await;
        let provider = PaymentProvider::default();
        let served = provider.serve().await.unwrap();
        let paying = VerifiedCommands { payments: bench.shop.verified(&served.url, ""), ..bench.shop.paying() };
        let pay = async |request: &Request| pay_order::handle(&paying, request).await;
        bench.proxy.faults.plan(|_| Some(Fault::Delay(Duration::from_millis(300))));
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let order_id = bench.shop.create_order(10.0).await;
            let event = call(OWNER, "orders:write", &order_id, &json!({"payment_id": "p1", "amount": 10}));
            // A new container learns of the rejection only from the table.
            statuses.push(testing::limited(&bench.patient(ONCE), pay, event).await.status());
        }
        assert_eq!((statuses, provider.requests()), (vec![200, 429], 1));
    }

    #[tokio::test]
    async fn users_have_a_quota_each_and_unauthenticated_callers_none() {
        let bench = Bench::new().await;
        let limits = bench.patient(ONCE);
        let by = |sub: &str| call(sub, "orders:write", UNKNOWN, &json!({"reason": "changed my mind"}));
        for sub in ["u1", "u2"] {
            let statuses =
                [bench.cancel(&limits, by(sub)).await.status(), bench.cancel(&limits, by(sub)).await.status()];
            assert_eq!(statuses, [404, 429], "{sub}");
        }
        let mut unauthenticated = by("u3");
        unauthenticated["requestContext"]["authorizer"] = Value::Null;
        bench.proxy.faults.take_calls();
        let answer = bench.cancel(&limits, unauthenticated).await;
        assert_eq!((answer.status(), answer.header("ratelimit")), (401, None));
        assert_eq!(bench.proxy.faults.take_calls().count(), 0);
    }

    #[tokio::test]
    async fn an_address_comes_from_the_gateway_and_not_from_headers() {
        let bench = Bench::new().await;
        let limits = bench.patient("token-bucket; rate=1/h; burst=1; by=ip");
        let from = |address: &str, forged: &str| {
            let mut event = with_header(cancel(UNKNOWN), "x-forwarded-for", forged);
            event["requestContext"]["http"] = json!({"sourceIp": address});
            event["headers"]["forwarded"] = format!("for={forged}").into();
            event
        };
        let mut statuses = Vec::new();
        for (address, forged) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", "198.51.100.7"),
            ("192.0.2.2", "192.0.2.1"),
            ("", ""),
            ("\0x", ""),
        ] {
            statuses.push(bench.cancel(&limits, from(address, forged)).await.status());
        }
        assert_eq!(statuses, [404, 429, 404, 404, 404]);
    }

    #[tokio::test]
    async fn an_unavailable_table_fails_no_good_command_unless_the_policy_says_so() {
        let bench = Bench::new().await;
        let order_id = bench.shop.create_order(10.0).await;
        bench.cancel(&bench.patient(ONCE), cancel(&order_id)).await;
        for fault in [Fault::Hang, Fault::Throttle, Fault::Fail, Fault::LoseResponse] {
            bench.proxy.faults.plan(move |_| Some(fault));
            for (on_error, expected) in [("allow", [404, 404]), ("local", [404, 429]), ("deny", [503, 503])] {
                let limits = bench.limits(&format!("{ONCE}; on_error={on_error}"), Duration::from_millis(100));
                for expected in expected {
                    let answer = bench.cancel(&limits, cancel(UNKNOWN)).await;
                    assert_eq!(answer.status(), expected, "{fault:?} {on_error}: {}", answer.body());
                    assert_eq!(answer.header("retry-after").is_some(), expected != 404);
                }
            }
        }
    }
}
