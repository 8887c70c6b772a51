//! The order service: its domain, and everything that it keeps on DynamoDB.
//!
//! [`domain`] is pure: facts, decisions and transitions, without I/O and without a clock. [`dynamodb_event_store`] stores
//! the facts; [`read_model`] turns them into rows and answers queries.

pub mod domain;
pub mod error;
pub mod payments;
pub mod publication;
pub mod read_model;
pub mod store;
#[cfg(test)]
mod vocabulary;
