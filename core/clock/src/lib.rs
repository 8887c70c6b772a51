#![doc = include_str!("../README.md")]

mod clock;
mod timestamp;

pub use clock::Clock;
#[cfg(feature = "test-util")]
pub use clock::set_system_time;
pub use timestamp::Timestamp;
