//! Rate limiters shared by all containers: token bucket and sliding window, on one DynamoDB item per key.
//!
//! A limiter decides with one conditional update, or without a call when it already knows that the request must be
//! rejected. The algorithms ([`TokenBucket`], [`SlidingWindow`]) are pure functions of an item and the time; [`Limiter`]
//! makes the calls.
//!
//! ```
//! use dynamodb_rate_limit::{DynamoTable, Limiter, Subject, create_table};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let client = dynamodb_testkit::simulation::Simulation::start().client();
//! create_table(&client, "limits")?.send().await?;
//! let policy = "token-bucket; name=search; rate=1/m; burst=2; by=user".parse()?;
//! let limiter = Limiter::new(DynamoTable::with_timeout(&client, "limits", std::time::Duration::from_secs(5)), policy);
//!
//! for allowed in [true, true, false] {
//!     let checked = limiter.check(&Subject::user("ada")).await;
//!     assert_eq!(checked.decision().allowed, allowed);
//! }
//! assert!(limiter.check(&Subject::user("bob")).await.decision().allowed);
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `tower`, `RateLimitLayer` limits a service and rejects requests with 429.
//!
//! Keys are `name/settings/by/subject`. A key takes about 1,000 writes a second, DynamoDB's limit for one item.

mod algorithm;
mod checked;
mod decision;
mod definition;
mod error;
#[cfg(feature = "tower")]
mod layer;
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
pub use checked::Checked;
pub use decision::{Decision, Micros};
pub use definition::create_table;
pub use error::TableError;
#[cfg(feature = "tower")]
pub use layer::{RateLimit, RateLimitLayer};
pub use limiter::{Limiter, Table, Updated};
pub use policy::{By, CostError, OnError, Policy};
pub use sliding_window::SlidingWindow;
pub use subject::Subject;
pub use table::DynamoTable;
pub use token_bucket::TokenBucket;

/// Its code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
