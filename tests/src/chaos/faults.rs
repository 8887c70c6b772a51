//! Random faults of DynamoDB and of the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dynamodb_testkit::call_log::Call;
use dynamodb_testkit::faults::Fault;
use fastrand::Rng;
use orders_local::bus;

/// Of a hundred calls to DynamoDB, so many fail.
const OF_CALLS: u32 = 6;
/// Of a hundred commits, and of as many reads of lists, which are rare, so many fail.
const OF_COMMITS_AND_LISTS: u32 = 25;
/// Of a hundred requests to the bus, so many fail.
const OF_REQUESTS: u32 = 20;

/// Faults of DynamoDB.
pub fn dynamodb(
    mut rng: Rng,
    enabled: Arc<AtomicBool>,
    report: impl Fn(&str) + Send + 'static,
) -> impl FnMut(&Call) -> Option<Fault> + Send + 'static {
    move |call| {
        let often = ["PutItem", "BatchGetItem"].contains(&call.operation.as_str());
        let share = if often { OF_COMMITS_AND_LISTS } else { OF_CALLS };
        if !enabled.load(Ordering::Relaxed) || rng.u32(..100) >= share {
            return None;
        }
        let millis = |rng: &mut Rng, most| Duration::from_millis(rng.u64(1..most));
        let (name, fault) = match rng.u32(..12) {
            0 | 1 => ("response lost", Fault::LoseResponse),
            2 => ("request lost", Fault::LoseRequest),
            3 => ("hung", Fault::Hang),
            4 => ("hung after", Fault::HangAfter),
            5 => ("late", Fault::Late(millis(&mut rng, 3_000))),
            6 => ("throttled", Fault::Throttle),
            7 => ("failed", Fault::Fail),
            8 => ("failed after", Fault::FailAfter),
            9 => ("delayed", Fault::Delay(millis(&mut rng, 1_500))),
            10 if call.operation == "BatchGetItem" => ("unprocessed", Fault::Unprocessed),
            _ if call.operation == "BatchGetItem" => ("stale", Fault::Absent),
            _ => ("stale", Fault::Stale(rng.usize(1..4))),
        };
        report(&format!("DynamoDB {}: {name}", call.operation));
        Some(fault)
    }
}

/// Faults of the bus.
pub fn bus(
    mut rng: Rng,
    report: impl Fn(&str) + Send + 'static,
) -> impl FnMut(&bus::Call) -> Option<bus::Fault> + Send + 'static {
    move |_| {
        if rng.u32(..100) >= OF_REQUESTS {
            return None;
        }
        let (name, fault) = match rng.u32(..5) {
            0 => ("failed", bus::Fault::Fail),
            1 => ("entries rejected", bus::Fault::FailEntries(rng.usize(1..4))),
            2 => ("response lost", bus::Fault::LoseResponse),
            3 => ("hung", bus::Fault::Hang),
            _ => ("hung after", bus::Fault::HangAfter),
        };
        report(&format!("bus: {name}"));
        Some(fault)
    }
}
