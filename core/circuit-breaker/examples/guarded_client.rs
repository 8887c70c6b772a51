//! A client that requests a price twice a second, while the price service fails for a while.
//! `cargo run -p dynamodb-circuit-breaker --example guarded_client`.
//!
//! Two containers share the table. Time is simulated, so the example ends at once.

use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dynamodb_circuit_breaker::{
    Action, CallResult, Cause, CircuitBreaker, ClassifyError, ErrorClass, Origin, Override, Table, Transition,
    create_table,
};
use dynamodb_testkit::simulation::Simulation;
use service_clock::{Clock, Timestamp};
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout()).await
}

/// The service is down.
#[derive(Debug, thiserror::Error)]
#[error("the price service is down")]
struct Down;

impl ClassifyError for Down {
    fn class(&self) -> ErrorClass {
        ErrorClass::Callee
    }
}

/// A price and how it was obtained: `+` by the service, `!` by the fallback after a failure, `.` by the fallback
/// without a call.
type Price = (u32, char);

async fn price(breaker: &CircuitBreaker, up: bool) -> Result<CallResult<Price>, Down> {
    let call = async { if up { Ok((199, '+')) } else { Err(Down) } };
    let fallback = |cause| match cause {
        Cause::Failed(Down) => (189, '!'),
        Cause::Rejected(_) => (189, '.'),
    };
    breaker.call(call, fallback).await
}

/// Runs the example and writes its output to `out`.
pub async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    // Makes the jitter the same in every run.
    fastrand::seed(1);
    let (start, begun) = ("2026-11-28T09:00:00Z".parse::<Timestamp>()?, Instant::now());
    let clock = Clock::new(move || {
        let passed = i64::try_from(begun.elapsed().as_micros());
        start.timestamp_micros().saturating_add(passed.unwrap_or(i64::MAX))
    });
    let database = Simulation::start();
    let client = database.client();
    create_table(&client, "breakers")?.send().await?;

    let log = Arc::new(Mutex::new(Vec::new()));
    let container = || -> Result<_, Box<dyn Error>> {
        let settings = "failures=3; ratio=10%; open=3s; ramp=0s".parse()?;
        let (log, clock_of_log) = (log.clone(), clock.clone());
        let notify = move |transition: &Transition| {
            // Each container sees all transitions; only the one that made it reports it.
            if transition.origin == Origin::ThisProcess {
                let Transition { from, to, why, .. } = transition;
                let line = format!("  {} {from} -> {to}: {why}", clock_of_log.now().format("%T"));
                log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        };
        let breaker = CircuitBreaker::new("prices", settings, Table::new(client.clone(), "breakers"));
        Ok(breaker.with_clock(clock.clone()).on_transition(notify))
    };
    let containers = [container()?, container()?];
    let mut phase = async |what: &str, up: bool| -> Result<(), Box<dyn Error>> {
        database.faults.take_calls();
        let mut line = String::new();
        for container in containers.iter().cycle().take(24) {
            line.push(price(container, up).await?.value.1);
            sleep(Duration::from_millis(500)).await;
        }
        let calls = database.faults.take_calls();
        let (reads, writes) = (calls.of("GetItem").count(), calls.of("UpdateItem").count());
        writeln!(out, "{what:<22} {line}  {reads} reads, {writes} writes")?;
        let notified = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
        notified.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        Ok(())
    };

    phase("healthy", true).await?;
    phase("the service fails", false).await?;
    phase("healthy again", true).await?;
    let request = |action, why: &str| Override { action, by: "ada".into(), why: why.into() };
    containers[0].set_override(&request(Action::ForceOpen { until: None }, "wrong prices")).await?;
    phase("forced open", true).await?;
    containers[0].set_override(&request(Action::Reset, "prices are right again")).await?;
    phase("reset", true).await
}
