//! `invoke`: one function with one event.

use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use axum::body::Bytes;
use orders_local::lambda::InvokeError;
use orders_local::stack::{Environment, StackOptions};
use serde_json::Value;

use super::{join_running_stack, say};

/// Invokes it and prints the response on the standard output; everything else goes to the standard error stream.
///
/// # Errors
/// When there is no such function or event, or the function cannot be run. An error of the function is printed, with the
/// exit code 1.
pub async fn run(mut options: StackOptions, function: &str, event: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let event = read(event)?;
    join_running_stack(&mut options).await;
    match (&options.dynamodb, &options.data) {
        (Some(url), _) => eprintln!("with the tables at {url}"),
        (None, Some(directory)) => eprintln!("with the tables in {}", directory.display()),
        (None, None) => eprintln!("with empty tables: no stack runs on port {}", options.port),
    }
    let environment = Environment::start(&options).await?;
    let begun = Instant::now();
    let response = environment.invoke(function, event).await;
    let took = begun.elapsed();
    environment.stop().await;
    let response = response?;
    eprintln!("{function} took {} ms, start included", took.as_millis());
    let (response, code) = match response {
        Ok(response) => (response, ExitCode::SUCCESS),
        Err(InvokeError::Function(error)) => (error, ExitCode::FAILURE),
        Err(error) => return Err(error.into()),
    };
    say(&String::from_utf8_lossy(&response));
    Ok(code)
}

/// The event, which must be JSON.
fn read(path: &Path) -> Result<Bytes, String> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| format!("cannot read the event {}: {error}", path.display()))?;
    match serde_json::from_str::<Value>(&text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("the event {} is not JSON: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_does_not_exist_or_is_not_json_is_named() {
        assert!(read(Path::new("events/no-such.json")).unwrap_err().contains("no-such.json"));
        let error = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap_err();
        assert!(error.contains("Cargo.toml is not JSON"), "{error}");
    }
}
