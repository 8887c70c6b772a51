//! The process of the stack: `chaos serve`. It is killed now and then, and started again with the same data.
//!
//! It reads [`Instruction`]s from its input and writes [`Message`]s, a line of JSON each.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dynamodb_testkit::proxy::Proxy;
use fastrand::Rng;
use orders_local::dynamodb::{Database, Storage, client};
use orders_local::iam::{Checked, Observer};
use orders_local::lambda::Logs;
use orders_local::stack::{Stack, StackOptions};
use orders_local::template::Template;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{clock, faults};
use crate::database::external;

/// The creations of all callers together that are admitted within a window.
pub const CREATIONS: usize = 60;
/// The window.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Unpaid orders expire after so many hours.
pub const EXPIRY_HOURS: u32 = 24;

/// A command to the process.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instruction {
    /// There are faults, but for those of the bus's mode.
    FaultsOn,
    /// There are none.
    FaultsOff,
    /// Invoke this function with this event.
    Invoke(String, Value),
}

/// A line of the process.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// It serves; as `GET /dev/stack` describes it.
    Ready(Value),
    /// A fault was injected.
    Fault(String),
    /// A call of a function was denied by its policies.
    Denied(String),
    /// The response of a function, or null.
    Invoked(Value),
}

fn send(message: &Message) {
    let mut output = std::io::stdout().lock();
    drop(writeln!(output, "{}", json!(message)).and_then(|()| output.flush()));
}

fn report_fault(name: &str) {
    send(&Message::Fault(name.to_owned()));
}

/// Serves until the input ends.
pub async fn serve(data: PathBuf, binaries: PathBuf, seed: u64, payments: &str) {
    let (database, dynamodb) = match external() {
        Some(endpoint) => (None, endpoint),
        None => {
            let database = Database::start(&Storage::Directory(data.clone())).expect("the database starts");
            let endpoint = database.endpoint().to_owned();
            (Some(database), endpoint)
        }
    };
    let proxy = Proxy::start(&dynamodb);
    let mut options = StackOptions::new(binaries);
    options.reading.prefix = format!("chaos-{}-", data.file_name().expect("a directory").to_string_lossy());
    options.reading.parameters.extend(parameters(payments));
    options.environment.extend(clock::inherited());
    let template = Template::load(&options.template, &options.reading).expect("the project's template");
    let functions = template.functions.iter().map(|function| function.logical_id.clone());
    options.dynamodb_of = functions.map(|function| (function, proxy.endpoint().to_owned())).collect();
    options.dynamodb = Some(dynamodb.clone());
    options.permissions = Some(Observer::new(|checked| {
        if let Checked::Denied(call) = checked {
            send(&Message::Denied(call.to_string()));
        }
    }));
    options.containers = 3;
    options.retry_wait = Duration::from_millis(200);
    let log = std::fs::File::options().append(true).create(true).open(data.join("functions.log"));
    let log = std::sync::Mutex::new(log.expect("a log"));
    options.logs = Logs::to(move |function, line| drop(writeln!(log.lock().unwrap(), "{function} | {line}")));
    options.data = Some(data);
    let stack = Stack::start(options).await.expect("the stack starts");

    let mut rng = Rng::with_seed(seed);
    let enabled = Arc::new(AtomicBool::new(false));
    proxy.faults.plan(faults::dynamodb(rng.fork(), enabled.clone(), report_fault));
    let http = reqwest::Client::new();
    let described = http.get(format!("{}/dev/stack", stack.url())).send().await.expect("a response");
    send(&Message::Ready(described.json().await.expect("JSON")));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line).expect("an instruction") {
            Instruction::FaultsOn => {
                enabled.store(true, Ordering::Relaxed);
                stack.bus().faults().plan(faults::bus(rng.fork(), report_fault));
            }
            Instruction::FaultsOff => {
                enabled.store(false, Ordering::Relaxed);
                stack.bus().faults().mode(orders_local::bus::Mode::Ok);
            }
            Instruction::Invoke(function, event) => {
                let containers = stack.containers(&function).expect("a function").clone();
                tokio::spawn(async move {
                    let response = containers.invoke(event.to_string().into()).await.ok();
                    let response = response.and_then(|response| serde_json::from_slice(&response).ok());
                    send(&Message::Invoked(response.unwrap_or_default()));
                });
            }
        }
        // The proxy records its calls.
        drop(proxy.faults.take_calls());
    }
    stack.shutdown().await;
    if database.is_none() {
        // The tables outlive the process.
        let client = client(&dynamodb);
        for table in template.tables {
            drop(client.delete_table().table_name(table.name).send().await);
        }
    }
    drop((proxy, database));
}

/// A limit that is exact or refuses, a breaker that is quick, and orders that expire.
fn parameters(payments: &str) -> impl Iterator<Item = (String, String)> {
    let window = WINDOW.as_secs();
    let creations = format!("sliding-window; limit={CREATIONS}; window={window}s; by=user; name=create; on_error=deny");
    let breaker = "failures=3; calls=3; ratio=20%; open=1s; open-max=2s; ramp=1s; cache=200ms; slow=1500ms";
    [
        ("CreateRateLimit", creations),
        ("PaymentBreaker", breaker.to_owned()),
        ("ExpireUnpaidAfterHours", EXPIRY_HOURS.to_string()),
        ("PaymentProviderUrl", payments.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
}
