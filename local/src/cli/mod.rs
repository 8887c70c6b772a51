//! The command line and its commands.

pub mod demo;
pub mod events;
pub mod invoke;
pub mod rebuild;
pub mod trace;
pub mod welcome;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use orders_local::stack::StackOptions;
use serde::Deserialize;

/// Runs the order service on this machine: the real functions, an embedded DynamoDB, the routes of template.yaml.
#[derive(Debug, Parser)]
#[command(name = "orders-local", bin_name = "cargo run --")]
pub struct Cli {
    /// Port of the HTTP API; 0 picks a free one
    #[arg(long, global = true, default_value_t = 3000, value_name = "PORT")]
    pub port: u16,

    /// Store the embedded tables, the queues and the streams' checkpoints in this directory; without it they are lost when
    /// the stack stops
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Use the DynamoDB at this address instead of the embedded one; its tables remain when the stack stops
    #[arg(long, global = true, value_name = "URL")]
    pub dynamodb: Option<String>,

    /// Use the function binaries of this directory instead of building them
    #[arg(long, global = true, value_name = "DIR")]
    pub binaries: Option<PathBuf>,

    /// Run another template
    #[arg(long, global = true, value_name = "FILE")]
    pub template: Option<PathBuf>,

    /// Set a parameter of the template; may be repeated
    #[arg(long = "parameter", global = true, value_name = "NAME=VALUE", value_parser = assignment)]
    pub parameters: Vec<(String, String)>,

    /// The command; without it: serve until Ctrl-C
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Invoke a function with an event and print its response. It uses the tables and the bus of the stack on --port, the
    /// tables of --data or --dynamodb, or else empty ones
    Invoke {
        /// The function, by its binary or by its name in the template
        function: String,
        /// The file with the event, in JSON; - reads the standard input
        #[arg(short, long, value_name = "FILE")]
        event: PathBuf,
    },
    /// Follow the events on the bus of the stack on --port, and their deliveries
    Events,
    /// Rebuild all rows from the events, in the stack on --port or in the tables of --data or --dynamodb
    Rebuild(Rebuild),
    /// Print the traces of an order, from its requests to its rows and events, in the stack on --port
    Trace {
        /// An order id, a correlation id or a trace id
        id: String,
    },
    /// Drive an order from creation to delivery, and show each request, what it stored and the row that followed
    Demo,
}

/// How the rows are rebuilt.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// The read model: orders or sales
    #[arg(long, default_value = "orders", value_name = "MODEL", value_parser = ["orders", "sales"])]
    pub model: String,

    /// Segments of the event table that are scanned in parallel
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub segments: u32,

    /// Write to this table instead of the one that queries read; it must exist
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,

    /// The event table was restored to an earlier time: recreate the rows that differ from it, and remove those without events
    #[arg(long)]
    pub after_restore: bool,

    /// Store the progress in this file, and continue from it
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
}

fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Writes the lines and a line end. A closed output is no error.
pub fn say(lines: &str) {
    let mut output = std::io::stdout().lock();
    drop(writeln!(output, "{lines}").and_then(|()| output.flush()));
}

/// Uses the tables and the buses of the stack on the port of the options, unless these name others; false if none runs
/// there.
pub async fn join_running_stack(options: &mut StackOptions) -> bool {
    #[derive(Deserialize)]
    struct Description {
        dynamodb: String,
        eventbridge: String,
        traces: String,
    }
    if options.dynamodb.is_some() || options.data.is_some() {
        return true;
    }
    let url = format!("http://127.0.0.1:{}/dev/stack", options.port);
    let describe = async {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().ok()?;
        client.get(url).send().await.ok()?.json::<Description>().await.ok()
    };
    let Some(running) = describe.await else { return false };
    options.dynamodb = Some(running.dynamodb);
    options.eventbridge = Some(running.eventbridge);
    options.environment.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), running.traces);
    true
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_precede_or_follow_the_command() {
        let cli = Cli::parse_from(["orders-local", "invoke", "create-order", "-e", "events/x.json", "--port", "0"]);
        assert_eq!(cli.port, 0);
        assert!(matches!(cli.command, Some(Command::Invoke { function, .. }) if function == "create-order"));
        assert_eq!(Cli::parse_from(["orders-local"]).port, 3000);
    }

    #[test]
    fn parameters_are_names_with_values() {
        let cli = Cli::parse_from(["orders-local", "--parameter", "EventEpoch=2", "--parameter", "Policy=a=b"]);
        let given = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(cli.parameters, [given("EventEpoch", "2"), given("Policy", "a=b")]);
        assert!(Cli::try_parse_from(["orders-local", "--parameter", "EventEpoch"]).is_err());
    }
}
