//! A circuit breaker shared by all containers, with its state in one DynamoDB item.
//!
//! [`CircuitBreaker::call`] makes a call if the circuit allows it, and calls the fallback if it does not, or if the callee
//! fails. The state and its changes are pure ([`Circuit`], [`Change`]); a [`Store`] holds the item.
//!
//! ```
//! use dynamodb_circuit_breaker::{ErrorClass, CircuitBreaker, ClassifyError, Table, create_table};
//!
//! #[derive(Debug)]
//! struct Down;
//!
//! impl ClassifyError for Down {
//!     fn class(&self) -> ErrorClass {
//!         ErrorClass::Callee
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let client = dynamodb_testkit::simulation::Simulation::start().client();
//! create_table(&client, "breakers")?.send().await?;
//! let table = Table::new(client, "breakers").with_timeout(std::time::Duration::from_secs(5));
//! let breaker = CircuitBreaker::new("prices", "failures=2; calls=2".parse()?, table);
//!
//! // Two calls fail, and the circuit is open: the third is not made.
//! let mut made = 0;
//! for _ in 0..3 {
//!     let call = async { made += 1; Err::<&str, _>(Down) };
//!     let answer = breaker.call(call, |_| "yesterday's price").await.map_err(|Down| "never")?;
//!     assert!(answer.from_fallback);
//! }
//! assert_eq!(made, 2);
//! # Ok(())
//! # }
//! ```
//!
//! - Closed: a success writes nothing, and the item is read at most once per cache time.
//! - Failures are added atomically to a rolling window. At the threshold exactly one container opens the circuit.
//! - Open: no calls until the open time has elapsed, and one read per ten cache times. Then a few probes at a time,
//!   each with a lease that expires.
//! - Every opening and closing starts a generation. Results of an older one are ignored.
//! - [`CircuitBreaker::set_override`] forces it open or closed, or resets it. Containers follow when they next read the
//!   item: within 1.5 cache times, or ten times that while it is open without an override.
//! - [`CircuitBreaker::on_transition`] calls a hook for every transition.
//! - While the table is unavailable, each container continues in memory from the item it last read, by the same rules.

mod call;
mod change;
mod circuit;
mod counters;
mod definition;
mod event;
mod fallback;
#[cfg(feature = "tower")]
mod layer;
mod local_state;
mod override_rules;
mod overrides;
mod settings;
mod table;
mod transition;
mod window;

pub use call::CircuitBreaker;
pub use change::{Change, Changed, Condition, Item, Malformed, Value};
pub use circuit::{Circuit, Permit, Rejected, State};
pub use counters::Counts;
pub use definition::create_table;
pub use event::{Origin, Reason, Transition};
pub use fallback::{CallResult, Cause, ClassifyError, ErrorClass, classify};
#[cfg(feature = "tower")]
pub use layer::{CircuitBreakerLayer, Guarded, MarkFallback};
pub use overrides::{Action, AppliedOverride, Override};
pub use settings::Settings;
pub use table::{Store, TIMEOUT, Table, Unavailable};
pub use transition::Outcome;

/// Its code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
