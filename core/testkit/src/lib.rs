//! Support for the tests of services on DynamoDB: faults before a database, a proxy that has them, an embedded database on
//! the paused clock, the calls that were made, waiting for a condition, tests of decisions, and an aggregate made for
//! trying the event store.
//!
//! A failure of this code is a failure of the test that uses it, so it panics and says why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what supports tests fails as tests do, by a panic that says why"
)]

pub mod call_log;
pub mod counter_aggregate;
mod engine;
pub mod exchange;
pub mod faults;
pub mod given_when_then;
pub mod proxy;
pub mod simulation;
mod stale;
pub mod wait;
