//! Functions start with the settings of the template, and with no invalid ones.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use orders_local::lambda::binaries;
use orders_local::secrets::Secrets;
use orders_local::template::{Function, Template, TemplateOptions, project_path};

const RATE_LIMIT: &str = "RATE_LIMIT";
const PAYMENT_BREAKER: &str = "PAYMENT_BREAKER";
const TOKEN_ARN: &str = "PAYMENT_PROVIDER_TOKEN_ARN";

/// The template, with a payment provider.
fn template() -> Template {
    let mut options = TemplateOptions::default();
    options.parameters.insert("PaymentProviderUrl".into(), "https://payments.example.com".into());
    Template::load(&project_path(), &options).unwrap()
}

/// Starts a function with the template's environment and these changes; returns its error output. It ends even if its
/// settings are valid, because there is no Lambda.
fn start(binaries: &Path, function: &Function, changes: &[(&str, Option<&str>)]) -> String {
    let mut command = Command::new(binaries.join(&function.binary));
    command.env_clear().envs(&function.environment).envs([
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9"),
        ("AWS_MAX_ATTEMPTS", "1"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ]);
    for (variable, value) in changes {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    String::from_utf8(command.output().unwrap().stderr).unwrap()
}

/// The beginning of the error about a variable.
fn names(variable: &str) -> String {
    format!("the environment variable {variable} ")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_template_gives_every_function_the_variables_that_it_reads_and_no_others() {
    let (binaries, functions) = (binaries::build().await.unwrap(), template().functions);
    let known: BTreeSet<&str> = functions.iter().flat_map(|it| it.environment.keys().map(String::as_str)).collect();
    // `Globals` gives some to all functions.
    let global = |variable: &str| functions.iter().all(|function| function.environment.contains_key(variable));
    for function in &functions {
        // A function rejects the lack of a required variable, and invalid text in an optional one.
        let invalid = Some("\u{7f}");
        let (given, others) = known.iter().partition::<Vec<&str>, _>(|it| function.environment.contains_key(**it));
        for changes in [vec![], others.into_iter().map(|variable| (variable, invalid)).collect()] {
            let error = start(&binaries, function, &changes);
            assert!(!error.contains("the environment variable"), "{} lacks a variable: {error}", function.binary);
        }
        for variable in given.into_iter().filter(|variable| !global(variable)) {
            let read = [None, invalid]
                .iter()
                .any(|value| start(&binaries, function, &[(variable, *value)]).contains(&names(variable)));
            assert!(read, "template.yaml gives {} the variable {variable}, which it does not read", function.binary);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_with_an_invalid_setting_does_not_start_and_logs_its_name_and_the_reason() {
    let (binaries, functions) = (binaries::build().await.unwrap(), template().functions);
    let pay_order = functions.iter().find(|function| function.binary == "pay-order").unwrap();
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
        let changes = [(variable, Some(value)), ("AWS_ENDPOINT_URL_SECRETS_MANAGER", Some(served.url.as_str()))];
        let error = start(&binaries, pay_order, &changes);
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(&names(variable)) && error.contains(why), "{error}");
        assert!(!error.contains("panicked"), "{variable}={value}: {error}");
    }
}
