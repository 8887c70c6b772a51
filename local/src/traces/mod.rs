//! The spans that functions export, over OTLP: an endpoint of the stack, bounded in memory.

mod span;
mod tree;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::served::Served;
pub use span::Span;

/// The most spans that are kept; the oldest are dropped first.
const MAX_SPANS: usize = 50_000;
/// Most bytes of one export.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// The spans of a stack. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Traces(Arc<Mutex<VecDeque<Span>>>);

/// What `trace` shows: the spans of some traces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// The orders in question; spans of other orders in the same traces are not shown.
    pub orders: BTreeSet<String>,
    /// All spans of the traces.
    pub spans: Vec<Span>,
}

impl Traces {
    /// Receives spans on a free port of the loopback interface.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn receive(&self) -> io::Result<Served> {
        let router = Router::new().route("/v1/traces", post(export)).layer(DefaultBodyLimit::max(BODY_LIMIT));
        Served::start("the receiver of traces", router.with_state(self.clone())).await
    }

    /// The traces of an order, of a correlation id, or of a trace id, and those that link to them.
    pub fn find(&self, id: &str) -> Found {
        let spans = self.lock();
        let matching = || spans.iter().filter(|span| span.is_of(id));
        let orders = matching().filter(|span| span.trace_id != id).filter_map(Span::order_id).map(str::to_owned);
        let traces: BTreeSet<&str> = matching().map(|span| span.trace_id.as_str()).collect();
        let linked = spans.iter().filter(|span| span.links.iter().any(|trace| traces.contains(trace.as_str())));
        let linked: BTreeSet<&str> = linked.map(|span| span.trace_id.as_str()).collect();
        let wanted = |span: &&Span| [&traces, &linked].iter().any(|ids| ids.contains(span.trace_id.as_str()));
        Found { orders: orders.collect(), spans: spans.iter().filter(wanted).cloned().collect() }
    }

    fn add(&self, request: ExportTraceServiceRequest) {
        let mut spans = self.lock();
        spans.extend(span::of(request));
        let excess = spans.len().saturating_sub(MAX_SPANS);
        spans.drain(..excess);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn export(State(traces): State<Traces>, body: Bytes) -> Response {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            traces.add(request);
            // The empty message: everything was accepted.
            ([(CONTENT_TYPE, "application/x-protobuf")], Bytes::new()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_is_not_an_export_is_rejected() {
        let receiver = Traces::default().receive().await.unwrap();
        let client = reqwest::Client::new();
        let sent = client.post(format!("{}/v1/traces", receiver.url)).body("not protobuf").send().await.unwrap();
        assert_eq!(sent.status(), 400);
    }

    #[test]
    fn the_oldest_spans_are_dropped_first() {
        let traces = Traces::default();
        for batch in 0..6_u64 {
            let spans = (0..10_000).map(|_| span::tests::exported(batch + 1));
            traces.add(span::tests::request(spans.collect()));
        }
        let spans = traces.lock();
        assert_eq!((spans.len(), spans[0].start), (MAX_SPANS, 2));
    }
}
