//! Support for the end-to-end tests: the shop, its tables, its permissions, and load.
//!
//! A failure of this code is a failure of the test that uses it, so it panics and says why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what supports tests fails as tests do, by a panic that says why"
)]

pub mod bus;
pub mod database;
pub mod hostile_events;
pub mod lives;
pub mod load;
pub mod mass;
pub mod permissions;
pub mod sales_history;
pub mod shop;
