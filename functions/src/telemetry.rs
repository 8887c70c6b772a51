//! Log lines. They carry the correlation id, the order and whether the container is new; never bodies or tokens.

use std::env;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// Writes log lines from here on: as JSON when `AWS_LAMBDA_LOG_FORMAT` asks for it, from the level
/// `AWS_LAMBDA_LOG_LEVEL` up.
///
/// # Errors
/// Somebody has done so before.
pub fn init() -> Result<(), lambda_runtime::Error> {
    let json = env::var("AWS_LAMBDA_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    let level = env::var("AWS_LAMBDA_LOG_LEVEL").unwrap_or_default();
    let lines = tracing_subscriber::fmt::layer();
    let lines: Box<dyn Layer<Registry> + Send + Sync> =
        if json { lines.json().flatten_event(true).with_span_list(false).boxed() } else { lines.boxed() };
    tracing_subscriber::registry().with(lines.with_filter(targets(&level))).try_init()?;
    Ok(())
}

/// Libraries are heard from warnings up, whatever the level: below that the SDK prints requests and responses.
fn targets(level: &str) -> Targets {
    let level = match level.to_ascii_uppercase().as_str() {
        // An empty text would parse, as the level of errors.
        "" => LevelFilter::INFO,
        "FATAL" => LevelFilter::ERROR,
        level => level.parse().unwrap_or(LevelFilter::INFO),
    };
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("orders", level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_are_heard_from_warnings_up_only() {
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
