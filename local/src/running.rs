//! The stack that runs in another process.

use std::time::Duration;

use serde_json::Value;

/// The DynamoDB of the stack that runs on that port, if one does.
pub async fn dynamodb(port: u16) -> Option<String> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().ok()?;
    let about: Value = client.get(format!("http://127.0.0.1:{port}/dev/stack")).send().await.ok()?.json().await.ok()?;
    about["dynamodb"].as_str().map(str::to_owned)
}
