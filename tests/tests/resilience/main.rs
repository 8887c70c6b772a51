//! The whole service in trouble: a payment provider that fails, and tables that do not help. Real function binaries,
//! over HTTP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic that says why")]

mod bad_settings;
mod by_hand;
mod outage;
mod settlement;
mod support;
mod tables_away;
