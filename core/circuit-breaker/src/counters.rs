//! The counters of calls, by generation and part of the window. Pure.
//!
//! The names contain both, so a counter of an older generation never counts in a newer one, however late it is written.

/// Counts of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Failed or slow calls.
    pub failures: u64,
    /// Successful calls, as far as reported.
    pub successes: u64,
}

/// A generation and a part of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub generation: u64,
    pub part: u64,
}

impl Place {
    /// The failure counter's attribute: `f3_17`.
    pub fn failures(&self) -> String {
        self.named('f')
    }

    /// The success counter's attribute: `k3_17`.
    pub fn successes(&self) -> String {
        self.named('k')
    }

    /// Both attributes.
    pub fn counters(&self) -> [String; 2] {
        [self.failures(), self.successes()]
    }

    /// Before the first transition the item has no generation, nor do the names: `f17`.
    fn named(self, letter: char) -> String {
        match self {
            Self { generation: 0, part } => format!("{letter}{part}"),
            Self { generation, part } => format!("{letter}{generation}_{part}"),
        }
    }

    /// Parses a counter's name without its letter.
    pub fn read(name: &str) -> Option<Self> {
        let (generation, part) = name.split_once('_').unwrap_or(("0", name));
        Some(Self { generation: whole(generation)?, part: whole(part)? })
    }
}

/// Parses a number without a sign.
pub(super) fn whole(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
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
