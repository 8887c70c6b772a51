//! AWS Secrets Manager.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use futures::future::BoxFuture;

use super::{Secret, SecretError};
use crate::error::chain;

/// A secret of AWS Secrets Manager.
pub struct SecretsManager {
    client: Client,
    secret: String,
}

impl SecretsManager {
    /// The secret of this ARN. The client's timeouts should be those of [`SecretsManager::timeouts`].
    pub fn new(client: Client, secret: impl Into<String>) -> Self {
        Self { client, secret: secret.into() }
    }

    /// Sets timeouts and retries: a request that verifies a payment may wait for it.
    pub fn timeouts(config: Builder) -> Builder {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_millis(500))
            .operation_attempt_timeout(Duration::from_secs(1))
            .operation_timeout(Duration::from_millis(2_500))
            .build();
        let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50));
        config.timeout_config(timeouts).retry_config(retries)
    }
}

impl Secret for SecretsManager {
    fn read(&self) -> BoxFuture<'_, Result<String, SecretError>> {
        Box::pin(async {
            let read = self.client.get_secret_value().secret_id(&self.secret).send().await.map_err(unreadable)?;
            read.secret_string.ok_or(SecretError::Invalid)
        })
    }
}

fn unreadable(error: SdkError<GetSecretValueError>) -> SecretError {
    match error.code() {
        Some("ResourceNotFoundException") => SecretError::Missing,
        Some("AccessDeniedException" | "DecryptionFailure") => SecretError::Denied,
        _ => SecretError::Unavailable(chain(&error)),
    }
}
