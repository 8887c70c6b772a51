//! Running a function that answers HTTP requests.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use crate::answer::Answer;
use crate::commands::Commands;
use crate::config::{self, Config, ConfigError};
use crate::limits::Limits;
use crate::preconditions::Preconditions;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::request::{ColdStart, Request};
use crate::runtime::Runtime;
use crate::telemetry::Invocation;
use crate::{gateway, telemetry};
use aws_sdk_dynamodb::Client;
use futures::future::try_join;
use lambda_http::http::Response;
use lambda_http::tower::{BoxError, ServiceExt as _, service_fn};
use lambda_http::{Body, Context, RequestExt as _, Service};
use serde_json::value::RawValue;

/// What answers requests, with state that the container keeps between them.
pub trait Handler<'a, S>: Copy + Send + Sync + 'static {
    /// The work on one request.
    type Handled: Future<Output = Result<Answer, Problem>> + Send + 'a;

    /// Begins the work on a request.
    fn handle(self, state: &'a S, request: &'a Request) -> Self::Handled;
}

impl<'a, S: 'a, H, F> Handler<'a, S> for H
where
    H: Fn(&'a S, &'a Request) -> F + Copy + Send + Sync + 'static,
    F: Future<Output = Result<Answer, Problem>> + Send + 'a,
{
    type Handled = F;

    fn handle(self, state: &'a S, request: &'a Request) -> F {
        self(state, request)
    }
}

/// Runs a function that changes orders.
///
/// # Errors
/// As [`serve`].
pub async fn command(handle: impl for<'a> Handler<'a, Commands>) -> Result<(), lambda_http::Error> {
    serve(async |config, client| Ok(Commands::new(config, client)), handle).await
}

/// Runs a function that reads orders.
///
/// # Errors
/// As [`serve`].
pub async fn query(handle: impl for<'a> Handler<'a, Queries>) -> Result<(), lambda_http::Error> {
    serve(async |config, client| Ok(Queries::new(config, client)), handle).await
}

/// Runs a function with the rate limits that the environment names.
///
/// # Errors
/// A setting is missing or wrong, or the runtime's API is gone; the container ends.
pub async fn serve<S: Send + Sync + 'static>(
    state: impl AsyncFnOnce(&Config, Client) -> Result<S, ConfigError>,
    handle: impl for<'a> Handler<'a, S>,
) -> Result<(), lambda_http::Error> {
    let runtime = Runtime::start()?;
    let (config, client) = (Config::from_env()?, config::dynamodb_client().await);
    // Both may call other services.
    let state = Box::pin(state(&config, client.clone()));
    let (limits, state) = try_join(Limits::from_env(&client), state).await?;
    run(runtime, service(state, limits, handle)).await
}

/// A function as a `tower` service: layers can stand around it before it is [`run`].
pub fn service<S: Send + Sync + 'static>(
    state: S,
    limits: Limits,
    handle: impl for<'a> Handler<'a, S>,
) -> impl Service<lambda_http::Request, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let shared = Arc::new((state, limits));
    service_fn(move |request| {
        let shared = Arc::clone(&shared);
        let answered: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            let (state, limits) = &*shared;
            let request = Request::new(request).pending();
            let handled = Box::pin(handle.handle(state, &request));
            Ok(respond(Some(limits), &request, handled).await.into())
        });
        answered
    })
}

/// Runs a service behind the gateway. Whatever an event holds, the gateway gets a response.
///
/// # Errors
/// The runtime's API is gone; the container ends.
pub async fn run<S>(runtime: Runtime, service: S) -> Result<(), lambda_http::Error>
where
    S: Service<lambda_http::Request, Response = Response<Body>, Error: Into<BoxError>> + Clone,
{
    let service = &service;
    runtime
        .run(async |event: Box<RawValue>, context: &Context, cold_start| {
            Ok::<_, Infallible>(call(service.clone(), &event, context, cold_start).await)
        })
        .await
}

/// A layer that fails has not logged why, and its caller still gets a response.
async fn call<S>(service: S, event: &RawValue, context: &Context, cold_start: bool) -> gateway::Response
where
    S: Service<lambda_http::Request, Response = Response<Body>, Error: Into<BoxError>>,
{
    let mut request = gateway::request(event).with_lambda_context(context.clone());
    request.extensions_mut().insert(ColdStart(cold_start));
    let response = service.oneshot(request).await.unwrap_or_else(|error| {
        let problem = Problem::internal(error);
        let (status, name, cause) = (problem.status(), problem.name(), problem.cause());
        let log = || tracing::error!(status, problem = name, cause, "a layer failed");
        Invocation::of(context, cold_start).in_scope(log);
        let answer = problem.into_answer(&context.request_id);
        answer.with_header("x-correlation-id", &context.request_id).into()
    });
    gateway::Response::from(response)
}

