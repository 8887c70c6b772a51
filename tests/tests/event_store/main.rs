//! The event store against databases that fail, lag and are contended for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic that says why")]

mod budgets;
mod contention;
mod lost_answers;
mod model;
mod reads;
mod requests;
mod restoring;
mod snapshots;
mod support;
