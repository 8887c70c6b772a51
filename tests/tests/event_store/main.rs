//! The event store under faults, stale reads and contention.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic")]

mod budgets;
mod contention;
mod lost_answers;
mod model;
mod reads;
mod requests;
mod restoring;
mod snapshots;
mod support;
