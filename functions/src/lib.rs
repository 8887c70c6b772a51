//! The edge that the functions share, and what each function does.
//!
//! A binary in `src/bin` only puts things together. Its handler is here: under [`commands`] or [`queries`], or in a
//! module of its own.

pub mod accept;
mod admission;
pub mod answer;
#[cfg(test)]
mod asyncapi;
#[cfg(test)]
mod bad_input;
pub mod body;
mod breakers;
pub mod caller;
pub mod commands;
pub mod config;
pub mod content;
pub mod deadline;
mod emf;
pub mod expiry;
pub mod failure;
pub mod gateway;
pub mod http;
pub mod idempotency;
pub mod incoming;
pub mod limits;
pub mod ops_status;
mod outcomes;
pub mod override_breaker;
pub mod ownership;
pub mod parameters;
pub mod payments;
pub mod preconditions;
pub mod problem;
pub mod projection;
pub mod publishing;
pub mod queries;
pub mod rebuild;
pub mod republish;
pub mod request;
pub mod restore;
pub mod runtime;
pub mod settlement;
pub mod stream_batch;
mod telemetry;
#[cfg(test)]
mod testing;
