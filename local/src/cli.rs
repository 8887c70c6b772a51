//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs the order service on this machine: the real functions, an embedded DynamoDB, the routes of template.yaml.
#[derive(Debug, Parser)]
#[command(name = "orders-local", bin_name = "cargo run --")]
pub struct Cli {
    /// Port of the HTTP API; 0 picks a free one
    #[arg(long, global = true, default_value_t = 3000, value_name = "PORT")]
    pub port: u16,

    /// Keep the embedded tables, the queues and how far streams are read in this directory; without it they are gone with
    /// the stack
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Use the DynamoDB at this address instead of the embedded one; its tables stay when the stack stops
    #[arg(long, global = true, value_name = "URL")]
    pub dynamodb: Option<String>,

    /// Use the function binaries of this directory instead of building them
    #[arg(long, global = true, value_name = "DIR")]
    pub binaries: Option<PathBuf>,

    /// Run another template
    #[arg(long, global = true, value_name = "FILE")]
    pub template: Option<PathBuf>,

    /// Give a parameter of the template another value than its default; may be repeated
    #[arg(long = "parameter", global = true, value_name = "NAME=VALUE", value_parser = assignment)]
    pub parameters: Vec<(String, String)>,

    /// What to do; without it: serve until Ctrl-C
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Other things than to serve.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one function on one event and print its answer, with the tables and the bus of the stack that runs on --port,
    /// with the tables of --data or --dynamodb, or with empty ones
    Invoke {
        /// The function, by its binary or by its name in the template
        function: String,
        /// The file with the event, in JSON; - reads the standard input
        #[arg(short, long, value_name = "FILE")]
        event: PathBuf,
    },
    /// Show the events on the bus of the stack that runs on --port, and what became of them, as they come
    Events,
    /// Make all rows anew from the events, of the stack that runs on --port or of the tables of --data or --dynamodb
    Rebuild(Rebuild),
    /// Drive an order from creation to delivery, and show each request, what it stored and the row that followed
    Demo,
}

/// How the rows are made anew.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// The read model whose rows are made anew: orders or sales
    #[arg(long, default_value = "orders", value_name = "MODEL", value_parser = ["orders", "sales"])]
    pub model: String,

    /// How many segments of the event table are gone through side by side
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub segments: u32,

    /// Write into this table instead of the one that is read from; it must exist
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,

    /// The event table was taken back: lower the rows that are ahead of it, and remove those without any event
    #[arg(long)]
    pub after_restore: bool,

    /// Keep in this file how far it is, and go on from there when it was stopped
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
}

fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
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
    fn options_may_stand_before_or_after_the_command() {
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
