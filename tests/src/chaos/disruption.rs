//! The disruption: faults between all parts at once, a failing provider and bus, and killed processes.

use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::Run;
use super::provider::Mode;
use super::server::Instruction;

/// How often something changes.
const PACE: Duration = Duration::from_millis(700);

/// Disrupts until the time is up. The stack is killed once a minute, and at least once.
pub async fn disrupt(run: Run, mut rng: Rng) {
    let begun = Instant::now();
    let time = run.ends.saturating_duration_since(begun);
    let kills = u32::try_from((time.as_secs() + 30) / 60).unwrap_or(u32::MAX).max(1);
    let mut killed = 0;
    run.stack.instruct(Instruction::FaultsOn).await;
    while !run.is_over() {
        if killed < kills && begun.elapsed() > time / kills * killed + time / kills / 2 {
            run.stack.kill_and_restart().await;
            run.stack.instruct(Instruction::FaultsOn).await;
            killed += 1;
        }
        match rng.u32(..10) {
            0..3 => run.stack.kill_function(rng.usize(..)).await,
            3..6 => payments(&run, [Mode::Ok, Mode::Down, Mode::Slow, Mode::Declines][rng.usize(..4)]),
            6 => bus(&run, ["partial", "down", "deaf"][rng.usize(..3)]).await,
            // The provider works more often than not, and the bus is only in a mode for a while.
            7 => payments(&run, Mode::Ok),
            _ => {
                bus(&run, "ok").await;
                run.stack.instruct(Instruction::FaultsOn).await;
            }
        }
        sleep_until(run.ends.min(Instant::now() + PACE)).await;
    }
}

/// Sets the mode of the payment provider.
pub fn payments(run: &Run, mode: Mode) {
    run.producers.provider.set_mode(mode);
    run.stack.count(&format!("payments: {mode:?}").to_lowercase());
}

/// Sets the mode of the bus.
pub async fn bus(run: &Run, mode: &str) {
    if run.client.control("/dev/bus", json!({"mode": mode})).await.is_some() {
        run.stack.count(&format!("bus: {mode}"));
    }
}
