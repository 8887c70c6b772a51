//! The source of the current time.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::Timestamp;

#[cfg(feature = "test-util")]
thread_local! {
    static SIMULATED: std::cell::Cell<Option<i64>> = const { std::cell::Cell::new(None) };
}

/// Replaces the system clock of this thread by a time in microseconds since the Unix epoch; `None` restores it.
///
/// For simulations of programs that read the system clock in many places.
#[cfg(feature = "test-util")]
pub fn set_system_time(micros: Option<i64>) {
    SIMULATED.set(micros);
}

/// The time of the system clock.
pub(crate) fn system_time() -> DateTime<Utc> {
    #[cfg(feature = "test-util")]
    if let Some(simulated) = SIMULATED.get().and_then(DateTime::from_timestamp_micros) {
        return simulated;
    }
    Utc::now()
}

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
        Self::new(|| system_time().timestamp_micros())
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

    #[cfg(feature = "test-util")]
    #[test]
    fn a_thread_can_replace_its_system_clock() {
        let clock = Clock::default();
        super::set_system_time(Some(1_795_510_840_572_999));
        assert_eq!((clock.micros(), Timestamp::now()), (1_795_510_840_572_999, clock.now()));
        super::set_system_time(None);
        assert!(clock.now() > Timestamp::UNIX_EPOCH && clock.micros() != 1_795_510_840_572_999);
    }

    #[test]
    fn the_default_is_the_system_clock() {
        let (before, clock, after) = (Timestamp::now(), Clock::default().now(), Timestamp::now());
        assert!(before <= clock && clock <= after, "{before} {clock} {after}");
    }
}
