//! Runs the local stack.

mod cli;
mod demo;
mod invoke;
mod output;
mod rebuild;
mod running;
mod welcome;

use std::error::Error;
use std::io::{ErrorKind, IsTerminal};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;
use orders_local::binaries;
use orders_local::bus::tail::{TailError, follow};
use orders_local::logs::Logs;
use orders_local::options::{StackError, StackOptions};
use orders_local::stack::Stack;
use orders_local::template::Template;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};
use welcome::Kept;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,dynoxide=error")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    run(cli).await.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

async fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    let mut stop = pin!(interrupted());
    let mut stop: Stop<'_> = stop.as_mut();
    if matches!(cli.command, Some(Command::Events)) {
        return watch(cli.port, stop).await;
    }
    let binaries = match cli.binaries {
        Some(directory) => directory,
        None => tokio::select! {
            built = binaries::build() => built?,
            () = stop.as_mut() => return Ok(ExitCode::from(INTERRUPTED)),
        },
    };
    let mut options = StackOptions::new(binaries);
    options.port = cli.port;
    options.data = cli.data;
    options.dynamodb = cli.dynamodb;
    options.template = cli.template.unwrap_or(options.template);
    if let Some((unknown, _)) = cli.parameters.iter().find(|(name, _)| !has_parameter(&options, name)) {
        return Err(format!("the template has no parameter {unknown}").into());
    }
    options.reading.parameters.extend(cli.parameters);
    match cli.command {
        None | Some(Command::Events) => serve(options, stop).await,
        Some(Command::Invoke { function, event }) => tokio::select! {
            code = invoke::run(options, &function, &event) => code,
            () = stop => Ok(ExitCode::from(INTERRUPTED)),
        },
        Some(Command::Rebuild(how)) => rebuild::run(options, &how, stop).await,
        Some(Command::Demo) => show(options, stop).await,
    }
}

/// Whether the template has that parameter; a template that cannot be read says so when it is run.
fn has_parameter(options: &StackOptions, name: &str) -> bool {
    Template::load(&options.template, &options.reading).map_or(true, |template| template.parameters.contains_key(name))
}

/// Ends when the program is to end. There is one, from the start: so no signal comes while nobody listens.
pub(crate) type Stop<'a> = Pin<&'a mut (dyn Future<Output = ()> + 'a)>;

/// What a shell expects of a program that Ctrl-C ended before its work was done.
pub(crate) const INTERRUPTED: u8 = 130;

/// Starts the stack, unless the program is to end before it has started; what has started by then is gone.
async fn start(options: StackOptions, stop: Stop<'_>) -> Result<Option<Stack>, StackError> {
    tokio::select! {
        // It listens before anything starts.
        biased;
        () = stop => Ok(None),
        started = Stack::start(options) => started.map(Some),
    }
}

async fn serve(options: StackOptions, mut stop: Stop<'_>) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    let kept = Kept { elsewhere: options.dynamodb.is_some(), directory: options.data.clone() };
    let events = options.template.with_file_name("events");
    let Some(stack) = start(options, stop.as_mut()).await? else { return Ok(ExitCode::from(INTERRUPTED)) };
    output::say(&welcome::text(&stack, &kept, &events, begun.elapsed()));
    stop.await;
    eprintln!("stopping");
    stack.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Follows the bus until Ctrl-C, or until whoever reads has seen enough.
async fn watch(port: u16, stop: Stop<'_>) -> Result<ExitCode, Box<dyn Error>> {
    let url = format!("http://127.0.0.1:{port}");
    tokio::select! {
        followed = follow(&url, std::io::stdout()) => match followed {
            Err(TailError::Output(closed)) if closed.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            followed => Ok(followed.map(|()| ExitCode::SUCCESS)?),
        },
        () = stop => Ok(ExitCode::SUCCESS),
    }
}

async fn show(mut options: StackOptions, mut stop: Stop<'_>) -> Result<ExitCode, Box<dyn Error>> {
    // What functions write would only come between; it is shown when something goes wrong.
    let lines = Arc::new(Mutex::new(Vec::new()));
    let keep = lines.clone();
    options.port = 0;
    options.logs = Logs::to(move |function, line| {
        keep.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{function} | {line}"));
    });
    let Some(stack) = start(options, stop.as_mut()).await? else { return Ok(ExitCode::from(INTERRUPTED)) };
    let result = tokio::select! {
        result = demo::run(&stack) => result.map(|()| ExitCode::SUCCESS),
        () = stop => Ok(ExitCode::from(INTERRUPTED)),
    };
    stack.shutdown().await;
    if result.is_err() {
        eprintln!("{}", lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n"));
    }
    Ok(result?)
}

/// Returns at Ctrl-C, and when somebody asks the process to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let asked = async |kind| match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        };
        tokio::select! {
            () = asked(SignalKind::interrupt()) => {}
            () = asked(SignalKind::terminate()) => {}
            () = asked(SignalKind::hangup()) => {}
        }
    }
    #[cfg(not(unix))]
    drop(tokio::signal::ctrl_c().await);
}
