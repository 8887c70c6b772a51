//! A function that obeys its event. It is this test program under another name, so it needs no build of its own and is a
//! process with the real Rust runtime.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// The directory with the function `obedient`.
pub fn directory() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let tests = std::env::current_exe().unwrap();
        let directory = tests.with_extension("functions");
        std::fs::create_dir_all(&directory).unwrap();
        let (file, draft) = (directory.join("obedient"), directory.join(format!("draft-{}", std::process::id())));
        let call = format!("exec '{}' --exact obedient::function --ignored --nocapture", tests.display());
        std::fs::write(&draft, format!("#!/bin/sh\n{call}\n")).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(draft, file).unwrap();
        directory
    };
    MADE.get_or_init(make).clone()
}

#[tokio::test]
#[ignore = "it is the function, which the stack starts"]
async fn function() {
    if std::env::var_os("REFUSE_TO_START").is_some() {
        eprintln!("the policy is empty");
        std::process::exit(3);
    }
    let instance = uuid::Uuid::new_v4().to_string();
    #[expect(clippy::disallowed_methods, reason = "it counts nothing")]
    lambda_runtime::run(service_fn(|event| obey(&instance, event))).await.unwrap();
}

async fn obey(instance: &str, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, context) = event.into_parts();
    // The order is in the body of an HTTP request, and in the detail of an event of a bus.
    let order = match (event.get("body").and_then(Value::as_str), event.get("detail")) {
        (Some(body), _) => serde_json::from_str(body).unwrap_or_default(),
        (None, Some(detail)) => detail.clone(),
        (None, None) => event.clone(),
    };
    if let Some(line) = order.get("print").and_then(Value::as_str) {
        println!("{line}");
    }
    if let Some(millis) = order.get("sleep").and_then(Value::as_u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    if let Some(line) = order.get("then").and_then(Value::as_str) {
        println!("{line}");
    }
    if let Some(code) = order.get("exit").and_then(Value::as_i64) {
        std::process::exit(i32::try_from(code)?);
    }
    if let Some(reason) = order.get("fail").and_then(Value::as_str) {
        // Every function logs its errors.
        eprintln!("{reason}");
        return Err(Error::from(reason.to_owned()));
    }
    // A record of a stream has it in its new image.
    for record in event.get("Records").and_then(Value::as_array).into_iter().flatten() {
        println!("record {}", record["dynamodb"]["Keys"]);
        if record["dynamodb"]["NewImage"].get("poison").is_some() {
            return Err(Error::from("a record is poison"));
        }
    }
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let seen = json!({"instance": instance, "pid": std::process::id(), "environment": environment,
        "deadline": context.deadline, "arn": context.invoked_function_arn, "event": event});
    Ok(order.get("answer").cloned().unwrap_or(seen))
}
