//! Running a function that answers HTTP requests.

use std::convert::Infallible;

use lambda_runtime::Context;
use tracing::Instrument as _;

use crate::admission::Admission;
use crate::answer::Answer;
use crate::limits::Limits;
use crate::preconditions::Preconditions;
use crate::problem::Problem;
use crate::request::{Event, Request};
use crate::{runtime, telemetry};

/// Takes requests from the Lambda runtime, one after the other, and answers those that the limits let pass.
///
/// # Errors
/// The runtime's API is gone; the container ends.
pub async fn serve(
    limits: &Limits,
    handle: impl AsyncFn(&Request) -> Result<Answer, Problem>,
) -> Result<(), lambda_runtime::Error> {
    let handle = &handle;
    runtime::run(async |event, context: &Context, cold_start| {
        Ok::<_, Infallible>(respond(Some(limits), handle, event, context, cold_start).await)
    })
    .await
}

/// The answer to one event, and the log line about it.
pub(crate) async fn respond(
    limits: Option<&Limits>,
    handle: impl AsyncFn(&Request) -> Result<Answer, Problem>,
    event: Event,
    context: &Context,
    cold_start: bool,
) -> Answer {
    let mut request = Request::new(event, context);
    request.admission = limits.map(|_| Admission::pending()).unwrap_or_default();
    let request = request;
    let correlation_id = &request.correlation_id;
    let span = telemetry::request(correlation_id, cold_start);
    let answer = async {
        // Boxed, since the compiler gives up on a future as deep as the SDK's within the runtime's.
        let handled = Box::pin(async {
            let answer = handle(&request).await?;
            if request.is_read() { Preconditions::of(&request)?.select(answer) } else { Ok(answer) }
        });
        let outcome = match limits {
            Some(limits) => Box::pin(limits.admit(&request, handled)).await,
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
                    none if none.is_empty() => tracing::info!(status, problem = name, "refused"),
                    cause => tracing::error!(status, problem = name, cause, "failed"),
                }
                problem.into_answer(correlation_id)
            }
        };
        let answer = answer.with_header("x-correlation-id", correlation_id);
        if request.is_head() { answer.without_body() } else { answer }
    };
    answer.instrument(span).await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
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
    async fn malformed_conditions_are_refused_after_all_other_checks() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for (header, name) in [("if-match", "If-Match"), ("if-none-match", "If-None-Match")] {
            for malformed in ["", "1", "\"1", "*, \"1\"", "\"1\" \"2\"", "é", "*,*"] {
                let event = with_header(ask(OWNER, "orders:read", &order_id, ""), header, malformed);
                let answer = send(&shop, "get-order", event).await;
                assert_eq!((answer.status(), &body(&answer)["errors"][0]["path"]), (400, &json!(name)), "{malformed}");
                let event = with_header(ask("somebody-else", "orders:read", &order_id, ""), header, malformed);
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
            [(OWNER, "", 200), ("somebody-else", "", 404), (OWNER, "at_version=0", 400), (OWNER, "min_version=9", 409)]
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
}
