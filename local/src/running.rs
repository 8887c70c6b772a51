//! The stack that runs in another process.

use std::time::Duration;

use orders_local::options::StackOptions;
use serde::Deserialize;

/// Where its services are.
#[derive(Debug, Deserialize)]
struct Running {
    dynamodb: String,
    eventbridge: String,
}

/// Uses the tables and the buses of the stack that runs on the port of the options, unless these name others; false if
/// none runs there.
pub async fn join(options: &mut StackOptions) -> bool {
    if options.dynamodb.is_some() || options.data.is_some() {
        return true;
    }
    let Some(running) = ask(options.port).await else { return false };
    options.dynamodb = Some(running.dynamodb);
    options.environment.insert("AWS_ENDPOINT_URL_EVENTBRIDGE".to_owned(), running.eventbridge);
    true
}

async fn ask(port: u16) -> Option<Running> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().ok()?;
    client.get(format!("http://127.0.0.1:{port}/dev/stack")).send().await.ok()?.json().await.ok()
}
