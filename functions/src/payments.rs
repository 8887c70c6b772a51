//! Whether payments are verified with the payment provider, or the caller is trusted.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use dynamodb_circuit_breaker::{Cause, CircuitBreaker, Origin, Reason, Settings, State, Table, Transition};
use orders_core::error::chain;
use orders_core::payments::{Claim, GuardedProvider, HttpProvider, SecretsManager, Timeouts, Token, VerifyError};

use crate::config::{self, ConfigError, parsed};

/// The breaker's name, and so the key of its item.
pub const BREAKER: &str = "payments";

const URL: &str = "PAYMENT_PROVIDER_URL";
const SECRET: &str = "PAYMENT_PROVIDER_TOKEN_ARN";
const TRUST: &str = "TRUST_CALLER_PAYMENTS";
const SETTINGS: &str = "PAYMENT_BREAKER";
const TABLE: &str = "CIRCUIT_BREAKERS_TABLE";

/// How payments are verified. Created once per container; clones share it.
#[derive(Clone)]
pub enum Payments<P = HttpProvider> {
    /// Not at all: there is no provider, and the caller is trusted.
    Trusted,
    /// With the provider.
    Verified(Arc<GuardedProvider<P>>),
}

impl Payments {
    /// Reads the environment, and the provider's token if it names a secret.
    ///
    /// # Errors
    /// A variable that is missing or invalid, or a secret that has no token. Trust is explicit: without a provider the
    /// environment must say that the caller is trusted, and with one it must not.
    pub async fn from_env(client: &aws_sdk_dynamodb::Client) -> Result<Self, ConfigError> {
        Self::read(|variable| env::var(variable).ok(), client, config::secrets_client).await
    }

    async fn read(
        lookup: impl Fn(&str) -> Option<String>,
        client: &aws_sdk_dynamodb::Client,
        secrets: impl AsyncFnOnce() -> aws_sdk_secretsmanager::Client,
    ) -> Result<Self, ConfigError> {
        let text = |variable| lookup(variable).filter(|text| !text.is_empty());
        let trusted = match text(TRUST) {
            None => false,
            Some(trusted) => parsed(TRUST, &trusted)?,
        };
        let url = match (text(URL), trusted) {
            (None, true) => return Ok(Self::Trusted),
            (Some(url), false) => url,
            (None, false) => {
                let why = "is not set: set it to the payment provider's URL, or set TRUST_CALLER_PAYMENTS to true to \
                           accept payments unverified";
                return Err(ConfigError::new(URL, why));
            }
            (Some(_), true) => {
                let why = "is true, but PAYMENT_PROVIDER_URL is set too: set only one of them";
                return Err(ConfigError::new(TRUST, why));
            }
        };
        let token = match text(SECRET) {
            None => None,
            Some(secret) => {
                let token = Token::read(SecretsManager::new(secrets().await, secret)).await;
                Some(token.map_err(|error| ConfigError::new(SECRET, format!("names a secret that {error}")))?)
            }
        };
        let provider = HttpProvider::new(&url, token, Timeouts::default());
        let provider = provider.map_err(|error| ConfigError::new(URL, format!("is invalid: {error}")))?;
        let breaker = breaker(&lookup, client, dynamodb_circuit_breaker::TIMEOUT)?;
        Ok(Self::Verified(Arc::new(GuardedProvider::new(provider, breaker))))
    }
}

/// The payment provider's breaker, configured by the environment, with this timeout for its table.
///
/// # Errors
/// A variable that is missing or invalid.
pub(crate) fn breaker(
    lookup: impl Fn(&str) -> Option<String>,
    client: &aws_sdk_dynamodb::Client,
    timeout: Duration,
) -> Result<CircuitBreaker, ConfigError> {
    let settings: Settings = parsed(SETTINGS, &lookup(SETTINGS).unwrap_or_default())?;
    let table = lookup(TABLE).filter(|table| !table.is_empty());
    let table = table.ok_or_else(|| ConfigError::new(TABLE, "is not set"))?;
    let table = Table::new(client.clone(), table).with_timeout(timeout);
    Ok(CircuitBreaker::new(BREAKER, settings, table).on_transition(report_transition))
}

/// Logs a transition: as a warning in the process that made it, so that each is logged and counted once, and for debugging in
/// others.
fn report_transition(transition: &Transition) {
    let Transition { breaker, generation, from, to, why, origin } = transition;
    let by = match why {
        Reason::Override(intervention) => Some(&intervention.requested.by),
        _ => None,
    };
    match origin {
        Origin::ThisProcess | Origin::LocalOnly => {
            let name = match to {
                State::Open => "CircuitOpened",
                State::HalfOpen => "CircuitHalfOpened",
                State::Closed => "CircuitClosed",
            };
            metrics::counter!(name).increment(1);
            let local_only = *origin == Origin::LocalOnly;
            tracing::warn!(breaker, generation, %from, %to, %why, by, local_only, "circuit changed");
        }
        Origin::OtherProcess => {
            tracing::debug!(breaker, generation, %from, %to, %why, by, "circuit changed by another process")
        }
    }
}