/// The response to one request, and the log line about it.
pub async fn respond(
    limits: Option<&Limits>,
    request: &Request,
    handled: impl Future<Output = Result<Answer, Problem>>,
) -> Answer {
    let correlation_id = &request.correlation_id;
    let answer = async {
        // Boxed, since the nested futures of the runtime and the SDK exceed the compiler's limit.
        let handled = Box::pin(async {
            let answer = handled.await?;
            if request.is_read() { Preconditions::of(request)?.select(answer) } else { Ok(answer) }
        });
        let outcome = match limits {
            Some(limits) => Box::pin(limits.admit(request, handled)).await,
            None => handled.await,
        };
        let answer = match outcome {
            Ok(answer) => {
                tracing::info!(status = answer.status(), "answered");
                answer
            }
            Err(problem) => {
                let (status, name) = (problem.status(), problem.name());
                match problem.cause() {
                    cause if cause.is_empty() => tracing::info!(status, problem = name, "rejected"),
                    cause => tracing::error!(status, problem = name, cause, "failed"),
                }
                problem.into_answer(correlation_id)
            }
        };
        telemetry::record_response(answer.status());
        let answer = answer.with_header("x-correlation-id", correlation_id);
        if request.is_head() { answer.without_body() } else { answer }
    };
    request.invocation().run(answer).await
}

#[cfg(test)]
mod tests {
    use dynamodb_rate_limit::{DynamoTable, Limiter, RateLimitLayer, Subject};
    use lambda_http::tower::ServiceBuilder;
    use serde_json::{Value, json};

    use super::*;
    use crate::commands::cancel_order;
    use crate::queries::{get_order, list_user_orders, order_history};
    use crate::testing::{self, OWNER, Shop, ask, body, problem, with_header};

    async fn send(shop: &Shop, function: &str, event: Value) -> Answer {
        match function {
            "get-order" => testing::answer(async |r| get_order::handle(&shop.queries, r).await, event).await,
            "order-history" => testing::answer(async |r| order_history::handle(&shop.queries, r).await, event).await,
            _ => testing::answer(async |r| list_user_orders::handle(&shop.queries, r).await, event).await,
        }
    }

    fn with_method(mut event: Value, method: &str) -> Value {
        event["requestContext"]["http"]["method"] = method.into();
        event
    }

