//! `/dev` for the buses, the queues and the schedules: for looking, and for putting events in by hand.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Bus, Mode, RequestEntry};
use crate::asynchronous::Parcel;
use crate::queues::{Message, NoQueue};
use crate::schedules::Schedules;

/// The longest that somebody may wait for news.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Most bytes of an event put in by hand.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// An event as a person writes it, or as it was given to a function.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    source: Option<String>,
    detail_type: Option<String>,
    detail: Option<Box<RawValue>>,
    resources: Option<Vec<String>>,
    bus: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    /// Only entries with a greater number.
    #[serde(default)]
    after: u64,
    /// Seconds to wait when there is none.
    #[serde(default)]
    wait: u64,
}

#[derive(Deserialize)]
struct Health {
    mode: Mode,
}

/// The routes below `/dev`.
pub(crate) fn router(bus: Bus, schedules: Schedules) -> Router {
    Router::new()
        .route("/events", get(events).post(put))
        .route("/bus", post(health))
        .route("/queues", get(queues))
        .route("/queues/{name}/redrive", post(redrive))
        .with_state(bus)
        .merge(Router::new().route("/schedules/{name}", post(run_schedule)).with_state(schedules))
}

async fn events(State(bus): State<Bus>, Query(asked): Query<Asked>) -> Response {
    let wait = Duration::from_secs(asked.wait).min(LONGEST_WAIT);
    drop(timeout(wait, bus.journal().past(asked.after)).await);
    let entries = bus.journal().since(asked.after);
    let next = entries.last().map_or(asked.after, |entry| entry.sequence);
    Json(json!({"entries": entries, "next": next})).into_response()
}

async fn put(State(bus): State<Bus>, body: Body) -> Response {
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the event is too large");
    };
    let written: Written = match serde_json::from_slice(&body) {
        Ok(written) => written,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &format!("the body is no event: {error}")),
    };
    let entry = RequestEntry {
        time: None,
        source: written.source,
        resources: written.resources,
        detail_type: written.detail_type,
        detail: written.detail.map(|detail| detail.get().to_owned()),
        event_bus_name: Some(written.bus.unwrap_or_else(|| bus.usual().to_owned())),
    };
    match bus.put(&entry) {
        Ok(id) => Json(json!({ "id": id })).into_response(),
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn health(State(bus): State<Bus>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(Health { mode }) => {
            bus.faults().mode(mode);
            Json(json!({ "mode": mode })).into_response()
        }
        Err(error) => refusal(StatusCode::BAD_REQUEST, &format!("say {{\"mode\": \"ok\"}}: {error}")),
    }
}

async fn queues(State(bus): State<Bus>) -> Response {
    Json(bus.0.background.queues.contents()).into_response()
}

/// Gives every message of a queue to its function again; one that fails again comes back.
async fn redrive(State(bus): State<Bus>, Path(name): Path<String>) -> Response {
    let messages = match bus.0.background.queues.take(&name) {
        Ok(messages) => messages,
        Err(error @ NoQueue(_)) => return refusal(StatusCode::NOT_FOUND, &error.to_string()),
    };
    let mut count = 0;
    for message in messages {
        match bus.give_again(&message) {
            Ok(()) => count += 1,
            Err(reason) => {
                let id = message.id;
                tracing::error!(queue = name, %id, "a message cannot be given again, and stays in its queue: {reason}");
                drop(bus.0.background.queues.send(&name, message.body, message.attributes));
            }
        }
    }
    Json(json!({ "redriven": count })).into_response()
}

async fn run_schedule(State(schedules): State<Schedules>, Path(name): Path<String>) -> Response {
    match schedules.run(&name) {
        Ok(id) => Json(json!({ "id": id })).into_response(),
        Err(error) => refusal(StatusCode::NOT_FOUND, &error.to_string()),
    }
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

/// What a message of a queue of failures is about: an on-failure record names function and event, beside a rule's event
/// its attributes name the function.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    request_context: Context,
    request_payload: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    function_arn: String,
}

impl Bus {
    fn give_again(&self, message: &Message) -> Result<(), String> {
        let (arn, event) = match message.attributes.get("TARGET_ARN") {
            Some(arn) => (arn.clone(), message.body.clone()),
            None => {
                let record: Record = serde_json::from_str(message.body.get())
                    .map_err(|_| "it is not about a failure, so it is nothing that a function is to try again")?;
                let arn = record.request_context.function_arn;
                (arn.strip_suffix(":$LATEST").unwrap_or(&arn).to_owned(), record.request_payload)
            }
        };
        let target = self.0.targets.iter().find(|target| target.to.arn() == arn);
        let target = target.ok_or_else(|| format!("no rule has the target {arn}"))?;
        let id = serde_json::from_str::<Value>(event.get()).ok();
        let id = id.and_then(|event| event.get("id")?.as_str().map(str::to_owned)).unwrap_or_default();
        let parcel = Parcel { event: event.into(), event_id: id, rule: "redrive".into() };
        target.clone().deliver(parcel, &self.0.background, &self.0.faults);
        Ok(())
    }
}
