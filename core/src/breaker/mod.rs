//! A circuit breaker whose state is one DynamoDB item that all containers share.
//!
//! [`CircuitBreaker::call`] makes a call if the circuit allows it, and gives the fallback's answer otherwise. What the
//! item means and how it may change is pure ([`Circuit`], [`Change`]); [`Store`] is where it is kept.
//!
//! - Closed: nothing is written for a success, and the item is read at most once per cache time.
//! - Failures are added atomically to a rolling window; at the threshold one of those who see it opens the circuit.
//! - Open: no call and no look at the table until the time is over; then a few probes at a time, each with a lease that
//!   ends by itself.
//! - Every opening and closing begins a generation, and whatever belongs to an older one changes nothing.
//! - While the table does not answer, each container goes on with the item as it last saw it, by the same rules.

mod call;
mod change;
mod circuit;
mod memory;
mod settings;
mod table;
mod transition;

pub use call::{Answer, Blame, Cause, CircuitBreaker, Fallible};
pub use change::{Change, Changed, Guard, Item, Value};
pub use circuit::{Circuit, Counts, Malformed, Rejected, State, Ticket};
pub use settings::Settings;
pub use table::{Store, TIMEOUT, Table, Unavailable};
pub use transition::Outcome;
