//! DynamoDB client settings for requests and for bulk work.

use std::error::Error;
use std::time::Duration;

use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::ErrorMetadata;
use aws_sdk_dynamodb::types::error::ResourceNotFoundException;

use super::table::WrongTable;

/// The longest time for which the store waits for a write, with its retries. A commit is therefore stored at most this long
/// after its `recorded_at`, apart from the difference between clocks: what a read until an earlier time returns is final.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// Sets timeouts and retries for commands and queries.
///
/// DynamoDB responds in milliseconds, so an attempt is given up after a second. The SDK makes up to three attempts
/// within three seconds, also after throttling and 5xx.
pub fn for_requests(config: Builder) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(500))
        .operation_attempt_timeout(Duration::from_secs(1))
        .operation_timeout(WRITE_TIMEOUT)
        .build();
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(25));
    config.timeout_config(timeouts).retry_config(retries)
}

/// Sets timeouts and retries for bulk work on whole tables.
///
/// Bulk work is usually throttled. The SDK's adaptive mode then slows down, and an operation may take half a minute.
pub fn for_bulk(config: Builder) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(500))
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(30))
        .build();
    let retries = RetryConfig::adaptive().with_max_attempts(12).with_initial_backoff(Duration::from_millis(50));
    config.timeout_config(timeouts).retry_config(retries)
}

/// Whether DynamoDB rejects the call for a reason that only a change of the deployment fixes: a missing permission, or
/// a missing or wrong table.
pub fn is_rejected(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|cause| {
        let code = cause.downcast_ref::<ErrorMetadata>().and_then(ErrorMetadata::code);
        code == Some("AccessDeniedException") || cause.is::<ResourceNotFoundException>() || cause.is::<WrongTable>()
    })
}
