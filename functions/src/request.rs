//! A request as API Gateway's HTTP APIs hand it over (payload format 2.0), reduced to what this service reads.

use std::collections::HashMap;
use std::time::Duration;

use lambda_runtime::Context;
use serde::Deserialize;
use serde_json::{Map, Value};
use service_clock::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::admission::Admission;
use crate::deadline::deadline;

/// What is kept of the function's time to put an answer together and send it.
const RESERVE: Duration = Duration::from_millis(500);

/// The longest correlation id that is taken from a caller.
const MAX_CORRELATION_ID: usize = 128;

/// The event of an HTTP API. Whatever may be missing from one may be missing here: what a request lacks is said by the
/// part of the edge that needs it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    raw_query_string: Option<String>,
    headers: Option<HashMap<String, String>>,
    path_parameters: Option<HashMap<String, String>>,
    request_context: Option<RequestContext>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RequestContext {
    request_id: Option<String>,
    authorizer: Value,
    http: Option<Http>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Http {
    method: Option<String>,
    source_ip: Option<String>,
}

/// A request.
#[derive(Debug)]
pub struct Request {
    headers: HashMap<String, String>,
    path_parameters: HashMap<String, String>,
    query: String,
    authorizer: Value,
    body: String,
    body_is_base64: bool,
    source_address: String,
    method: String,
    /// Whether it may have effects.
    pub(crate) admission: Admission,
    /// Shared by everything that follows from this request: the caller's `X-Correlation-Id`, or the gateway's id of it.
    pub correlation_id: String,
    /// This run of the request, and no other.
    pub causation_id: String,
    /// When the request arrived.
    pub now: Timestamp,
    /// When the answer must be ready.
    pub deadline: Instant,
}

impl Request {
    /// The request in an event, as it arrives now.
    pub fn new(event: Event, context: &Context) -> Self {
        let headers: HashMap<_, _> = event
            .headers
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let gateway = event.request_context.unwrap_or_default();
        let http = gateway.http.unwrap_or_default();
        let ids = [headers.get("x-correlation-id"), gateway.request_id.as_ref(), Some(&context.request_id)];
        let correlation_id = ids.into_iter().flatten().find(|id| is_sane(id)).cloned();
        Self {
            correlation_id: correlation_id.unwrap_or_else(|| Uuid::new_v4().to_string()),
            causation_id: context.request_id.clone(),
            now: Timestamp::now(),
            deadline: deadline(context, RESERVE),
            headers,
            path_parameters: event.path_parameters.unwrap_or_default(),
            query: event.raw_query_string.unwrap_or_default(),
            authorizer: gateway.authorizer,
            body: event.body.unwrap_or_default(),
            body_is_base64: event.is_base64_encoded.unwrap_or_default(),
            source_address: http.source_ip.unwrap_or_default(),
            method: http.method.unwrap_or_default(),
            admission: Admission::default(),
        }
    }

    /// A header's value, by its name in lower case. The gateway joins the values of a repeated header with commas.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A part of the path that the route has a name for, decoded as the gateway decodes it.
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        self.path_parameters.get(name).map(String::as_str)
    }

    /// Whether it asks for something and changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// Whether it asks for the headers of an answer only.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The query string, still percent-encoded.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The address that the gateway was called from, by its own word; empty if it does not say. No header of the request
    /// has a say in it.
    pub fn source_address(&self) -> &str {
        &self.source_address
    }

    /// The claims of the token that the gateway's JWT authorizer has checked; none if no authorizer ran.
    pub fn claims(&self) -> Option<&Map<String, Value>> {
        self.authorizer.pointer("/jwt/claims")?.as_object()
    }

    /// The body as the gateway hands it over, and whether it is encoded in base64.
    pub fn raw_body(&self) -> (&str, bool) {
        (&self.body, self.body_is_base64)
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
    use crate::testing;

    fn request(event: Value) -> Request {
        Request::new(serde_json::from_value(event).unwrap(), &testing::context())
    }

    #[test]
    fn the_callers_correlation_id_is_taken_when_it_is_sane_and_the_gateways_else() {
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
            assert!(request.claims().is_none());
            assert_eq!(request.correlation_id, request.causation_id);
        }
    }

    #[test]
    fn the_deadline_leaves_time_to_answer() {
        let mut context = testing::context();
        let in_two_seconds = SystemTime::now() + Duration::from_secs(2);
        context.deadline = in_two_seconds.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
        let left = Request::new(Event::default(), &context).deadline - Instant::now();
        assert!(left <= Duration::from_millis(1500) && left > Duration::from_millis(1000), "{left:?}");
        context.deadline = 0;
        assert!(Request::new(Event::default(), &context).deadline <= Instant::now());
    }
}
