//! The order service: its domain, and everything that it keeps on DynamoDB.
//!
//! [`order`] is pure: facts, decisions and transitions, without I/O and without a clock. [`event_store`] stores the
//! facts of any [`event_store::Aggregate`]; [`read_model`] turns them into rows and answers queries.

pub mod breaker;
pub mod clock;
pub mod dynamodb;
pub mod error;
pub mod event_store;
pub mod json;
pub mod order;
pub mod payments;
pub mod publication;
pub mod rate_limit;
pub mod read_model;
pub mod settings;
pub mod timestamp;
