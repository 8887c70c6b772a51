//! The endpoint for AWS SDKs: `PutEvents` and `DescribeEventBus`.
//! <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::Fault;
use super::{Bus, RequestEntry};
use crate::template::{ACCOUNT, REGION};

/// Most entries of one request.
const MOST_ENTRIES: usize = 10;
/// Most bytes of all entries of one request.
const MOST_BYTES: usize = 1024 * 1024;
/// Most bytes of a request, whose entries are escaped JSON.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEvents {
    #[serde(default)]
    entries: Vec<RequestEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeEventBus {
    name: Option<String>,
}

/// An error in AWS's form.
struct Refusal(StatusCode, &'static str, String);

pub(super) fn router(bus: Bus) -> Router {
    Router::new().route("/", post(call)).with_state(bus)
}

async fn call(State(bus): State<Bus>, headers: HeaderMap, body: Body) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.strip_prefix("AWSEvents.").unwrap_or_default().to_owned();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return respond(Err(validation("The request is too large.")));
    };
    let fault = bus.faults().next(&operation);
    match fault {
        Some(Fault::Fail) => {
            let message = "The event bus is down.".to_owned();
            return respond(Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalException", message)));
        }
        Some(Fault::Hang) => std::future::pending().await,
        _ => {}
    }
    let response = respond(match operation.as_str() {
        "PutEvents" => put_events(&bus, &body, fault),
        "DescribeEventBus" => describe_event_bus(&bus, &body),
        _ => {
            let message = format!("the local event bus does not support the operation {target:?}");
            Err(Refusal(StatusCode::BAD_REQUEST, "UnknownOperationException", message))
        }
    });
    match fault {
        Some(Fault::HangAfter) => std::future::pending().await,
        // An error of the body closes the connection.
        Some(Fault::LoseResponse) => Body::from_stream(stream::once(async { Err::<Bytes, _>("lost") })).into_response(),
        _ => response,
    }
}

fn respond(result: Result<Value, Refusal>) -> Response {
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err(Refusal(status, kind, message)) => (status, json!({"__type": kind, "message": message})),
    };
    (status, [("content-type", "application/x-amz-json-1.1")], body.to_string()).into_response()
}

fn validation(message: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, "ValidationException", message.into())
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, "SerializationException", error.to_string()))
}

fn put_events(bus: &Bus, body: &[u8], fault: Option<Fault>) -> Result<Value, Refusal> {
    let PutEvents { entries } = read(body)?;
    if !(1..=MOST_ENTRIES).contains(&entries.len()) {
        let message = format!(
            "1 validation error detected: Value at 'entries' failed to satisfy constraint: \
             Member must have length between 1 and {MOST_ENTRIES}"
        );
        return Err(validation(message));
    }
    if entries.iter().map(RequestEntry::bytes).sum::<usize>() > MOST_BYTES {
        return Err(validation("Total size of the entries in the request is over the limit."));
    }
    let mut failed = 0;
    let results: Vec<Value> = entries
        .iter()
        .enumerate()
        .map(|(place, entry)| {
            let result = match fault {
                Some(Fault::FailEntries(every)) if (place + 1).is_multiple_of(every) => {
                    Err(("ThrottlingException", "Rate exceeded".to_owned()))
                }
                _ => bus.put(entry).map_err(|error| (error.code, error.message)),
            };
            match result {
                Ok(id) => json!({ "EventId": id }),
                Err((code, message)) => {
                    failed += 1;
                    json!({"ErrorCode": code, "ErrorMessage": message})
                }
            }
        })
        .collect();
    Ok(json!({"FailedEntryCount": failed, "Entries": results}))
}

fn describe_event_bus(bus: &Bus, body: &[u8]) -> Result<Value, Refusal> {
    let DescribeEventBus { name } = read(body)?;
    let name = name.unwrap_or_else(|| "default".to_owned());
    if !bus.has(&name) {
        let message = format!("Event bus {name} does not exist.");
        return Err(Refusal(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message));
    }
    Ok(json!({"Name": name, "Arn": format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{name}")}))
}

#[cfg(test)]
mod tests {
    use aws_sdk_eventbridge::Client;
    use aws_sdk_eventbridge::config::retry::RetryConfig;
    use aws_sdk_eventbridge::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_eventbridge::types::PutEventsRequestEntry;
    use tokio::net::TcpListener;

    use super::*;
    use crate::journal::EntryKind;
    use crate::lambda::asynchronous::tests::background;
    use crate::served::Served;

    async fn start() -> (Bus, Served, Client) {
        let bus = Bus::new(&["things".to_owned()], Vec::new(), background());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let config = aws_sdk_eventbridge::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()));
        let endpoint = bus.serve(listener).unwrap();
        (bus, endpoint, Client::from_conf(config.build()))
    }

    fn entry(detail: &str) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder().source("s").detail_type("T").detail(detail).event_bus_name("things").build()
    }

    fn taken(bus: &Bus) -> usize {
        bus.journal().since(0).iter().filter(|entry| matches!(entry.kind, EntryKind::Event { .. })).count()
    }

    #[tokio::test]
    async fn the_sdk_puts_events_and_gets_the_rejected_ones() {
        let (bus, _endpoint, client) = start().await;
        let answer = client.put_events().entries(entry("{}")).entries(entry("[]")).send().await.unwrap();
        assert_eq!(answer.failed_entry_count(), 1);
        assert!(answer.entries()[0].event_id().is_some());
        assert_eq!(answer.entries()[1].error_code(), Some("MalformedDetail"));
        assert_eq!(taken(&bus), 1);
    }

    #[tokio::test]
    async fn a_request_of_no_or_too_many_or_too_large_entries_is_rejected() {
        let (bus, _endpoint, client) = start().await;
        let put = async |entries: Vec<PutEventsRequestEntry>| {
            let refused = client.put_events().set_entries(Some(entries)).send().await.unwrap_err();
            refused.into_service_error().meta().code().unwrap().to_owned()
        };
        assert_eq!(put(vec![]).await, "ValidationException");
        assert_eq!(put(vec![entry("{}"); 11]).await, "ValidationException");
        let large = format!("{{\"a\": \"{}\"}}", "x".repeat(MOST_BYTES / 2));
        assert_eq!(put(vec![entry(&large); 2]).await, "ValidationException");
        assert_eq!(taken(&bus), 0);
    }

    #[tokio::test]
    async fn a_bus_is_described_and_a_missing_one_is_not_found() {
        let (bus, _endpoint, client) = start().await;
        assert_eq!(client.describe_event_bus().name("things").send().await.unwrap().name(), Some("things"));
        let missing = client.describe_event_bus().name("thing").send().await.unwrap_err().into_service_error();
        assert!(missing.is_resource_not_found_exception(), "{missing:?}");
        // An event for it is accepted and lost.
        let entry = PutEventsRequestEntry::builder().source("s").detail_type("T").detail("{}").event_bus_name("thing");
        let answer = client.put_events().entries(entry.build()).send().await.unwrap();
        assert_eq!(answer.failed_entry_count(), 0);
        assert_eq!(bus.default_bus(), "things");
    }
}
