//! Test support for services on DynamoDB: faults, a proxy that injects them, an embedded database on the paused clock,
//! recorded calls, given-when-then tests of decisions, and a test aggregate.
//!
//! Errors in this code panic, which fails the test that uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic fails the test")]

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
