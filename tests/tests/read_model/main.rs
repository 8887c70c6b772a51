//! The read models on a real DynamoDB: rows, lists, single orders, and sales.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic")]

mod deferred;
mod denied;
mod lists;
mod parking;
mod projector;
mod reader;
mod rebuild;
mod restored;
mod sales;
mod sales_histories;
mod transient;
mod world;
