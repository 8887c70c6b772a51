//! A client that sends too many requests, limited by a token bucket and by a sliding window.
//! `cargo run -p dynamodb-rate-limit --example limited_client`.
//!
//! Two containers share the table. Time is simulated, so the example ends at once.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use dynamodb_rate_limit::{Checked, DynamoTable, Limiter, Subject, create_table};
use dynamodb_testkit::simulation::Simulation;
use service_clock::{Clock, Timestamp};
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout()).await
}

/// Runs the example and writes its output to `out`.
pub async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let (start, begun) = ("2026-11-28T09:00:00Z".parse::<Timestamp>()?, Instant::now());
    let clock = Clock::new(move || {
        let elapsed = i64::try_from(begun.elapsed().as_micros());
        start.timestamp_micros().saturating_add(elapsed.unwrap_or(i64::MAX))
    });
    let database = Simulation::start();
    let client = database.client();
    create_table(&client, "limits")?.send().await?;

    for policy in ["token-bucket; rate=1/s; burst=5; by=user", "sliding-window; limit=5; window=5s; by=user"] {
        let container = || -> Result<_, Box<dyn Error>> {
            Ok(Limiter::new(DynamoTable::new(&client, "limits"), policy.parse()?).with_clock(clock.clone()))
        };
        let (containers, ada) = ([container()?, container()?], Subject::user("ada"));
        writeln!(out, "{policy}")?;

        // Two requests a second, to the containers in turn.
        database.faults.take_calls();
        let (mut line, mut admitted) = (String::new(), 0);
        for container in containers.iter().cycle().take(40) {
            let allowed = container.check(&ada).await.decision().allowed;
            line.push(if allowed { '+' } else { '.' });
            admitted += u32::from(allowed);
            sleep(Duration::from_millis(500)).await;
        }
        let calls = database.faults.take_calls().count();
        writeln!(out, "  twice a second: {line}")?;
        writeln!(out, "  {admitted} of 40 admitted, with {calls} table calls")?;

        // Then as fast as possible, until a request is rejected.
        let rejected = loop {
            let checked = containers[0].check(&ada).await;
            if !checked.decision().allowed {
                break checked;
            }
        };
        write_rejection(out, &rejected, &containers[0])?;
        sleep(rejected.decision().retry_after).await;
        let again = containers[0].check(&ada).await.decision().allowed;
        writeln!(
            out,
            "  after {:?}: {}\n",
            rejected.decision().retry_after,
            if again { "admitted" } else { "rejected" }
        )?;
    }
    Ok(())
}

/// Writes the status and fields of the HTTP response to a rejected request.
fn write_rejection(out: &mut impl Write, rejected: &Checked, limiter: &Limiter<DynamoTable>) -> io::Result<()> {
    writeln!(out, "  429, retry-after: {}", rejected.decision().retry_after_seconds())?;
    rejected.fields(limiter.policy()).iter().try_for_each(|(name, value)| writeln!(out, "  {name}: {value}"))
}
