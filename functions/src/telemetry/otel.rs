//! Spans for OpenTelemetry: exported over OTLP before the invocation ends, since Lambda freezes the process after it.

use std::env;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dynamodb_event_store::TraceContext;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter as _, SpanProcessor};
use orders_core::error::chain;
use tokio::time::{Instant, timeout};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// The longest that an export delays a response.
const MAX_DELAY: Duration = Duration::from_millis(500);
/// How long nothing is exported after a failure, so that a collector that hangs delays few responses.
const PAUSE: Duration = Duration::from_secs(30);
/// The most spans of an invocation. A rebuild makes thousands of calls.
const MAX_SPANS: usize = 2_048;

/// Sends the spans of each invocation.
#[derive(Debug)]
pub(crate) struct Export {
    finished: Finished,
    exporter: SpanExporter,
    paused_until: Mutex<Option<Instant>>,
    /// It ends all recording when it is dropped.
    _provider: SdkTracerProvider,
}

/// Spans that have ended.
#[derive(Clone, Debug, Default)]
struct Finished(Arc<Mutex<Spans>>);

#[derive(Debug, Default)]
struct Spans {
    kept: Vec<SpanData>,
    dropped: usize,
}

impl Export {
    /// The export and the layer that records spans; `None` unless the environment names an endpoint.
    ///
    /// # Errors
    /// The endpoint or its headers are invalid.
    pub fn from_env<S>() -> Result<Option<(Self, impl Layer<S>)>, lambda_runtime::Error>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        // The exporter reads the standard variables by itself, this one among them.
        if env::var("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_default().is_empty() {
            return Ok(None);
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        Ok(Some(Self::new(exporter)))
    }

    fn new<S>(mut exporter: SpanExporter) -> (Self, impl Layer<S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let resource = resource();
        exporter.set_resource(&resource);
        let finished = Finished::default();
        let provider =
            SdkTracerProvider::builder().with_span_processor(finished.clone()).with_resource(resource).build();
        let layer = layer(&provider);
        (Self { finished, exporter, paused_until: Mutex::default(), _provider: provider }, layer)
    }

    /// Sends the spans that have ended, within half of the `remaining` time of the invocation. What is not sent by then is
    /// lost. The failure is logged once; spans of the pause after it are lost without a line.
    pub async fn send(&self, remaining: Duration) {
        let time = MAX_DELAY.min(remaining / 2);
        let Spans { kept, dropped } = std::mem::take(&mut *self.finished.lock());
        let mut lost = dropped;
        let mut why = "more than an invocation may have".to_owned();
        if !kept.is_empty() {
            let now = Instant::now();
            if lock(&self.paused_until).is_some_and(|until| now < until) {
                return;
            }
            let count = kept.len();
            let failure = match timeout(time, self.exporter.export(kept)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(chain(&error)),
                Err(_) => Some(format!("the collector did not respond within {} ms", time.as_millis())),
            };
            *lock(&self.paused_until) = failure.is_some().then(|| Instant::now() + PAUSE);
            if let Some(failure) = failure {
                (lost, why) = (lost + count, failure);
            }
        }
        if lost > 0 {
            tracing::warn!(spans = lost, error = why, "spans not exported");
        }
    }
}

impl Finished {
    fn lock(&self) -> MutexGuard<'_, Spans> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SpanProcessor for Finished {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut spans = self.lock();
        match spans.kept.len() {
            MAX_SPANS.. => spans.dropped += 1,
            _ => spans.kept.push(span),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Records the spans of the target `trace`, which are not logged; log lines are not recorded.
fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("orders"))
        .with_context_activation(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|about| about.is_span() && about.target() == "trace"))
}

fn resource() -> Resource {
    let text = |variable: &str| env::var(variable).ok().filter(|value| !value.is_empty());
    let attributes = [
        ("faas.name", text("AWS_LAMBDA_FUNCTION_NAME")),
        ("faas.version", text("AWS_LAMBDA_FUNCTION_VERSION")),
        ("cloud.provider", Some("aws".into())),
        ("cloud.platform", Some("aws_lambda".into())),
        ("cloud.region", text("AWS_REGION")),
        ("service.version", Some(env!("CARGO_PKG_VERSION").into())),
    ];
    let attributes = attributes.into_iter().filter_map(|(name, value)| Some(KeyValue::new(name, value?)));
    let resource = Resource::builder().with_attributes(attributes);
    // By OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES.
    let named = Resource::builder().build().get(&Key::from_static_str("service.name"));
    match named.filter(|name| !name.as_str().starts_with("unknown_service")) {
        Some(_) => resource.build(),
        None => resource.with_service_name("orders").build(),
    }
}

/// Puts a span that has not begun into a trace.
pub(super) fn set_parent(span: &Span, trace: &TraceContext) {
    if span.is_disabled() {
        return;
    }
    // It fails only where no spans are recorded.
    _ = span.set_parent(Context::new().with_remote_span_context(span_context(trace)));
}

/// Links a span to another trace.
pub(super) fn link(span: &Span, trace: &TraceContext) {
    span.add_link(span_context(trace));
}

/// The trace of a span that is recorded, or that the caller does not want recorded.
pub(super) fn context(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let context = context.span().span_context().clone();
    let (trace_id, span_id) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    let trace = TraceContext::new(u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id), context.is_sampled())?;
    Some(trace.with_state(&context.trace_state().header()))
}

fn span_context(trace: &TraceContext) -> SpanContext {
    let (trace_id, span_id) = (TraceId::from(trace.trace_id()), SpanId::from(trace.parent_id()));
    let flags = if trace.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let state = trace.tracestate().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    SpanContext::new(trace_id, span_id, flags, true, state)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, Tracer as _};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn provider() -> (Finished, SdkTracerProvider) {
        let finished = Finished::default();
        let provider = SdkTracerProvider::builder().with_span_processor(finished.clone()).build();
        (finished, provider)
    }

    #[test]
    fn a_span_continues_its_callers_trace_and_is_recorded_if_the_caller_samples_it() {
        let (finished, provider) = provider();
        for sampled in [true, false] {
            let caller = TraceContext::new(7, 8, sampled).unwrap().with_state("congo=1");
            let own = tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(&provider)), || {
                let span = tracing::info_span!(target: "trace", "a call");
                set_parent(&span, &caller);
                context(&span).unwrap()
            });
            assert_eq!((own.trace_id(), own.is_sampled(), own.tracestate()), (7, sampled, Some("congo=1")));
            assert_ne!(own.parent_id(), caller.parent_id());
            assert_eq!(finished.lock().kept.len(), 1, "only the sampled one");
        }
    }

    #[test]
    fn log_lines_and_their_spans_are_not_recorded() {
        let (finished, provider) = provider();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(&provider)), || {
            let _request = tracing::error_span!("request").entered();
            tracing::error!(target: "trace", "a line");
        });
        assert_eq!(finished.lock().kept, []);
    }

    #[test]
    fn spans_beyond_the_bound_of_an_invocation_are_dropped_and_counted() {
        let (finished, provider) = provider();
        let tracer = provider.tracer("test");
        (0..MAX_SPANS + 5).for_each(|_| tracer.start("a call").end());
        let spans = finished.lock();
        assert_eq!((spans.kept.len(), spans.dropped), (MAX_SPANS, 5));
    }
}
