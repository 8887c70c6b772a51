//! The read model against a real DynamoDB: rows, lists, and one order read back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic that says why")]

mod deferred;
mod lists;
mod parking;
mod projector;
mod reader;
mod rebuild;
mod refused;
mod sales;
mod sales_histories;
mod taken_back;
mod transient;
mod world;
