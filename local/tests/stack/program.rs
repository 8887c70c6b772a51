//! The program itself: how it starts, stops and fails.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_testkit::wait::until;
use orders_local::database;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::obedient;
use crate::support::{Scratch, alive, files, template};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders-local"));
    if !arguments.contains(&"--binaries") {
        command.arg("--binaries").arg(obedient::directory());
    }
    command.arg("--template").arg(template()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A program that serves, and where.
pub struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    pub async fn start(arguments: &[&str], temporary: &Path) -> Self {
        let mut child = program(arguments).env("TMPDIR", temporary).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = lines.next_line().await.unwrap().expect("it prints where it serves");
            if let Some(url) = line.trim().strip_prefix("API ") {
                break url.trim().to_owned();
            }
        };
        // What else it prints must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, url }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        reqwest::get(format!("{}{path}", self.url)).await.unwrap().json().await.unwrap()
    }

    async fn client(&self) -> Client {
        database::client(self.get("/dev/stack").await["dynamodb"].as_str().unwrap())
    }

    pub async fn signal(&mut self, name: &str) -> std::process::ExitStatus {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().await.unwrap().success());
        timeout(Duration::from_secs(10), self.child.wait()).await.expect("it ends").unwrap()
    }
}

async fn put(client: &Client, poison: bool) {
    let item = client.put_item().table_name("Events").item("stream_id", AttributeValue::S("a".into()));
    let item = item.item("version", AttributeValue::N("1".into()));
    let item = if poison { item.item("poison", AttributeValue::Bool(true)) } else { item };
    item.send().await.unwrap();
}

