//! A client that asks for a price twice a second, while the service that knows it fails for a while.
//! `cargo run -p dynamodb-circuit-breaker --example guarded_client`.
//!
//! Two containers share the table. Time passes only while the client waits, so the whole takes no time.

use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dynamodb_circuit_breaker::{
    Action, Answer, ErrorClass, Cause, CircuitBreaker, ClassifyError, Order, Origin, Table, Transition, create_table,
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
#[error("the price is not known")]
struct Down;

impl ClassifyError for Down {
    fn class(&self) -> ErrorClass {
        ErrorClass::Callee
    }
}

/// A price, and the sign of how it came about: `+` the service told it; the fallback did `!` after a failure, and `.`
/// without asking.
type Price = (u32, char);

async fn price(breaker: &CircuitBreaker, up: bool) -> Result<Answer<Price>, Down> {
    let ask = async { if up { Ok((199, '+')) } else { Err(Down) } };
    let yesterdays = |cause| match cause {
        Cause::Failed(Down) => (189, '!'),
        Cause::Rejected(_) => (189, '.'),
    };
    breaker.call(ask, yesterdays).await
}

/// What the example shows, written to `out`.
pub async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    // The jitter is the same in every run.
    fastrand::seed(1);
    let (opening, begun) = ("2026-11-28T09:00:00Z".parse::<Timestamp>()?, Instant::now());
    let clock = Clock::new(move || {
        let passed = i64::try_from(begun.elapsed().as_micros());
        opening.timestamp_micros().saturating_add(passed.unwrap_or(i64::MAX))
    });
    let database = Simulation::start();
    let client = database.client();
    create_table(&client, "breakers")?.send().await?;

    let log = Arc::new(Mutex::new(Vec::new()));
    let container = || -> Result<_, Box<dyn Error>> {
        let settings = "failures=3; ratio=10%; open=3s; ramp=0s".parse()?;
        let (log, tells) = (log.clone(), clock.clone());
        let tell = move |transition: &Transition| {
            // Each container sees all of them; the one that made it tells.
            if transition.origin == Origin::ThisProcess {
                let Transition { from, to, why, .. } = transition;
                let line = format!("  {} {from} -> {to}: {why}", tells.now().format("%T"));
                log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        };
        let breaker = CircuitBreaker::new("prices", settings, Table::new(client.clone(), "breakers"));
        Ok(breaker.with_clock(clock.clone()).on_transition(tell))
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
        let told = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
        told.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        Ok(())
    };

    phase("all is well", true).await?;
    phase("the service fails", false).await?;
    phase("it is well again", true).await?;
    let order = |action, why: &str| Order { action, by: "ada".into(), why: why.into() };
    containers[0].set_override(&order(Action::ForceOpen { until: None }, "it tells wrong prices")).await?;
    phase("held open by hand", true).await?;
    containers[0].set_override(&order(Action::Reset, "they are right again")).await?;
    phase("let go", true).await
}
