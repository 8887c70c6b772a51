//! The order service: its domain, and everything that it stores on DynamoDB.
//!
//! [`domain`] is pure: events, decisions and transitions, without I/O and without a clock. [`store`] connects it to
//! [`dynamodb_event_store`]; [`read_model`] projects the events into rows and answers queries; [`publication`] publishes
//! them; [`payments`] is the client of the payment provider.

pub mod domain;
pub mod error;
pub mod payments;
pub mod publication;
pub mod read_model;
pub mod store;
#[cfg(test)]
mod vocabulary;
