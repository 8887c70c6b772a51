//! The counters of calls: by the generation that let them pass, and by part of the window. Pure.
//!
//! A counter's name says both, so nothing of an older generation counts in a newer one, however late it is written and
//! whether or not anybody has removed it.

/// Calls of a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that failed, or were slow.
    pub failures: u64,
    /// Those that succeeded, as far as they were reported.
    pub successes: u64,
}

/// Where calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub generation: u64,
    pub part: u64,
}

impl Place {
    /// The attribute that counts failures here: `f3_17`.
    pub fn failures(&self) -> String {
        self.named('f')
    }

    /// The attribute that counts successes here: `k3_17`.
    pub fn successes(&self) -> String {
        self.named('k')
    }

    /// Both.
    pub fn counters(&self) -> [String; 2] {
        [self.failures(), self.successes()]
    }

    /// A breaker that never opened has no generation in its item, nor in the names of its counters: `f17`.
    fn named(self, letter: char) -> String {
        match self {
            Self { generation: 0, part } => format!("{letter}{part}"),
            Self { generation, part } => format!("{letter}{generation}_{part}"),
        }
    }

    /// Reads a counter's name, without its letter.
    pub fn read(name: &str) -> Option<Self> {
        let (generation, part) = name.split_once('_').unwrap_or(("0", name));
        Some(Self { generation: whole(generation)?, part: whole(part)? })
    }
}

/// A number without a sign.
pub(super) fn whole(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        let place = |generation, part| Place { generation, part };
        for (place, name) in [(place(0, 17), "f17"), (place(3, 17), "f3_17"), (place(30, 7), "f30_7")] {
            assert_eq!(place.failures(), name);
            assert_eq!(Place::read(&name[1..]), Some(place));
        }
        for name in ["", "_", "3_", "_17", "3_17_1", "+3", "open"] {
            assert_eq!(Place::read(name), None, "{name}");
        }
    }
}
