//! Log lines. They carry the correlation id, the order and whether the container is new; never bodies or tokens.

use std::env;

use tracing::field::Empty;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Span};
use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{Layer, Registry};

/// Log lines on the standard output: as JSON if `AWS_LAMBDA_LOG_FORMAT` says so, from the level `LOG_LEVEL` up.
///
/// Lambda's own level, `AWS_LAMBDA_LOG_LEVEL`, is ignored: Lambda drops metrics along with the lines below it, so the
/// template keeps it low.
pub(super) fn from_env() -> impl Layer<Registry> {
    let json = env::var("AWS_LAMBDA_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    lines(json, &env::var("LOG_LEVEL").unwrap_or_default(), std::io::stdout)
}

/// The span of one invocation, with the fields of all its log lines.
///
/// It has the error level, so that the ids are logged at every level.
pub(super) fn span(correlation_id: &str, cold_start: bool) -> Span {
    tracing::error_span!("request", correlation_id, cold_start, order_id = Empty, trace_id = Empty)
}

fn lines<W>(json: bool, level: &str, writer: W) -> impl Layer<Registry> + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = if json { lines.json().flatten_event(true).with_span_list(false).boxed() } else { lines.boxed() };
    // `and` has the maximum level of the targets only if the other filter states one too.
    let not_repeated = filter_fn(|about| !is_repetition(about)).with_max_level_hint(LevelFilter::TRACE);
    lines.with_filter(targets(level).and(not_repeated))
}

/// Whether the Lambda runtime logs a failure that the function has logged already. A panic, which has an `error` field, is
/// logged only by the runtime.
fn is_repetition(about: &Metadata<'_>) -> bool {
    about.target() == "lambda_runtime::layers::panic" && about.fields().field("error").is_none()
}

/// Libraries log warnings and errors only, whatever the level: below that the SDK prints requests and responses.
fn targets(level: &str) -> Targets {
    let level = match level.to_ascii_uppercase().as_str() {
        // An empty text would parse as the error level.
        "" => LevelFilter::INFO,
        "FATAL" => LevelFilter::ERROR,
        level => level.parse().unwrap_or(LevelFilter::INFO),
    };
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("orders", level)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::Level;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_has_the_fields_that_lambda_filters_by_and_the_ids_at_every_level() {
        for level in ["INFO", "ERROR"] {
            let written = Written::default();
            let writer = written.clone();
            let subscriber = tracing_subscriber::registry().with(lines(true, level, move || writer.clone()));
            tracing::subscriber::with_default(subscriber, || {
                let request = span("c1", true).entered();
                request.record("order_id", "c0000000-0000-5000-8000-000000000000");
                let _call = tracing::info_span!(target: "trace", "a call of the request").entered();
                tracing::error!(status = 503, "failed");
            });
            let line: Value = serde_json::from_slice(&written.0.lock().unwrap()).unwrap();
            assert_eq!(
                (&line["level"], &line["message"], &line["status"]),
                (&"ERROR".into(), &"failed".into(), &503.into())
            );
            assert!(line["timestamp"].is_string());
            let ids = ["correlation_id", "cold_start", "order_id"].map(|id| line["span"][id].to_string());
            assert_eq!(ids, ["\"c1\"", "true", "\"c0000000-0000-5000-8000-000000000000\""]);
        }
    }

    #[test]
    fn a_logged_failure_is_not_repeated_by_the_runtime_and_a_panic_is_logged() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(lines(true, "", move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "lambda_runtime::layers::panic", "{:?}", Some("a failure"));
            tracing::error!(target: "lambda_runtime::layers::panic", error = "e", "user handler panicked");
        });
        let lines = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(lines.lines().count() == 1 && lines.contains("panicked"), "{lines}");
    }

    #[test]
    fn libraries_log_warnings_and_errors_only() {
        for (level, ours, theirs) in [
            ("TRACE", Level::TRACE, Level::WARN),
            ("INFO", Level::INFO, Level::WARN),
            ("", Level::INFO, Level::WARN),
            ("nonsense", Level::INFO, Level::WARN),
            ("ERROR", Level::ERROR, Level::ERROR),
            ("fatal", Level::ERROR, Level::ERROR),
        ] {
            let targets = targets(level);
            for candidate in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                assert_eq!(targets.would_enable("orders_functions::http", &candidate), candidate <= ours, "{level}");
                assert_eq!(targets.would_enable("aws_smithy_runtime", &candidate), candidate <= theirs, "{level}");
            }
        }
    }
}
