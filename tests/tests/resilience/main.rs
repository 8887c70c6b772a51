//! The whole service with a failing payment provider, failing tables, and invalid settings.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic")]

mod bad_settings;
mod by_hand;
mod outage;
mod settlement;
mod support;
mod tables_away;
mod token;
