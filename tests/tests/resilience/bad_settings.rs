//! Functions with invalid settings do not start, and log why.

use std::path::Path;
use std::process::Command;

use orders_local::lambda::binaries;
use orders_local::secrets::Secrets;

const RATE_LIMIT: &str = "RATE_LIMIT";
const PAYMENT_BREAKER: &str = "PAYMENT_BREAKER";
const TOKEN_ARN: &str = "PAYMENT_PROVIDER_TOKEN_ARN";

/// Starts `pay-order` with one variable changed; returns its error output.
fn startup_error(binaries: &Path, secrets: &str, variable: &str, value: &str) -> String {
    let valid = [
        ("ORDER_EVENTS_TABLE", "events"),
        ("ORDERS_TABLE", "orders"),
        ("CURRENCY", "EUR"),
        ("SCOPE_PREFIX", "orders:"),
        ("SNAPSHOT_EVERY", "14"),
        ("RATE_LIMITS_TABLE", "limits"),
        (RATE_LIMIT, "token-bucket; rate=5/s; burst=20; by=user"),
        ("CIRCUIT_BREAKERS_TABLE", "breakers"),
        ("PAYMENT_PROVIDER_URL", "https://payments.example.com"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ];
    let mut function = Command::new(binaries.join("pay-order"));
    let ended = function.env_clear().envs(valid).env(variable, value).output().unwrap();
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && !error.contains("panicked"), "{variable}={value}: {error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_with_an_invalid_setting_does_not_start_and_logs_its_name_and_the_reason() {
    let binaries = binaries::build().await.unwrap();
    let secrets = Secrets::default();
    secrets.put("arn:json", r#"{"token": "s3cret"}"#);
    let served = secrets.serve().await.unwrap();
    for (variable, value, why) in [
        (RATE_LIMIT, "", "is not set"),
        (RATE_LIMIT, "leaky-bucket; rate=5/s", "at \"leaky-bucket\""),
        (
            RATE_LIMIT,
            "token-bucket; rate=0/s; burst=20; by=user",
            "at \"0/s\": expected a positive whole number per duration",
        ),
        (
            RATE_LIMIT,
            "token-bucket; rate=-5/s; burst=20; by=user",
            "at \"-5/s\": expected a positive whole number per duration",
        ),
        (RATE_LIMIT, "token-bucket; rate=5/s; burst=0; by=user", "at \"0\": expected a whole number from 1"),
        (
            RATE_LIMIT,
            "token-bucket; rate=5/s; burst=20; by=user; colour=red",
            "at \"colour\": unknown setting; expected one of",
        ),
        (RATE_LIMIT, "token-bucket; rate=5/s; burst=99999999999999999999; by=user", "at \"99999999999999999999\""),
        (RATE_LIMIT, "token-bucket; rate=5000000/s; burst=20; by=user", "at \"5000000/s\""),
        (RATE_LIMIT, "sliding-window; limit=5; window=0s; by=user", "at \"0s\": expected a duration from 1s"),
        (RATE_LIMIT, "sliding-window; limit=5; window=99999999999999999999h; by=user", "expected a duration from 1s"),
        (PAYMENT_BREAKER, "failures=0", "at \"0\": expected a whole number from 1 to 10000"),
        (PAYMENT_BREAKER, "ratio=101%", "at \"101%\": expected a percentage from 1% to 100%"),
        (PAYMENT_BREAKER, "open=0s", "at \"0s\": expected a duration from 100ms"),
        (PAYMENT_BREAKER, "probes=11", "at \"11\": expected a whole number from 1 to 10"),
        (PAYMENT_BREAKER, "open=10m", "open-max must not be less than open"),
        (PAYMENT_BREAKER, "colour=red", "at \"colour\": unknown setting; expected one of failures, ratio"),
        ("MAX_PRICE", "0.001", "must have at most 2 decimals, as EUR has"),
        ("MAX_PRICE", "1e99", "must not be above 10000000000000"),
        ("MAX_PRICE", "a lot", "must be a JSON number"),
        ("PAYMENT_PROVIDER_URL", "", "or set TRUST_CALLER_PAYMENTS to true"),
        ("PAYMENT_PROVIDER_URL", "payments.example.com", "http or https address"),
        ("TRUST_CALLER_PAYMENTS", "true", "set only one of them"),
        (TOKEN_ARN, "arn:missing", "names a secret that does not exist"),
        (TOKEN_ARN, "arn:json", "names a secret that is not a token: its text must be the token itself"),
    ] {
        let error = startup_error(&binaries, &served.url, variable, value);
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(&format!("the environment variable {variable} ")) && error.contains(why), "{error}");
    }
}
