//! How DynamoDB is called: while somebody waits for the answer, and while nobody does.

use std::error::Error;
use std::time::Duration;

use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::ErrorMetadata;
use aws_sdk_dynamodb::types::error::ResourceNotFoundException;

use super::table::WrongTable;

/// Sets time-outs and retries for commands and queries.
///
/// DynamoDB answers in milliseconds: what takes a second was lost, so an attempt ends then and the SDK makes another,
/// three in all and three seconds at most. Throttling and 5xx are retried the same way.
pub fn for_requests(config: Builder) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(500))
        .operation_attempt_timeout(Duration::from_secs(1))
        .operation_timeout(Duration::from_secs(3))
        .build();
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(25));
    config.timeout_config(timeouts).retry_config(retries)
}

/// Sets time-outs and retries for work through whole tables.
///
/// Such work writes as fast as the table lets it, so being throttled is its usual state: the SDK's adaptive mode sends
/// less then, and an operation may take half a minute.
pub fn for_bulk(config: Builder) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(500))
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(30))
        .build();
    let retries = RetryConfig::adaptive().with_max_attempts(12).with_initial_backoff(Duration::from_millis(50));
    config.timeout_config(timeouts).retry_config(retries)
}

/// Whether DynamoDB refuses what it is asked: the caller lacks the permission, or the table is not there, or another one
/// than it should be. Trying again helps once somebody has mended the deployment.
pub fn is_refused(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|cause| {
        let code = cause.downcast_ref::<ErrorMetadata>().and_then(ErrorMetadata::code);
        code == Some("AccessDeniedException") || cause.is::<ResourceNotFoundException>() || cause.is::<WrongTable>()
    })
}