async fn output(arguments: &[&str]) -> Output {
    program(arguments).output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_signal_to_stop_leaves_no_process_and_no_file_behind() {
    for signal in ["INT", "TERM"] {
        let temporary = Scratch::new();
        let mut serving = Serving::start(&["--port", "0"], &temporary.0).await;
        let function = serving.get("/health").await["pid"].clone();
        put(&serving.client().await, true).await;
        until("the file of the failed record", async || !files(&temporary.0).is_empty()).await;
        assert!(alive(&function));
        assert!(serving.signal(signal).await.success(), "{signal}");
        assert!(!alive(&function), "{signal}");
        assert_eq!(std::fs::read_dir(&temporary.0).unwrap().count(), 0, "{signal}");
    }
}

#[tokio::test]
async fn a_signal_to_stop_is_heard_while_the_stack_still_starts() {
    // A database that never answers, so that it never gets further.
    let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", database.local_addr().unwrap());
    for (arguments, signal) in [(&["--port", "0"][..], "INT"), (&["--port", "0"], "TERM"), (&["demo"], "INT")] {
        let temporary = Scratch::new();
        let child = program(arguments).args(["--dynamodb", &url]).env("TMPDIR", &temporary.0).spawn().unwrap();
        let _connection = timeout(Duration::from_secs(10), database.accept()).await.unwrap().unwrap();
        let mut starting = Serving { child, url: String::new() };
        assert_eq!(starting.signal(signal).await.code(), Some(130), "{arguments:?}");
        assert_eq!(std::fs::read_dir(&temporary.0).unwrap().count(), 0, "{arguments:?}");
    }
}

#[tokio::test]
async fn the_demo_goes_to_its_end_with_the_real_functions() {
    let temporary = Scratch::new();
    let binaries = orders_local::binaries::build().await.unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_orders-local"));
    demo.arg("--binaries").arg(binaries).arg("demo").env("TMPDIR", &temporary.0).kill_on_drop(true);
    // It breaks off at the first answer, event or row that is not as it should be.
    let output = demo.output().await.unwrap();
    let (shown, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}\n{errors}");
    for expected in
        ["1. ", "OrderCreated", "OrderPaid", "OrderShipped", "OrderDelivered", "OrderRefundDue", "404", "row"]
    {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert_eq!(std::fs::read_dir(&temporary.0).unwrap().count(), 0);
}

#[tokio::test]
async fn functions_end_also_when_the_stack_is_killed() {
    let temporary = Scratch::new();
    let mut serving = Serving::start(&["--port", "0"], &temporary.0).await;
    let function = serving.get("/health").await["pid"].clone();
    assert!(alive(&function));
    serving.signal("KILL").await;
    until("the end of the function", async || !alive(&function)).await;
}

#[tokio::test]
async fn a_data_directory_keeps_the_items() {
    let data = Scratch::new();
    let arguments = ["--port", "0", "--data", data.0.to_str().unwrap()];
    let mut first = Serving::start(&arguments, &data.0).await;
    put(&first.client().await, false).await;
    first.signal("TERM").await;
    let mut second = Serving::start(&arguments, &data.0).await;
    let items = second.client().await.scan().table_name("Events").send().await.unwrap();
    assert_eq!(items.count(), 1);
    second.signal("TERM").await;
}

#[tokio::test]
async fn invoke_prints_the_answer_alone_on_the_standard_output() {
    let scratch = Scratch::new();
    let event = scratch.0.join("event.json");
    std::fs::write(&event, r#"{"print": "a log line", "answer": {"total": 7}}"#).unwrap();
    let output = output(&["--port", "1", "invoke", "GetThing", "-e", event.to_str().unwrap()]).await;
    assert_eq!(text(&output.stdout), "{\"total\":7}\n");
    assert!(text(&output.stderr).contains("obedient | a log line"), "{}", text(&output.stderr));
    assert!(output.status.success());
}

#[tokio::test]
async fn invoke_fails_with_the_functions_error_and_names_the_functions_there_are() {
    let scratch = Scratch::new();
    let event = scratch.0.join("event.json");
    std::fs::write(&event, r#"{"fail": "no such table"}"#).unwrap();
    let event = event.to_str().unwrap();
    let failed = output(&["--port", "1", "invoke", "GetThing", "-e", event]).await;
    assert!(text(&failed.stdout).contains("no such table"));
    assert_eq!(failed.status.code(), Some(1));
    let unknown = output(&["--port", "1", "invoke", "get-thin", "-e", event]).await;
    let said = text(&unknown.stderr);
    assert!(said.contains("no function get-thin; it has obedient") && !said.contains("took"), "{said}");
    assert_eq!(unknown.status.code(), Some(1));
}

#[tokio::test]
async fn invoke_uses_the_tables_and_the_bus_of_the_stack_that_runs() {
    let scratch = Scratch::new();
    let mut serving = Serving::start(&["--port", "0"], &scratch.0).await;
    let event = scratch.0.join("event.json");
    std::fs::write(&event, "{}").unwrap();
    let port = serving.url.rsplit(':').next().unwrap().to_owned();
    let output = output(&["--port", &port, "invoke", "GetThing", "-e", event.to_str().unwrap()]).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let about = serving.get("/dev/stack").await;
    assert_eq!(told["environment"]["AWS_ENDPOINT_URL_DYNAMODB"], about["dynamodb"]);
    assert_eq!(told["environment"]["AWS_ENDPOINT_URL_EVENTBRIDGE"], about["eventbridge"]);
    serving.signal("TERM").await;
}

#[tokio::test]
async fn a_rebuild_of_nothing_says_what_to_start() {
    let output = output(&["--port", "1", "rebuild"]).await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    let error = text(&output.stderr);
    assert!(error.contains("no local stack runs on port 1: start one with `cargo run`, or say --data DIR"), "{error}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = output(&["--port", &port]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("cannot listen on port {port}")), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_function_without_a_binary_is_named_before_anything_runs() {
    let scratch = Scratch::new();
    let output = output(&["--port", "0", "--binaries", scratch.0.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("has no binary") && error.contains("obedient"), "{error}");
}

#[tokio::test]
async fn it_prints_a_token_for_each_caller_and_a_line_for_each_route() {
    let scratch = Scratch::new();
    let mut child = program(&["--port", "0"]).env("TMPDIR", &scratch.0).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    while !printed.last().is_some_and(|line: &String| line.contains("Ctrl-C")) {
        printed.push(lines.next_line().await.unwrap().expect("it says how to stop it"));
    }
    let url = printed.iter().find_map(|line| line.trim().strip_prefix("API ")).unwrap().trim().to_owned();
    let about: Value = reqwest::get(format!("{url}/dev/stack")).await.unwrap().json().await.unwrap();
    for token in about["tokens"].as_object().unwrap().values() {
        assert!(printed.iter().any(|line| line.trim() == token), "{token}");
    }
    for route in about["routes"].as_array().unwrap() {
        let path = route["path"].as_str().unwrap().replace("{id}", "$order");
        let line = format!("curl -sS -X {} \"{url}{path}\"", route["method"].as_str().unwrap());
        assert!(printed.iter().any(|printed| printed.contains(&line)), "{line} is not in {printed:#?}");
    }
    child.kill().await.unwrap();
}
