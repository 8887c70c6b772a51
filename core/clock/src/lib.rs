//! [`Timestamp`] is a point in time in whole milliseconds whose texts sort in time order. [`Clock`] supplies the current
//! time, as a `Timestamp` or in microseconds, and can be replaced in tests.
//!
//! ```
//! use service_clock::{Clock, Timestamp};
//!
//! let opening: Timestamp = "2026-11-24T09:00:00Z".parse()?;
//! assert_eq!(opening.to_string(), "2026-11-24T09:00:00.000Z");
//! assert_eq!(Clock::stopped_at(opening).now(), opening);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod timestamp;

pub use clock::Clock;
#[cfg(feature = "test-util")]
pub use clock::set_system_time;
pub use timestamp::Timestamp;
