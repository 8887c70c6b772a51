//! The local stack with real processes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of tests are tests too")]

mod bus;
mod containers;
mod gateway;
#[cfg(target_os = "linux")]
mod program;
mod streams;
mod support;
