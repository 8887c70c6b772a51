//! Runs the local stack.

mod cli;

use std::error::Error;
use std::io::IsTerminal;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;
use orders_local::lambda::{Logs, binaries};
use orders_local::stack::{Stack, StackError, StackOptions};
use orders_local::template::Template;
use tracing_subscriber::EnvFilter;

use cli::welcome::{self, Persistence};
use cli::{Cli, Command, demo, events, invoke, rebuild, say, trace};

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
        return events::run(cli.port, stop).await;
    }
    if let Some(Command::Trace { id }) = &cli.command {
        return trace::run(cli.port, id).await;
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
    // Where the template cannot be read, the error is reported at the start.
    if let Ok(template) = Template::load(&options.template, &options.reading)
        && let Some((unknown, _)) = cli.parameters.iter().find(|(name, _)| !template.parameters.contains_key(name))
    {
        return Err(format!("the template has no parameter {unknown}").into());
    }
    options.reading.parameters.extend(cli.parameters);
    match cli.command {
        None | Some(Command::Events | Command::Trace { .. }) => serve(options, stop).await,
        Some(Command::Invoke { function, event }) => tokio::select! {
            code = invoke::run(options, &function, &event) => code,
            () = stop => Ok(ExitCode::from(INTERRUPTED)),
        },
        Some(Command::Rebuild(how)) => rebuild::run(options, &how, stop).await,
        Some(Command::Demo) => show(options, stop).await,
    }
}

/// Completes at a signal to stop. It is created at the start, so that no signal is missed.
pub(crate) type Stop<'a> = Pin<&'a mut (dyn Future<Output = ()> + 'a)>;

/// The exit code of a program that Ctrl-C has ended before its work was done.
pub(crate) const INTERRUPTED: u8 = 130;

/// Starts the stack; `None` after a signal to stop.
async fn start(options: StackOptions, stop: Stop<'_>) -> Result<Option<Stack>, StackError> {
    tokio::select! {
        // The signal handlers are installed before anything starts.
        biased;
        () = stop => Ok(None),
        started = Stack::start(options) => started.map(Some),
    }
}

async fn serve(options: StackOptions, mut stop: Stop<'_>) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    let persistence = Persistence { external: options.dynamodb.is_some(), directory: options.data.clone() };
    let events = options.template.with_file_name("events");
    let Some(stack) = start(options, stop.as_mut()).await? else { return Ok(ExitCode::from(INTERRUPTED)) };
    say(&welcome::text(&stack, &persistence, &events, begun.elapsed()));
    stop.await;
    eprintln!("stopping");
    stack.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn show(mut options: StackOptions, mut stop: Stop<'_>) -> Result<ExitCode, Box<dyn Error>> {
    // The functions' lines are shown only after an error.
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    options.port = 0;
    options.logs = Logs::to(move |function, line| {
        sink.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{function} | {line}"));
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

/// Completes at Ctrl-C and at other signals to stop.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let received = async |kind| match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        };
        tokio::select! {
            () = received(SignalKind::interrupt()) => {}
            () = received(SignalKind::terminate()) => {}
            () = received(SignalKind::hangup()) => {}
        }
    }
    #[cfg(not(unix))]
    drop(tokio::signal::ctrl_c().await);
}
