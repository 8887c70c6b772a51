//! A request as the handlers get it.

use std::time::Duration;

use dynamodb_event_store::TraceContext;
use lambda_http::http::Method;
use lambda_http::request::RequestContext;
use lambda_http::{Context, RequestExt as _};
use service_clock::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::admission::Admission;
use crate::deadline::deadline;
use crate::gateway::Unreadable;
use crate::telemetry::{Invocation, Trigger};

/// The part of the function's time that is reserved for composing and sending the response.
const RESERVE: Duration = Duration::from_millis(500);

/// The longest correlation id that is taken from a caller.
const MAX_CORRELATION_ID: usize = 128;

/// Whether a request is the first one of its container: an extension of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColdStart(pub bool);

/// A request, and what is fixed when it arrives.
#[derive(Debug)]
pub struct Request {
    http: lambda_http::Request,
    /// Whether it may have effects.
    pub(crate) admission: Admission,
    /// Shared by everything that follows from this request: the caller's `X-Correlation-Id`, or the gateway's request id.
    pub correlation_id: String,
    /// The id of this invocation.
    pub causation_id: String,
    /// When the request arrived.
    pub now: Timestamp,
    /// When the response must be ready.
    pub deadline: Instant,
}

impl Request {
    /// A request that arrives now and may have effects.
    pub fn new(http: lambda_http::Request) -> Self {
        let unknown = Context::default();
        let context = http.lambda_context_ref().unwrap_or(&unknown);
        let header = http.headers().get("x-correlation-id").and_then(|id| id.to_str().ok());
        let ids = [header, gateway(&http).and_then(|gateway| gateway.request_id.as_deref()), Some(&context.request_id)];
        let correlation_id = ids.into_iter().flatten().find(|id| is_sane(id)).map(str::to_owned);
        Self {
            correlation_id: correlation_id.unwrap_or_else(|| Uuid::new_v4().to_string()),
            causation_id: context.request_id.clone(),
            now: Timestamp::now(),
            deadline: deadline(context, RESERVE),
            admission: Admission::default(),
            http,
        }
    }

    /// The same request, which may have effects only when its limits have admitted it.
    pub(crate) fn pending(self) -> Self {
        Self { admission: Admission::pending(), ..self }
    }

    /// A header's value, by its name in lower case. The gateway joins the values of a repeated header with commas.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.http.headers().get(name)?.as_bytes()).ok()
    }

    /// A named part of the route's path, decoded by the gateway.
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        self.http.path_parameters_ref()?.first(name)
    }

    /// Whether it reads and changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(*self.http.method(), Method::GET | Method::HEAD)
    }

    /// Whether only the headers of the response are sent.
    pub fn is_head(&self) -> bool {
        *self.http.method() == Method::HEAD
    }

    /// The query string, still percent-encoded; `None` if it is too long for one.
    pub fn query(&self) -> Option<&str> {
        (!self.unreadable().query).then(|| self.http.uri().query().unwrap_or_default())
    }

    /// The caller's address as the gateway saw it; empty if unknown. Headers of the request do not affect it.
    pub fn source_address(&self) -> &str {
        gateway(&self.http).and_then(|gateway| gateway.http.source_ip.as_deref()).unwrap_or_default()
    }

    /// A claim of the token that the gateway's JWT authorizer has verified; none if no authorizer ran.
    pub fn claim(&self, name: &str) -> Option<&str> {
        let jwt = gateway(&self.http)?.authorizer.as_ref()?.jwt.as_ref()?;
        jwt.claims.get(name).map(String::as_str)
    }

    /// The body, decoded; `None` if it is not the base64 that it claims to be.
    pub fn body(&self) -> Option<&[u8]> {
        (!self.unreadable().body).then(|| self.http.body().as_ref())
    }

    /// The invocation that handles it, in the caller's trace.
    pub(crate) fn invocation(&self) -> Invocation {
        let route = gateway(&self.http).and_then(|gateway| gateway.route_key.as_deref()).unwrap_or_default();
        let trigger = Trigger::Http { method: self.http.method().as_str(), route };
        let is_cold_start = self.http.extensions().get().is_some_and(|ColdStart(cold)| *cold);
        let header = |name| self.header(name).unwrap_or_default();
        let trace = TraceContext::from_headers(header("traceparent"), header("tracestate"));
        Invocation::new(trigger, &self.correlation_id, &self.causation_id, is_cold_start, trace)
    }

    fn unreadable(&self) -> Unreadable {
        self.http.extensions().get().copied().unwrap_or_default()
    }
}

fn gateway(
    http: &lambda_http::Request,
) -> Option<&lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequestContext> {
    match http.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => Some(context),
        _ => None,
    }
}

/// Whether an id can stand in logs, headers and URNs as it is.
fn is_sane(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.:=+@".contains(&b);
    (1..=MAX_CORRELATION_ID).contains(&id.len()) && id.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;
    use crate::testing::{self, request};

    #[test]
    fn the_callers_correlation_id_is_used_when_it_is_sane_and_the_gateways_otherwise() {
        let with = |id: &str| {
            let event =
                json!({"headers": {"X-Correlation-Id": id}, "requestContext": {"requestId": "D4yL5b5IZDTl900="}});
            request(event).correlation_id
        };
        assert_eq!(with("checkout-7f"), "checkout-7f");
        for insane in ["", "a b", "a\nb", "ä", "\"", "<script>", &"a".repeat(129)] {
            assert_eq!(with(insane), "D4yL5b5IZDTl900=", "{insane:?}");
        }
    }

    #[test]
    fn an_event_without_anything_is_still_a_request() {
        for event in [json!({}), json!({"headers": null, "requestContext": {"authorizer": null}, "body": null})] {
            let request = request(event);
            assert_eq!((request.claim("sub"), request.is_read()), (None, false));
            assert_eq!(request.correlation_id, request.causation_id);
        }
    }

    #[test]
    fn the_deadline_leaves_time_to_respond() {
        let mut context = testing::context();
        let at = |context: &Context| Request::new(lambda_http::Request::default().with_lambda_context(context.clone()));
        let in_two_seconds = SystemTime::now() + Duration::from_secs(2);
        context.deadline = in_two_seconds.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
        let left = at(&context).deadline - Instant::now();
        assert!(left <= Duration::from_millis(1500) && left > Duration::from_millis(1000), "{left:?}");
        context.deadline = 0;
        assert!(at(&context).deadline <= Instant::now());
    }
}
