//! The local stack with real processes.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test helpers are tests too")]

mod bus;
mod containers;
mod gateway;
mod obedient;
mod permissions;
mod program;
mod streams;
mod support;
