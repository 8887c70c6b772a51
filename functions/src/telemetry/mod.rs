//! What an invocation reports of itself: log lines, and spans in the trace of its order.
//!
//! The trace of a request is stored with its commit and published with its events, whether spans are exported or not.

mod lines;
#[cfg_attr(not(feature = "otlp"), path = "no_otel.rs")]
mod otel;
mod sdk_calls;

use dynamodb_event_store::{Metadata, StreamId, TraceContext};
use lambda_runtime::Context;
use orders_core::domain::OrderId;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub(crate) use otel::Export;
pub(crate) use sdk_calls::SdkCalls;

tokio::task_local! {
    static CURRENT: Invocation;
}

/// Starts logging, and the recording of spans if they are exported.
///
/// # Errors
/// There is a subscriber already, or the settings of the export are invalid.
pub(crate) fn init() -> Result<Option<Export>, lambda_runtime::Error> {
    let lines = tracing_subscriber::registry().with(lines::from_env());
    // Without the export there is no layer, not even `None`: that has no filter, so each span and event of every library
    // would be filtered again whenever it is reached.
    let Some((export, spans)) = Export::from_env()? else {
        lines.try_init()?;
        return Ok(None);
    };
    lines.with(spans).try_init()?;
    Ok(Some(export))
}

/// What caused an invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trigger<'a> {
    /// An HTTP request.
    Http {
        /// Its method.
        method: &'a str,
        /// The route that it matched, such as `GET /orders/{id}`.
        route: &'a str,
    },
    /// An event of another service.
    Event {
        /// Its detail type.
        detail_type: &'a str,
    },
    /// A batch of a stream, a schedule or an operator.
    Other,
}

impl Trigger<'_> {
    fn span_name(self) -> String {
        match self {
            Self::Http { route, .. } => route.to_owned(),
            Self::Event { detail_type } => format!("process {detail_type}"),
            Self::Other => "invoke".to_owned(),
        }
    }
}

/// An invocation: its log lines carry its ids, and its work is a span.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    log: Span,
    span: Span,
    upstream: Option<TraceContext>,
}

impl Invocation {
    /// An invocation in the trace of its caller; without one, a new trace is begun if spans are exported.
    pub fn new(
        trigger: Trigger<'_>,
        correlation_id: &str,
        request_id: &str,
        cold_start: bool,
        upstream: Option<TraceContext>,
    ) -> Self {
        let (kind, faas_trigger, method, route) = match trigger {
            Trigger::Http { method, route } => ("server", "http", Some(method), route.split(' ').next_back()),
            Trigger::Event { .. } => ("consumer", "pubsub", None, None),
            Trigger::Other => ("consumer", "other", None, None),
        };
        let span = tracing::info_span!(
            target: "trace",
            "invocation",
            "otel.name" = trigger.span_name(),
            "otel.kind" = kind,
            "otel.status_code" = Empty,
            "error.type" = Empty,
            "faas.trigger" = faas_trigger,
            "faas.invocation_id" = request_id,
            "faas.coldstart" = cold_start,
            "http.request.method" = method,
            "http.route" = route,
            "http.response.status_code" = Empty,
            correlation_id,
            order_id = Empty,
        );
        if let Some(upstream) = &upstream {
            otel::set_parent(&span, upstream);
        }
        let log = lines::span(correlation_id, cold_start);
        if let Some(trace) = otel::context(&span).or_else(|| upstream.clone()) {
            log.record("trace_id", format!("{:032x}", trace.trace_id()));
        }
        Self { log, span, upstream }
    }

    /// An invocation without a caller or an id of its own.
    pub fn of(context: &Context, cold_start: bool) -> Self {
        Self::new(Trigger::Other, &context.request_id, &context.request_id, cold_start, None)
    }

    /// Does the work of the invocation.
    pub async fn run<T>(self, work: impl Future<Output = T>) -> T {
        let (log, span) = (self.log.clone(), self.span.clone());
        CURRENT.scope(self, work.instrument(span).instrument(log)).await
    }

    /// Does work that does not wait.
    pub fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.log.in_scope(|| CURRENT.sync_scope(self.clone(), work))
    }
}

fn current(act: impl FnOnce(&Invocation)) {
    // There is none in tests of handlers.
    _ = CURRENT.try_with(act);
}

/// Adds the order's id to the log lines and the span of the current invocation.
pub(crate) fn record_order_id(order_id: OrderId) {
    current(|invocation| {
        invocation.log.record("order_id", display(order_id));
        invocation.span.record("order_id", display(order_id));
    });
}

/// Adds the status of the response to the span of the current invocation.
pub(crate) fn record_response(status: u16) {
    current(|invocation| {
        invocation.span.record("http.response.status_code", status);
    });
    if status >= 500 {
        record_failure(&status.to_string());
    }
}

/// Marks the current invocation as failed.
pub(crate) fn record_failure(error_type: &str) {
    current(|invocation| {
        invocation.span.record("error.type", error_type);
        invocation.span.record("otel.status_code", "ERROR");
    });
}

/// The trace for what follows from the current work: its commits and their events.
pub(crate) fn trace() -> Option<TraceContext> {
    let upstream = || CURRENT.try_with(|invocation| invocation.upstream.clone()).ok().flatten();
    otel::context(&Span::current()).or_else(upstream)
}

/// The span of work on one of several orders, linked to the trace of the order's newest commit.
pub(crate) fn order_span(name: &'static str, order_id: OrderId, trace: Option<&TraceContext>) -> Span {
    let span = tracing::info_span!(target: "trace", "order", "otel.name" = name, %order_id);
    if let Some(trace) = trace {
        otel::link(&span, trace);
    }
    span
}

/// The span of work on a commit of a batch: in the trace of the commit, and linked to the invocation.
pub(crate) fn commit_span(name: &'static str, stream: &StreamId, metadata: &Metadata) -> Span {
    let Metadata { correlation_id, trace, .. } = metadata;
    let kind = "consumer";
    let span = tracing::info_span!(
        target: "trace", "commit", "otel.name" = name, "otel.kind" = kind, order_id = %stream, correlation_id,
    );
    if let Some(trace) = trace {
        otel::set_parent(&span, trace);
        if let Some(invocation) = otel::context(&Span::current()) {
            otel::link(&span, &invocation);
        }
    }
    span
}
