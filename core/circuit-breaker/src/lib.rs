//! A circuit breaker whose state is one DynamoDB item that all containers share.
//!
//! [`CircuitBreaker::call`] makes a call if the circuit allows it, and gives the fallback's answer otherwise. What the
//! item means and how it may change is pure ([`Circuit`], [`Change`]); [`Store`] is where it is kept.
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
//! - Closed: nothing is written for a success, and the item is read at most once per cache time.
//! - Failures are added atomically to a rolling window; at the threshold one of those who see it opens the circuit.
//! - Open: no call until the time is over, and the item is read once per ten cache times; then a few probes at a time, each
//!   with a lease that ends by itself.
//! - Every opening and closing begins a generation, and whatever belongs to an older one changes nothing.
//! - [`CircuitBreaker::order`] holds it open or closed by hand, or resets it. Containers follow when they next look: after
//!   the cache time and half as much again, at the latest, and after ten times that while it is open by itself.
//! - [`CircuitBreaker::on_transition`] has a hook told of every transition.
//! - While the table does not answer, each container goes on with the item as it last saw it, by the same rules.

mod by_hand;
mod call;
mod change;
mod circuit;
mod counters;
mod definition;
mod fallback;
mod intervention;
#[cfg(feature = "tower")]
mod layer;
mod memory;
mod notice;
mod settings;
mod table;
mod transition;
mod window;

pub use call::CircuitBreaker;
pub use change::{Change, Changed, Guard, Item, Malformed, Value};
pub use circuit::{Circuit, Rejected, State, Permit};
pub use counters::Counts;
pub use definition::create_table;
pub use fallback::{Answer, ErrorClass, Cause, ClassifyError, blame};
pub use intervention::{Action, AppliedOverride, Order};
#[cfg(feature = "tower")]
pub use layer::{CircuitBreakerLayer, Guarded, Mark};
pub use notice::{Origin, Transition, Reason};
pub use settings::Settings;
pub use table::{Store, TIMEOUT, Table, Unavailable};
pub use transition::Outcome;
