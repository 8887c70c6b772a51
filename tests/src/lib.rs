//! Support for the tests: databases, faults before them, and an aggregate made for trying the event store.
//!
//! A failure of this code is a failure of the test that uses it, so it panics and says why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what supports tests fails as tests do, by a panic that says why"
)]

pub mod bus;
pub mod call_log;
pub mod counter_aggregate;
pub mod database;
pub mod faults;
pub mod load;
pub mod mass;
pub mod permissions;
pub mod proxy;
pub mod shop;
pub mod simulation;
mod stale;
