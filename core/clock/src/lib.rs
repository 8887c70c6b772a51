#![doc = include_str!("../README.md")]

mod clock;
mod timestamp;

pub use clock::Clock;
pub use timestamp::Timestamp;
