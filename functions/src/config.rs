//! Configuration from the environment, read once at startup.

use std::env;
use std::fmt;
use std::num::NonZeroU32;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::config::Builder;
use dynamodb_event_store::client as settings;
use dynamodb_event_store::{Epoch, EventStore};
use orders_core::domain::{Currency, Order};
use orders_core::payments::SecretsManager;

use crate::telemetry::SdkCalls;

/// The settings that all functions share; `template.yaml` gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The table of events.
    pub order_events_table: String,
    /// The table of rows.
    pub orders_table: String,
    /// The one currency of the deployment, with the highest price of one piece.
    pub currency: Currency,
    /// The prefix of the scopes: what precedes `read`, `write`, ….
    pub scope_prefix: String,
    /// The number of versions from one snapshot to the next.
    pub snapshot_every: NonZeroU32,
    /// The epoch of new events; `None` if the event table was never restored to an earlier point.
    pub event_epoch: Option<Epoch>,
}

/// A setting that is missing or invalid. The function cannot start; correct the template's parameter or environment.
#[derive(PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {variable} {why}")]
pub struct ConfigError {
    variable: &'static str,
    why: String,
}

impl ConfigError {
    pub(crate) fn new(variable: &'static str, why: impl Into<String>) -> Self {
        Self { variable, why: why.into() }
    }
}

/// `main` prints the error that it returns with `Debug`.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// The first variable that is missing or invalid, with the reason.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(|variable| env::var(variable).ok())
    }

    fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = |variable| text(&lookup, variable);
        let currency: Currency = parsed("CURRENCY", &text("CURRENCY")?)?;
        let max_price = lookup("MAX_PRICE").unwrap_or_default();
        Ok(Self {
            order_events_table: text("ORDER_EVENTS_TABLE")?,
            orders_table: text("ORDERS_TABLE")?,
            currency: currency.with_max_price(&max_price).map_err(|error| invalid("MAX_PRICE", error))?,
            scope_prefix: scope_prefix(text("SCOPE_PREFIX")?)?,
            snapshot_every: parsed("SNAPSHOT_EVERY", &text("SNAPSHOT_EVERY")?)?,
            event_epoch: match lookup("EVENT_EPOCH").filter(|text| !text.is_empty()) {
                Some(text) => Some(parsed("EVENT_EPOCH", &text)?),
                None => None,
            },
        })
    }

    /// The store of this deployment's events.
    pub fn event_store(&self, client: aws_sdk_dynamodb::Client) -> EventStore<Order> {
        EventStore::with_client(client, &self.order_events_table, self.snapshot_every)
            .in_epoch(self.event_epoch.clone())
    }
}

/// The sales tables, for the functions that maintain them. Other functions must not read these variables: during a
/// deployment, new code may briefly run with the old environment.
#[derive(Clone, Debug)]
pub struct SalesTables {
    /// The contribution of each order to the sales.
    pub rows: String,
    /// The totals of each day.
    pub totals: String,
}

impl SalesTables {
    /// Reads the environment.
    ///
    /// # Errors
    /// The first variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { rows: setting("SALES_TABLE")?, totals: setting("SALES_TOTALS_TABLE")? })
    }
}

/// A setting that only some functions have.
///
/// # Errors
/// The variable is missing or invalid, with the reason.
pub fn setting<T: std::str::FromStr<Err: fmt::Display>>(variable: &'static str) -> Result<T, ConfigError> {
    parsed(variable, &text(|variable| env::var(variable).ok(), variable)?)
}

fn text(lookup: impl Fn(&str) -> Option<String>, variable: &'static str) -> Result<String, ConfigError> {
    match lookup(variable) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(ConfigError { variable, why: "is not set".into() }),
    }
}

pub(crate) fn parsed<T: std::str::FromStr<Err: fmt::Display>>(
    variable: &'static str,
    text: &str,
) -> Result<T, ConfigError> {
    text.parse().map_err(|error| invalid(variable, error))
}

fn invalid(variable: &'static str, error: impl fmt::Display) -> ConfigError {
    ConfigError { variable, why: format!("is invalid: {error}") }
}

/// A scope is visible ASCII without `"` and `\` (RFC 6749).
fn scope_prefix(text: String) -> Result<String, ConfigError> {
    let valid = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b));
    let why = || "is invalid: it must be visible ASCII characters without \" and \\".to_owned();
    valid.then_some(text).ok_or_else(|| ConfigError { variable: "SCOPE_PREFIX", why: why() })
}

