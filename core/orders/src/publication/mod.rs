//! Publishing events of orders on the event bus, at least once each, always with the same id.

mod batch;
mod bus;
#[cfg(test)]
mod catalog;
mod envelope;
mod publisher;
mod rejection;
mod relay;

pub use bus::{EventBridge, EventBus, PutError, UnusableBus, for_requests};
pub use envelope::{Envelope, Envelopes, event_id};
pub use publisher::{Publisher, Unpublished};
pub use rejection::Rejection;
pub use relay::{Relay, Relayed};
