//! The source of the current time.

use std::fmt;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};

use crate::Timestamp;

/// A source of the current time: the system clock, or one that a test controls. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// A clock that reads `micros`, in microseconds since the Unix epoch.
    pub fn new(micros: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(micros))
    }

    /// A clock that always returns `time`.
    pub fn stopped_at(time: Timestamp) -> Self {
        Self::new(move || time.timestamp_micros())
    }

    /// The current time in whole milliseconds.
    pub fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::microseconds(self.micros())
    }

    /// The current time in microseconds since the Unix epoch.
    pub fn micros(&self) -> i64 {
        (self.0)()
    }
}

/// The system clock.
impl Default for Clock {
    fn default() -> Self {
        Self::new(|| Utc::now().timestamp_micros())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_and_micros_return_the_same_time() {
        for (micros, shown) in [
            (1_795_510_840_572_999, "2026-11-24T09:00:40.572Z"),
            (999, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            let clock = Clock::new(move || micros);
            assert_eq!((clock.micros(), clock.now().to_string().as_str()), (micros, shown));
            assert_eq!(Clock::stopped_at(clock.now()).now(), clock.now());
        }
    }

    #[test]
    fn any_time_can_be_formatted() {
        for micros in [i64::MIN, i64::MAX] {
            assert!(!Clock::new(move || micros).now().to_string().is_empty());
        }
    }

    #[test]
    fn the_default_is_the_system_clock() {
        let (before, clock, after) = (Timestamp::now(), Clock::default().now(), Timestamp::now());
        assert!(before <= clock && clock <= after, "{before} {clock} {after}");
    }
}