/// A client of DynamoDB, to be created once per container.
pub async fn dynamodb_client() -> aws_sdk_dynamodb::Client {
    client(settings::for_requests).await
}

/// The same, for a function that scans tables.
pub async fn bulk_client() -> aws_sdk_dynamodb::Client {
    client(settings::for_bulk).await
}

async fn client(settings: impl FnOnce(Builder) -> Builder) -> aws_sdk_dynamodb::Client {
    let environment = aws_config::load_defaults(BehaviorVersion::latest()).await;
    aws_sdk_dynamodb::Client::from_conf(settings(Builder::from(&environment)).interceptor(SdkCalls).build())
}

/// A client of Secrets Manager, for a function that has a secret.
pub(crate) async fn secrets_client() -> aws_sdk_secretsmanager::Client {
    let environment = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let settings = SecretsManager::timeouts(aws_sdk_secretsmanager::config::Builder::from(&environment));
    aws_sdk_secretsmanager::Client::from_conf(settings.build())
}

#[cfg(test)]
mod tests {
    use dynamodb_rate_limit::Policy;
    use orders_core::domain::Money;

    use super::*;

    fn config(variable: &str, value: Option<&str>) -> Result<Config, String> {
        let rest = |name: &str| match name {
            "CURRENCY" => "EUR",
            "SCOPE_PREFIX" => "orders:",
            "SNAPSHOT_EVERY" => "14",
            "EVENT_EPOCH" => "2",
            "MAX_PRICE" => "0",
            _ => "a-table",
        };
        let lookup = |name: &str| if name == variable { value } else { Some(rest(name)) }.map(str::to_owned);
        Config::read(lookup).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn the_environment_of_the_template_is_read() {
        let config = config("", None).unwrap();
        assert_eq!(config.currency.code(), "EUR");
        assert_eq!(config.snapshot_every.get(), 14);
        assert_eq!(config.event_epoch, Some("2".parse().unwrap()));
    }

    #[test]
    fn a_store_that_was_never_restored_has_no_epoch() {
        for none in [None, Some("")] {
            assert_eq!(config("EVENT_EPOCH", none).unwrap().event_epoch, None);
        }
    }

    #[test]
    fn the_highest_price_is_the_currencys_own_unless_the_deployment_sets_one() {
        let max_price = |value| config("MAX_PRICE", value).unwrap().currency.max_price();
        for default in [None, Some(""), Some("0")] {
            assert_eq!(max_price(default), Money(100_000_000));
        }
        assert_eq!(max_price(Some("99.5")), Money(9_950));
    }

    #[test]
    fn a_missing_or_invalid_variable_is_named_with_the_reason() {
        for variable in ["ORDER_EVENTS_TABLE", "ORDERS_TABLE", "CURRENCY", "SCOPE_PREFIX", "SNAPSHOT_EVERY"] {
            for value in [None, Some("")] {
                let expected = format!("the environment variable {variable} is not set");
                assert_eq!(config(variable, value), Err(expected));
            }
        }
        for (variable, value) in [
            ("CURRENCY", "euro"),
            ("CURRENCY", "XAU"),
            ("MAX_PRICE", "-1"),
            ("MAX_PRICE", "0.001"),
            ("MAX_PRICE", "1e99"),
            ("MAX_PRICE", "1,000"),
            ("SNAPSHOT_EVERY", "0"),
            ("SNAPSHOT_EVERY", "-3"),
            ("SNAPSHOT_EVERY", "many"),
            ("EVENT_EPOCH", "Zwei"),
            ("SCOPE_PREFIX", "orders "),
            ("SCOPE_PREFIX", "or\"ders"),
        ] {
            let error = config(variable, Some(value)).unwrap_err();
            assert!(error.starts_with(&format!("the environment variable {variable} is invalid: ")), "{error}");
        }
    }

    #[test]
    fn an_invalid_rate_limit_is_named_with_the_position_of_the_error() {
        let error = parsed::<Policy>("RATE_LIMIT", "token-bucket; rate=0/s; burst=20; by=user").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the environment variable RATE_LIMIT is invalid: \"token-bucket; rate=0/s; burst=20; by=user\", character 20, \
             at \"0/s\": expected a positive whole number per duration, such as 5/s, 100/m or 1/10s"
        );
    }
}
