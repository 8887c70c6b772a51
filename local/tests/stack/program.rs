//! The program itself: how it starts, stops and fails.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_testkit::wait::until;
use orders_local::dynamodb;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

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

/// A program that serves, and its address.
pub struct Serving {
    pub child: Child,
    pub url: String,
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
        // The rest of its output must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, url }
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        reqwest::get(format!("{}{path}", self.url)).await.unwrap().json().await.unwrap()
    }

    /// Invokes a function; returns its pid.
    async fn invoke(&self) -> Value {
        let token = self.get("/dev/stack").await["tokens"]["customer"].as_str().unwrap().to_owned();
        let request = reqwest::Client::new().get(format!("{}/health", self.url)).bearer_auth(token);
        request.send().await.unwrap().json::<Value>().await.unwrap()["pid"].clone()
    }

    async fn client(&self) -> Client {
        dynamodb::client(self.get("/dev/stack").await["dynamodb"].as_str().unwrap())
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
        let function = serving.invoke().await;
        put(&serving.client().await, true).await;
        until("the file of the failed record", async || !files(&temporary.0).is_empty()).await;
        assert!(alive(&function));
        assert!(serving.signal(signal).await.success(), "{signal}");
        assert!(!alive(&function), "{signal}");
        assert_eq!(std::fs::read_dir(&temporary.0).unwrap().count(), 0, "{signal}");
    }
}

#[tokio::test]
async fn a_signal_to_stop_is_obeyed_during_the_start() {
    // A database that never responds, so that the start does not complete.
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
async fn the_demo_succeeds_with_the_real_functions() {
    let temporary = Scratch::new();
    let binaries = orders_local::lambda::binaries::build().await.unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_orders-local"));
    demo.arg("--binaries").arg(binaries).arg("demo").env("TMPDIR", &temporary.0).kill_on_drop(true);
    // It fails at the first unexpected status, event or row.
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
async fn functions_exit_also_when_the_stack_is_killed() {
    let temporary = Scratch::new();
    let mut serving = Serving::start(&["--port", "0"], &temporary.0).await;
    let function = serving.invoke().await;
    assert!(alive(&function));
    serving.signal("KILL").await;
    until("the end of the function", async || !alive(&function)).await;
}

#[tokio::test]
async fn items_in_a_data_directory_survive_a_restart() {
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
async fn invoke_prints_only_the_response_on_the_standard_output() {
    let scratch = Scratch::new();
    let event = scratch.0.join("event.json");
    std::fs::write(&event, r#"{"print": "a log line", "answer": {"total": 7}}"#).unwrap();
    let output = output(&["--port", "1", "invoke", "GetThing", "-e", event.to_str().unwrap()]).await;
    assert_eq!(text(&output.stdout), "{\"total\":7}\n");
    assert!(text(&output.stderr).contains("obedient | a log line"), "{}", text(&output.stderr));
    assert!(output.status.success());
}

#[tokio::test]
async fn invoke_fails_with_the_functions_error_and_names_the_functions() {
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
async fn invoke_uses_the_tables_and_the_bus_of_the_running_stack() {
    let scratch = Scratch::new();
    let mut serving = Serving::start(&["--port", "0"], &scratch.0).await;
    let event = scratch.0.join("event.json");
    std::fs::write(&event, "{}").unwrap();
    let port = serving.url.rsplit(':').next().unwrap().to_owned();
    let output = output(&["--port", &port, "invoke", "GetThing", "-e", event.to_str().unwrap()]).await;
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let about = serving.get("/dev/stack").await;
    let said = text(&output.stderr);
    assert!(said.contains(&format!("with the tables at {}", about["dynamodb"].as_str().unwrap())), "{said}");
    assert_ne!(seen["environment"]["AWS_ENDPOINT_URL_DYNAMODB"], about["dynamodb"], "its own gate checks the call");
    serving.signal("TERM").await;
}

#[tokio::test]
async fn a_rebuild_without_a_stack_says_what_to_start() {
    let output = output(&["--port", "1", "rebuild"]).await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    let error = text(&output.stderr);
    assert!(error.contains("no local stack runs on port 1: start one with `cargo run`, or use --data DIR"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = output(&["--port", &port]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("cannot listen on port {port}")), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_function_without_a_binary_is_named_at_the_start() {
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

/// Hundredths of a second of processor time of a process.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    [fields[11], fields[12]].map(|ticks| ticks.parse::<u64>().unwrap()).iter().sum()
}

#[tokio::test]
async fn an_idle_stack_uses_hardly_any_processor_time() {
    let scratch = Scratch::new();
    let mut serving = Serving::start(&["--port", "0"], &scratch.0).await;
    serving.invoke().await;
    let (pid, span) = (serving.pid(), Duration::from_secs(3));
    // The start may extend into the first span.
    let mut least = u64::MAX;
    for _ in 0..3 {
        let before = ticks(pid);
        sleep(span).await;
        least = least.min(ticks(pid) - before);
    }
    assert!(least <= 6, "{least} hundredths of a second in {span:?}");
    serving.signal("TERM").await;
}
