//! The local stack with real processes.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod containers;
mod gateway;
mod streams;
mod support;
