//! Rate limiters that all containers share: token bucket and sliding window, on one DynamoDB item per key.
//!
//! A limiter decides with one conditional update, and with none where a refusal is known already. The rules
//! ([`TokenBucket`], [`SlidingWindow`]) are pure functions of an item and the time; [`Limiter`] does the calls.
//!
//! Keys are `name/settings/by/subject`. A key takes about 1,000 writes a second, which is DynamoDB's limit for an item.

mod algorithm;
mod decision;
mod limiter;
mod memory;
#[cfg(test)]
mod model;
mod policy;
mod sliding_window;
mod subject;
mod table;
mod token_bucket;

pub use algorithm::{Algorithm, Item, Step, Update};
pub use decision::{Decision, Micros};
pub use limiter::{Checked, Limiter, Table, TableError, Updated};
pub use policy::{By, CostError, OnError, Policy};
pub use sliding_window::SlidingWindow;
pub use subject::Subject;
pub use table::DynamoTable;
pub use token_bucket::TokenBucket;