/// Logs why a claim could not be verified: as an error if it needs manual attention, otherwise as a warning. A capture of
/// another amount does not: it is recorded as a refund that is due.
pub(crate) fn log(claim: &Claim, cause: &Cause<VerifyError>) {
    let (order_id, payment_id) = (claim.order_id, &claim.payment_id);
    let why = chain(cause);
    match cause {
        Cause::Failed(VerifyError::OtherOrder | VerifyError::OtherCurrency) => {
            tracing::error!(%order_id, %payment_id, error = why, "payment not verified: needs manual attention");
        }
        _ => tracing::warn!(%order_id, %payment_id, error = why, "payment not verified"),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
    use axum::http::StatusCode;
    use orders_local::secrets::Secrets;
    use tokio::net::TcpListener;

    use super::*;
    use crate::testing;

    async fn read_from(secrets: &str, given: &[(&str, &str)]) -> Result<bool, String> {
        let lookup = |name: &str| given.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
        let client = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .endpoint_url(secrets);
        let client = aws_sdk_secretsmanager::Client::from_conf(SecretsManager::timeouts(client).build());
        let payments = Payments::read(lookup, &testing::unreachable_client(), async || client).await;
        Ok(matches!(payments.map_err(|error| format!("{error:?}"))?, Payments::Verified(_)))
    }

    async fn read(given: &[(&str, &str)]) -> Result<bool, String> {
        read_from("http://127.0.0.1:9", given).await
    }

    const PROVIDER: (&str, &str) = (URL, "https://pay.example.com");
    const BREAKERS: (&str, &str) = (TABLE, "breakers");
    const NAMED: [(&str, &str); 3] = [PROVIDER, BREAKERS, (SECRET, "arn:token")];

    #[tokio::test]
    async fn payments_are_verified_where_there_is_a_provider() {
        assert_eq!(read(&[PROVIDER, BREAKERS]).await, Ok(true));
        assert_eq!(
            read(&[PROVIDER, BREAKERS, (TRUST, "false"), (SETTINGS, "failures=3"), (SECRET, "")]).await,
            Ok(true)
        );
    }

    #[tokio::test]
    async fn the_caller_is_trusted_only_where_the_environment_says_so() {
        assert_eq!(read(&[(TRUST, "true")]).await, Ok(false));
        for undecided in [&[][..], &[(URL, "")], &[(TRUST, "false")], &[(TRUST, "")]] {
            let error = read(undecided).await.unwrap_err();
            assert!(error.starts_with("the environment variable PAYMENT_PROVIDER_URL is not set: "), "{error}");
        }
        let error = read(&[PROVIDER, BREAKERS, (TRUST, "true")]).await.unwrap_err();
        assert!(error.starts_with("the environment variable TRUST_CALLER_PAYMENTS is true, but "), "{error}");
    }

    #[tokio::test]
    async fn an_invalid_variable_is_named_with_the_reason() {
        for (variable, value) in
            [(URL, "pay.example.com"), (TRUST, "yes"), (SETTINGS, "failures=0"), (SETTINGS, "window=1s; window=2s")]
        {
            let mut given = vec![BREAKERS, (variable, value)];
            given.extend(Some(PROVIDER).filter(|_| variable != URL));
            let error = read(&given).await.unwrap_err();
            assert!(error.starts_with(&format!("the environment variable {variable} is invalid: ")), "{error}");
        }
        assert_eq!(read(&[PROVIDER]).await, Err("the environment variable CIRCUIT_BREAKERS_TABLE is not set".into()));
        let error = read(&[PROVIDER, BREAKERS, (SETTINGS, "open=0s")]).await.unwrap_err();
        assert!(error.contains(r#"character 6, at "0s": expected a duration from 100ms"#), "{error}");
    }

    #[tokio::test]
    async fn a_token_comes_from_its_secret_and_without_one_the_function_does_not_start() {
        let secrets = Secrets::default();
        let served = secrets.serve().await.unwrap();
        let read = async || read_from(&served.url, &NAMED).await;
        let start = "the environment variable PAYMENT_PROVIDER_TOKEN_ARN names a secret that ";
        assert_eq!(read().await, Err(format!("{start}does not exist")));
        for (value, why) in [("", "is not a token: "), ("s3cret\n", "is not a token: "), ("{}", "is not a token: ")] {
            secrets.put("arn:token", value);
            let error = read().await.unwrap_err();
            assert!(error.starts_with(&format!("{start}{why}")) && !error.contains("s3cret"), "{error}");
        }
        secrets.put("arn:token", "s3cret");
        assert_eq!(read().await, Ok(true));
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_read_is_reported_with_what_to_change() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let denying = format!("http://{}", listener.local_addr().unwrap());
        let denied = async || (StatusCode::BAD_REQUEST, r#"{"__type": "AccessDeniedException", "Message": "no"}"#);
        tokio::spawn(axum::serve(listener, axum::Router::new().fallback(denied)).into_future());
        let error = read_from(&denying, &NAMED).await.unwrap_err();
        assert!(error.contains(" names a secret that the function may not read: its role needs "), "{error}");
        let error = read(&NAMED).await.unwrap_err();
        assert!(error.contains(" names a secret that could not be read: "), "{error}");
    }
}
