//! A simulation of the whole service: every function's own code runs in one task on the paused clock, over a DynamoDB,
//! an event bus and a payment provider in memory. Nothing but the steps of a history determines what happens.
//!
//! After each step the [`checker`] compares the stored events with [`ledger`]s of its own and with the provider's books.
//! In the end the faults stop, and what is left undone is a failure ([`quiescence`]). A failing history is shortened
//! ([`shrink`]) and printed as a test.

pub mod action;
pub mod bounds;
pub mod bus;
pub mod checker;
pub mod directed;
pub mod expression;
pub mod function;
pub mod generate;
pub mod ledger;
pub mod network;
pub mod provider;
pub mod quiescence;
mod request;
pub mod shrink;
pub mod step;
pub mod stream;
pub mod tables;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bounds::Bounds;
use step::History;
use world::World;

/// What a history led to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// The events that were stored.
    pub events: u64,
    /// How often bounds were exceeded.
    pub bounds: Bounds,
}

/// Runs a history.
///
/// # Errors
/// What is wrong, and after which step.
pub fn run(history: &History) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let mut at = String::from("before the first step");
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            // The waits and probes of the service and the SDK.
            fastrand::seed(0);
            let mut world = World::new(history).await;
            for (number, step) in history.steps.iter().enumerate() {
                at = format!("at step {number}, {step:?}");
                world.perform(step).await?;
            }
            at = "at rest".into();
            world.come_to_rest().await?;
            Ok(Outcome {
                events: world.checker.orders.values().map(|order| order.head()).sum(),
                bounds: world.checker.bounds,
            })
        })
    }));
    let ran = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
    });
    ran.map_err(|broken| format!("{at}: {broken}"))
}

/// Runs the history of a seed.
///
/// # Errors
/// The report: what is wrong, and the shortest history that fails, as a test.
pub fn run_seed(seed: u64) -> Result<Outcome, String> {
    let history = generate::history(seed);
    run(&history).map_err(|broken| {
        let shortest = shrink::shrink(history, |history| run(history).is_err());
        let still = run(&shortest).err().unwrap_or_default();
        format!("seed {seed}: {broken}\n\nshortest: {still}\n\n{}", shrink::as_test(&shortest))
    })
}
