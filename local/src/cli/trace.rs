//! `trace`: the traces of an order.

use std::error::Error;
use std::process::ExitCode;

use orders_local::traces::Found;

use super::say;

/// Prints the traces of an order, of a correlation id or of a trace id in the stack on that port.
///
/// # Errors
/// When no stack runs there, or it has no spans with that id.
pub async fn run(port: u16, id: &str) -> Result<ExitCode, Box<dyn Error>> {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("id", id).finish();
    let request = reqwest::get(format!("http://127.0.0.1:{port}/dev/traces?{query}"));
    let found = async { request.await?.error_for_status()?.json::<Found>().await };
    let found = found.await.map_err(|error| format!("no local stack responds on port {port}: {error}"))?;
    if found.spans.is_empty() {
        return Err("the stack has no spans with this order id, correlation id or trace id".into());
    }
    say(found.tree().trim_end());
    Ok(ExitCode::SUCCESS)
}
