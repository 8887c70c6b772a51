//! A simulation of the whole service: every function's own code runs in one task on the paused clock, over a DynamoDB,
//! an event bus and a payment provider in memory. Nothing but the steps of a history determines what happens.
//!
//! After each step the [`checker`] compares the stored events with [`ledger`](crate::ledger)s of its own and with the provider's books.
//! In the end the faults stop, and what is left undone is a failure ([`quiescence`]). A failing history is shortened
//! ([`shrink`]) and printed as a test.

pub mod action;
pub mod bounds;
pub mod bus;
pub mod checker;
pub mod directed;
#[cfg(test)]
mod doctored;
pub mod expression;
#[cfg(test)]
mod forgotten;
pub mod function;
pub mod generate;
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
use function::Settings;
use step::History;
use tables::Recorded;
use world::World;

/// What a history led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The events that were stored.
    pub events: u64,
    /// When the last of them happened, in milliseconds.
    pub ended: i64,
    /// How often bounds were exceeded.
    pub bounds: Bounds,
}

/// Runs a history.
///
/// # Errors
/// What is wrong, and after which step.
pub fn run(history: &History) -> Result<Outcome, String> {
    run_in_world(history, &mut |_| (), &mut |_| ())
}

/// The requests to the tables that a history leads to.
pub fn requests_of(history: &History) -> Vec<Recorded> {
    let mut network = None;
    let ran = run_in_world(history, &mut |_| (), &mut |world| {
        world.network.outside().tables.recorded = Some(Vec::new());
        network = Some(world.network.clone());
    });
    ran.expect("a history that keeps every promise");
    network.and_then(|network| network.outside().tables.recorded.take()).unwrap_or_default()
}

fn run_in_world(
    history: &History,
    change: &mut dyn FnMut(&mut Settings),
    prepare: &mut dyn FnMut(&World),
) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let mut at = String::from("before the first step");
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            // The waits and probes of the service and the SDK.
            fastrand::seed(0);
            let mut settings = Settings::of(history);
            change(&mut settings);
            let mut world = World::new(settings).await;
            prepare(&world);
            for (number, step) in history.steps.iter().enumerate() {
                at = format!("at step {number}, {step:?}");
                world.perform(step).await?;
            }
            at = "at rest".into();
            world.come_to_rest().await?;
            let events = world.checker.orders.values().flat_map(|order| &order.events);
            let mut bounds = world.checker.bounds;
            bounds += world.network.outside().bounds;
            Ok(Outcome {
                events: events.clone().count() as u64,
                ended: events.map(|event| event.occurred_at().timestamp_millis()).max().unwrap_or_default(),
                bounds,
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
    run_or_shrink(generate::history(seed)).map_err(|report| format!("seed {seed}: {report}"))
}

/// Runs a history that exceeds a bound, of one of [`directed::KINDS`].
///
/// # Errors
/// As [`run_seed`].
pub fn run_directed(kind: u64) -> Result<Outcome, String> {
    let mut rng = fastrand::Rng::with_seed(kind);
    run_or_shrink(directed::history(kind, 14, &mut rng)).map_err(|report| format!("directed {kind}: {report}"))
}

fn run_or_shrink(history: History) -> Result<Outcome, String> {
    run(&history).map_err(|broken| {
        let shortest = shrink::shrink(history, |history| run(history).is_err());
        let still = run(&shortest).err().unwrap_or_default();
        format!("{broken}\n\nshortest: {still}\n\n{}", shrink::as_test(&shortest))
    })
}
