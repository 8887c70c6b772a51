//! Support for the end-to-end tests: a running stack, tables, permissions, histories of orders, and load.
//!
//! A failure of this code is a failure of the test that uses it, so it panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support fails by a panic, as tests do"
)]

pub mod bus;
pub mod chaos;
pub mod commits;
pub mod cost;
pub mod database;
pub mod fuzz;
pub mod hostile_events;
pub mod ledger;
pub mod lives;
pub mod load;
pub mod logs;
pub mod mass;
pub mod permissions;
pub mod sales_history;
pub mod shop;
pub mod simulation;
