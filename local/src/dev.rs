//! `/dev`: the routes of the local stack itself, to inspect it, to put events on the bus and to inject faults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::bus::{Bus, Mode, RequestEntry};
use crate::lambda::Containers;
use crate::payments::{self, PaymentProvider};
use crate::schedules::Schedules;
use crate::traces::Traces;

/// The longest long poll.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Most bytes of an event.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// What the routes are about.
pub(crate) struct Dev {
    /// The response of `GET /dev/stack`.
    pub description: Value,
    pub tokens: BTreeMap<&'static str, String>,
    pub bus: Bus,
    pub schedules: Schedules,
    pub traces: Traces,
    pub functions: Vec<Arc<Containers>>,
}

/// An event as a person writes it, or as a function gets it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Event {
    source: Option<String>,
    detail_type: Option<String>,
    detail: Option<Box<RawValue>>,
    resources: Option<Vec<String>>,
    bus: Option<String>,
}

#[derive(Deserialize)]
struct Poll {
    /// Only entries with a greater number.
    #[serde(default)]
    after: u64,
    /// Seconds to wait for one.
    #[serde(default)]
    wait: u64,
    /// Only events that contain this text, such as an order's id.
    about: Option<String>,
}

#[derive(Deserialize)]
struct Sought {
    /// An order id, a correlation id or a trace id.
    id: String,
}

#[derive(Deserialize)]
struct Control {
    mode: Mode,
}

type Shared = State<Arc<Dev>>;

/// The routes below `/dev`.
pub(crate) fn router(dev: Dev, payments: PaymentProvider) -> Router {
    Router::new()
        .route("/stack", get(async |State(dev): Shared| Json(dev.description.clone())))
        .route("/tokens/{name}", get(token))
        .route("/events", get(events).post(put_event))
        .route("/bus", post(control_bus))
        .route("/traces", get(async |State(dev): Shared, Query(Sought { id })| Json(dev.traces.find(&id))))
        .route("/queues", get(async |State(dev): Shared| Json(dev.bus.queues().contents())))
        .route("/queues/{name}/redrive", post(redrive))
        .route("/schedules/{name}", post(run_schedule))
        .route("/functions/{name}/crash", post(crash))
        .fallback(async || problem(StatusCode::NOT_FOUND, "Not Found"))
        .with_state(Arc::new(dev))
        .merge(payments::router(payments))
}

/// Rejects what the pages of other sites send, since the routes need no token.
pub(crate) async fn reject_other_pages(request: Request, next: Next) -> Response {
    if is_allowed(request.method(), request.headers()) {
        next.run(request).await
    } else {
        problem(StatusCode::FORBIDDEN, "a page of another origin may not use the local stack's own routes")
    }
}

/// Whether the stack's own page or a program sends this. Of another page's requests only reads are allowed, which it cannot see,
/// and none with a host name that its owner may have pointed at this machine. A program sends none of these fields but the host.
fn is_allowed(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let (host, site) = (text(HOST), text(HeaderName::from_static("sec-fetch-site")));
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host);
    let same_origin = text(ORIGIN).is_none_or(is_own) && site.is_none_or(|site| matches!(site, "same-origin" | "none"));
    host.is_none_or(is_local) && (method.is_safe() || same_origin)
}

/// Whether a host is an address or `localhost`, which no name server decides.
fn is_local(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|authority| {
        let name = authority.host();
        name == "localhost" || name.ends_with(".localhost") || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    })
}

fn problem(status: StatusCode, message: impl ToString) -> Response {
    (status, Json(json!({ "message": message.to_string() }))).into_response()
}

async fn token(State(dev): Shared, Path(name): Path<String>) -> Response {
    match dev.tokens.get(name.as_str()) {
        Some(token) => token.clone().into_response(),
        None => problem(StatusCode::NOT_FOUND, "Not Found"),
    }
}

async fn events(State(dev): Shared, Query(poll): Query<Poll>) -> Response {
    let wait = Duration::from_secs(poll.wait).min(LONGEST_WAIT);
    drop(timeout(wait, dev.bus.journal().past(poll.after)).await);
    let mut entries = dev.bus.journal().since(poll.after);
    let next = entries.last().map_or(poll.after, |entry| entry.sequence);
    if let Some(text) = &poll.about {
        entries.retain(|entry| entry.kind.contains(text));
    }
    Json(json!({"entries": entries, "next": next})).into_response()
}

async fn put_event(State(dev): Shared, body: Body) -> Response {
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the event is too large");
    };
    let event: Event = match serde_json::from_slice(&body) {
        Ok(event) => event,
        Err(error) => return problem(StatusCode::BAD_REQUEST, format!("invalid event: {error}")),
    };
    let entry = RequestEntry {
        time: None,
        source: event.source,
        resources: event.resources,
        detail_type: event.detail_type,
        detail: event.detail.map(|detail| detail.get().to_owned()),
        event_bus_name: Some(event.bus.unwrap_or_else(|| dev.bus.default_bus().to_owned())),
    };
    match dev.bus.put(&entry) {
        Ok(id) => Json(json!({ "id": id })).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, error),
    }
}

async fn control_bus(State(dev): Shared, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(Control { mode }) => {
            dev.bus.faults().mode(mode);
            Json(json!({ "mode": mode })).into_response()
        }
        Err(error) => problem(StatusCode::BAD_REQUEST, format!("expected {{\"mode\": \"ok\"}}: {error}")),
    }
}

async fn redrive(State(dev): Shared, Path(name): Path<String>) -> Response {
    match dev.bus.redrive(&name) {
        Ok(count) => Json(json!({ "redriven": count })).into_response(),
        Err(error) => problem(StatusCode::NOT_FOUND, error),
    }
}

/// Kills the processes of a function, also in the middle of an invocation.
async fn crash(State(dev): Shared, Path(name): Path<String>) -> Response {
    match dev.functions.iter().find(|function| function.name() == name) {
        Some(function) => {
            function.crash();
            Json(json!({ "crashed": name })).into_response()
        }
        None => problem(StatusCode::NOT_FOUND, "Not Found"),
    }
}

async fn run_schedule(State(dev): Shared, Path(name): Path<String>) -> Response {
    match dev.schedules.run(&name) {
        Ok(id) => Json(json!({ "id": id })).into_response(),
        Err(error) => problem(StatusCode::NOT_FOUND, error),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_an_address_and_localhost_are_local() {
        let cases = ["127.0.0.1:3000", "[::1]:3000", "[::1]", "localhost", "localhost:3000", "app.localhost:3000"];
        assert!(cases.into_iter().all(is_local));
        assert!(!["evil.test", "localhost.evil.test:3000", "127.0.0.1.evil.test", ""].into_iter().any(is_local));
    }

    #[test]
    fn only_programs_and_pages_of_the_same_origin_may_change_anything() {
        let allowed = |method: Method, field: Option<(&'static str, &'static str)>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:3000"));
            if let Some((name, value)) = field {
                headers.insert(name, HeaderValue::from_static(value));
            }
            is_allowed(&method, &headers)
        };
        assert!(allowed(Method::POST, None));
        assert!(allowed(Method::POST, Some(("origin", "http://127.0.0.1:3000"))));
        for origin in ["null", "https://evil.test", "http://127.0.0.1:5173", "http://localhost:3000"] {
            assert!(!allowed(Method::POST, Some(("origin", origin))), "{origin}");
        }
        assert!(!allowed(Method::POST, Some(("sec-fetch-site", "cross-site"))));
        assert!(allowed(Method::GET, Some(("sec-fetch-site", "cross-site"))));
    }
}