    #[tokio::test]
    async fn what_has_not_changed_is_304_without_a_body() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for function in ["get-order", "order-history"] {
            for (header, status) in [
                ("\"1\"", 304),
                ("W/\"1\"", 304),
                ("\"7\", W/\"1\"", 304),
                ("*", 304),
                ("\"2\"", 200),
                ("W/\"01\"", 200),
                ("\"x\"", 200),
            ] {
                let event = with_header(ask(OWNER, "orders:read", &order_id, ""), "if-none-match", header);
                let answer = send(&shop, function, event).await;
                assert_eq!((answer.status(), answer.body().is_empty()), (status, status == 304), "{function} {header}");
                assert_eq!(answer.header("etag"), Some("\"1\""));
                assert_eq!(answer.header("cache-control"), Some("no-store"));
                assert_eq!(answer.header("content-type").is_some(), status == 200);
            }
        }
    }

    #[tokio::test]
    async fn if_match_is_compared_strongly_and_comes_first() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for (if_match, if_none_match, status) in [
            ("\"1\"", None, 200),
            ("*", None, 200),
            ("\"3\", \"1\"", None, 200),
            ("W/\"1\"", None, 412),
            ("\"2\"", None, 412),
            ("\"1\"", Some("\"1\""), 304),
            ("\"2\"", Some("\"1\""), 412),
            ("\"2\"", Some("\"2\""), 412),
        ] {
            let mut event = with_header(ask(OWNER, "orders:read", &order_id, ""), "if-match", if_match);
            event = if_none_match.map_or(event.clone(), |tags| with_header(event, "if-none-match", tags));
            let answer = send(&shop, "get-order", event).await;
            assert_eq!(answer.status(), status, "{if_match} {if_none_match:?}");
            assert_eq!(answer.header("etag"), Some("\"1\""));
            if status == 412 {
                assert_eq!(problem(&answer), "precondition-failed");
            }
        }
    }

    #[tokio::test]
    async fn malformed_conditions_are_rejected_after_all_other_checks() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for (header, name) in [("if-match", "If-Match"), ("if-none-match", "If-None-Match")] {
            for malformed in ["", "1", "\"1", "*, \"1\"", "\"1\" \"2\"", "é", "*,*"] {
                let event = with_header(ask(OWNER, "orders:read", &order_id, ""), header, malformed);
                let answer = send(&shop, "get-order", event).await;
                assert_eq!((answer.status(), &body(&answer)["errors"][0]["path"]), (400, &json!(name)), "{malformed}");
                let event = with_header(ask("other-user", "orders:read", &order_id, ""), header, malformed);
                assert_eq!(send(&shop, "get-order", event).await.status(), 404);
            }
        }
    }

    #[tokio::test]
    async fn a_list_has_no_entity_tag_and_is_there_all_the_same() {
        let shop = Shop::open().await;
        let mut event = ask(OWNER, "orders:read", "", "");
        event["pathParameters"] = json!({"user_id": OWNER});
        for (header, value, status) in [
            ("if-none-match", "\"1\"", 200),
            ("if-none-match", "*", 304),
            ("if-match", "*", 200),
            ("if-match", "\"1\"", 412),
        ] {
            let answer = send(&shop, "list-user-orders", with_header(event.clone(), header, value)).await;
            assert_eq!(answer.status(), status, "{header}: {value}");
        }
    }

    #[tokio::test]
    async fn head_is_answered_as_get_is_but_without_a_body() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for (sub, query, status) in
            [(OWNER, "", 200), ("other-user", "", 404), (OWNER, "at_version=0", 400), (OWNER, "min_version=9", 409)]
        {
            let event = ask(sub, "orders:read", &order_id, query);
            let got = send(&shop, "get-order", event.clone()).await;
            let head = send(&shop, "get-order", with_method(event, "HEAD")).await;
            assert_eq!((got.status(), head.status(), head.body()), (status, status, ""), "{query}");
            for header in ["etag", "content-type", "cache-control"] {
                assert_eq!(head.header(header), got.header(header));
            }
        }
        let event = with_header(ask(OWNER, "orders:read", &order_id, ""), "if-none-match", "\"1\"");
        assert_eq!(send(&shop, "get-order", with_method(event, "HEAD")).await.status(), 304);
    }

    #[tokio::test]
    async fn a_layer_that_fails_is_an_internal_problem_with_the_id_of_the_invocation() {
        let fails = service_fn(async |_: lambda_http::Request| Err::<Response<Body>, BoxError>("no table".into()));
        let (event, context) = (testing::event("get-order").to_string(), testing::context());
        let response = call(fails, &RawValue::from_string(event).unwrap(), &context, true).await;
        let response = serde_json::to_value(response).unwrap();
        let problem: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
        assert_eq!((&response["statusCode"], &problem["type"]), (&json!(500), &json!("urn:orders:problem:internal")));
        assert_eq!(response["headers"]["x-correlation-id"], context.request_id);
        assert!(!response.to_string().contains("no table"), "{response}");
    }

    #[tokio::test]
    async fn layers_of_tower_stand_around_a_function() {
        let limiter = |name: &str| {
            let policy = format!("sliding-window; limit=1; window=60s; by=ip; on_error=local; name={name}");
            Limiter::new(DynamoTable::new(&testing::unreachable_client(), "RateLimits"), policy.parse().unwrap())
        };
        let function = service(testing::unreachable(), Limits::new(limiter("inner")), cancel_order::handle);
        let address = |_: &lambda_http::Request| Some(Subject::address("192.0.2.1"));
        let layered = ServiceBuilder::new()
            .layer(RateLimitLayer::new(limiter("outer"), address).with_fields())
            .map_request(|request: lambda_http::Request| request.with_lambda_context(testing::context()))
            .service(function);
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let request = testing::from_gateway(testing::event("cancel-order").to_string());
            let response = layered.clone().oneshot(request).await.unwrap();
            statuses.push(response.status().as_u16());
            let response = serde_json::to_value(gateway::Response::from(response)).unwrap();
            assert!(response["headers"]["ratelimit-policy"].as_str().unwrap().contains("\"outer\""), "{response}");
        }
        assert_eq!(statuses, [503, 429]);
    }
}
