//! The containers, with a real process and the real Rust runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::obedient;
use crate::support::{Log, alive, exists, template};
use axum::body::Bytes;
use dynamodb_testkit::wait::until;
use orders_local::lambda::{Containers, InvokeError};
use orders_local::template::{Function, Template, TemplateOptions};
use serde_json::{Value, json};

fn function(timeout: Duration) -> Function {
    let template = Template::load(&template(), &TemplateOptions::default()).unwrap();
    let environment = BTreeMap::from([("TABLE".into(), "Orders".into())]);
    Function { timeout, environment, ..template.function("CreateThing").unwrap().clone() }
}

struct Running {
    containers: Arc<Containers>,
    log: Log,
}

fn start(timeout_ms: u64, most: u32, extra: &[(&str, &str)]) -> Running {
    let log = Log::default();
    let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let function = function(Duration::from_millis(timeout_ms));
    Running { containers: Containers::new(&function, &obedient::directory(), &extra, most, log.logs()), log }
}

impl Running {
    async fn call(&self, event: Value) -> Result<Value, String> {
        match self.containers.invoke(Bytes::from(event.to_string())).await {
            Ok(answer) => Ok(serde_json::from_slice(&answer).unwrap()),
            Err(InvokeError::Function(error)) => Err(String::from_utf8(error.to_vec()).unwrap()),
            Err(other) => Err(other.to_string()),
        }
    }

    fn log(&self) -> String {
        self.log.text()
    }
}

#[tokio::test]
async fn concurrent_invocations_have_a_process_each_up_to_the_limit() {
    let running = Arc::new(start(5000, 3, &[]));
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let running = running.clone();
            tokio::spawn(async move { running.call(json!({"sleep": 100})).await.unwrap()["instance"].to_string() })
        })
        .collect();
    let mut instances = BTreeSet::new();
    for call in calls {
        instances.insert(call.await.unwrap());
    }
    assert_eq!(instances.len(), 3);
    running.containers.stop().await;
}

#[tokio::test]
async fn a_process_has_the_functions_environment_and_little_else() {
    let running = start(5000, 1, &[("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")]);
    let seen = running.call(json!({"a": 1})).await.unwrap();
    let environment = &seen["environment"];
    assert_eq!(environment["TABLE"], "Orders");
    assert_eq!(environment["AWS_ENDPOINT_URL_DYNAMODB"], "http://127.0.0.1:1");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "CreateThing");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    assert!(environment.get("CARGO_MANIFEST_DIR").is_none() && environment.get("HOME").is_none());
    assert_eq!(seen["event"], json!({"a": 1}));
    assert!(seen["arn"].as_str().unwrap().ends_with(":function:CreateThing"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!(seen["deadline"].as_u64().unwrap().abs_diff(now) <= 5000);
    running.containers.stop().await;
}

#[tokio::test]
async fn an_error_of_the_function_is_returned_and_its_process_continues() {
    let running = start(5000, 1, &[]);
    let instance = running.call(json!({})).await.unwrap()["instance"].clone();
    let error = running.call(json!({"fail": "no such table"})).await.unwrap_err();
    assert!(error.contains("errorMessage") && error.contains("no such table"), "{error}");
    assert_eq!(running.call(json!({})).await.unwrap()["instance"], instance);
    running.containers.stop().await;
}

#[tokio::test]
async fn a_process_that_times_out_is_ended_and_replaced() {
    let running = start(300, 1, &[]);
    let seen = running.call(json!({})).await.unwrap();
    let error = running.call(json!({"sleep": 60_000})).await.unwrap_err();
    assert!(error.contains("Task timed out after 0.30 seconds"), "{error}");
    assert!(!alive(&seen["pid"]));
    assert_ne!(running.call(json!({})).await.unwrap()["instance"], seen["instance"]);
    running.containers.stop().await;
}

#[tokio::test]
async fn a_process_that_exits_fails_its_invocation_and_is_replaced() {
    let running = start(5000, 1, &[]);
    let error = running.call(json!({"exit": 7})).await.unwrap_err();
    assert!(error.contains("Runtime.ExitError") && error.contains("exit status: 7"), "{error}");
    assert!(running.call(json!({})).await.is_ok());
    running.containers.stop().await;
}

#[tokio::test]
async fn the_reason_of_a_process_that_does_not_start_is_logged() {
    let running = start(5000, 1, &[("REFUSE_TO_START", "1")]);
    let error = running.call(json!({})).await.unwrap_err();
    assert!(error.contains("exit status: 3"), "{error}");
    assert!(running.log().contains("obedient: the policy is empty"), "{}", running.log());
}

#[tokio::test]
async fn an_invocation_continues_when_its_caller_is_gone() {
    let running = start(5000, 1, &[]);
    let call = running.containers.invoke(Bytes::from(json!({"sleep": 200, "then": "late"}).to_string()));
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    until("the rest of the invocation", async || running.log().contains("late")).await;
    running.containers.stop().await;
}

#[tokio::test]
async fn a_stop_ends_idle_and_busy_processes() {
    let running = Arc::new(start(60_000, 2, &[]));
    let working = {
        let running = running.clone();
        tokio::spawn(async move { running.call(json!({"print": "working", "sleep": 60_000})).await })
    };
    until("the start of the work", async || running.log().contains("working")).await;
    let idle = running.call(json!({})).await.unwrap()["pid"].clone();
    assert!(alive(&idle));
    running.containers.stop().await;
    assert!(!alive(&idle));
    assert!(working.await.unwrap().unwrap_err().contains("stopping"));
    assert!(running.call(json!({})).await.unwrap_err().contains("stopping"));
}

#[tokio::test]
async fn no_killed_process_remains_as_a_zombie() {
    let running = Arc::new(start(60_000, 3, &[]));
    let calls = (0..3).map(|_| {
        let running = running.clone();
        tokio::spawn(async move { running.call(json!({"sleep": 200})).await.unwrap()["pid"].clone() })
    });
    let mut idle = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        idle.push(call.await.unwrap());
    }
    // From outside, and nothing is called afterwards.
    let (first, second) = (idle[0].to_string(), idle[1].to_string());
    assert!(std::process::Command::new("kill").args(["-s", "KILL", &first, &second]).status().unwrap().success());
    until("the end of the killed", async || !exists(&idle[0]) && !exists(&idle[1])).await;
    let working = {
        let running = running.clone();
        tokio::spawn(async move { running.call(json!({"print": "working", "sleep": 60_000})).await })
    };
    until("the start of the work", async || running.log().contains("working")).await;
    running.containers.crash();
    assert!(working.await.unwrap().unwrap_err().contains("Runtime exited"));
    until("the end of the crashed", async || !exists(&idle[2])).await;
    let next = running.call(json!({})).await.unwrap()["pid"].clone();
    running.containers.stop().await;
    until("the end of the stopped", async || !exists(&next)).await;
}
