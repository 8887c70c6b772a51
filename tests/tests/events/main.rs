//! Events out and in, through the bus, the real function binaries, and HTTP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic")]

mod bad_input;
mod consumer;
mod expiry;
mod incoming;
mod money;
mod publication;
mod republish;
mod restore;
mod side_fields;
mod traces;
mod trouble;
