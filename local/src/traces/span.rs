//! A span as the stack keeps it.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde::{Deserialize, Serialize};

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The trace, in hexadecimal digits.
    pub trace_id: String,
    /// Its id in the trace.
    pub span_id: String,
    /// The span that caused it; empty for the first one of a trace.
    pub parent_id: String,
    /// What was done.
    pub name: String,
    /// The function that did it.
    pub function: String,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// Whether it failed.
    pub failed: bool,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// The traces that it links to.
    pub links: Vec<String>,
}

impl Span {
    /// The order that it is about.
    pub fn order_id(&self) -> Option<&str> {
        self.attributes.get("order_id").map(String::as_str)
    }

    /// Whether the id is its trace's, its order's or its correlation id.
    pub(super) fn is_of(&self, id: &str) -> bool {
        self.trace_id == id
            || ["order_id", "correlation_id"].iter().any(|name| self.attributes.get(*name).is_some_and(|own| own == id))
    }
}

/// The spans of an export.
pub(super) fn of(request: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    request.resource_spans.into_iter().flat_map(|resource_spans| {
        let resource = resource_spans.resource.map(|resource| attributes(resource.attributes)).unwrap_or_default();
        let function = resource.get("faas.name").or(resource.get("service.name")).cloned().unwrap_or_default();
        resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans).map(move |span| Span {
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            name: span.name,
            function: function.clone(),
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
            attributes: attributes(span.attributes),
            links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
        })
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().filter_map(|attribute| Some((attribute.key, text(attribute.value?)?))).collect()
}

/// Lists and maps are not shown.
fn text(value: AnyValue) -> Option<String> {
    match value.value? {
        Value::StringValue(text) => Some(text),
        Value::BoolValue(value) => Some(value.to_string()),
        Value::IntValue(value) => Some(value.to_string()),
        Value::DoubleValue(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Exported};

    use super::*;

    pub fn exported(start: u64) -> Exported {
        Exported { start_time_unix_nano: start, ..Exported::default() }
    }

    pub fn request(spans: Vec<Exported>) -> ExportTraceServiceRequest {
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
    }

    #[test]
    fn a_span_is_found_by_trace_order_and_correlation_id() {
        let attribute = |key: &str, value: &str| KeyValue {
            key: key.into(),
            value: Some(AnyValue { value: Some(Value::StringValue(value.into())) }),
            ..KeyValue::default()
        };
        let attributes = vec![attribute("order_id", "o"), attribute("correlation_id", "c")];
        let span = Exported { trace_id: vec![0xab; 16], attributes, ..exported(1) };
        let span = of(request(vec![span])).next().unwrap();
        assert!([&"ab".repeat(16), "o", "c"].iter().all(|id| span.is_of(id)) && !span.is_of(""), "{span:?}");
    }
}
