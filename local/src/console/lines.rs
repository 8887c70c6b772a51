//! The newest log lines of the functions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::lambda::Logs;

/// Most lines that are retained.
const MOST_LINES: usize = 2_000;

/// A line of a function.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    /// Its number; the first is 1.
    pub sequence: u64,
    pub function: String,
    pub line: String,
}

/// The newest lines. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogLines(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lines: Mutex<VecDeque<Line>>,
    newest: watch::Sender<u64>,
}

impl LogLines {
    /// Retains every line that goes to these logs.
    pub(crate) fn beside(&self, logs: Logs) -> Logs {
        let (lines, reports) = (self.clone(), logs.clone());
        let both = Logs::to(move |function, line| {
            lines.write(function, line);
            logs.line(function, line);
        });
        both.reporting(move |function, duration| reports.report(function, duration))
    }

    fn write(&self, function: &str, line: &str) {
        let mut lines = self.lines();
        let sequence = lines.back().map_or(1, |line| line.sequence + 1);
        lines.push_back(Line { sequence, function: function.to_owned(), line: line.to_owned() });
        if lines.len() > MOST_LINES {
            lines.pop_front();
        }
        self.0.newest.send_replace(sequence);
    }

    /// Lines with a number above `after`, oldest first.
    pub(crate) fn since(&self, after: u64) -> Vec<Line> {
        let lines = self.lines();
        lines.range(lines.partition_point(|line| line.sequence <= after)..).cloned().collect()
    }

    /// Returns when there is a line with a number above `after`.
    pub(crate) async fn past(&self, after: u64) {
        // It cannot fail: the sender lives as long as the lines.
        drop(self.0.newest.subscribe().wait_for(|newest| *newest > after).await);
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_lines_are_dropped_and_all_lines_still_go_to_the_logs() {
        let seen = Arc::new(Mutex::new(0));
        let (lines, count) = (LogLines::default(), seen.clone());
        let logs = lines.beside(Logs::to(move |_, _| *count.lock().unwrap() += 1));
        for number in 0..MOST_LINES + 5 {
            logs.line("f", &number.to_string());
        }
        assert_eq!((*seen.lock().unwrap(), lines.since(0).len()), (MOST_LINES + 5, MOST_LINES));
        assert_eq!(lines.since(MOST_LINES as u64 + 4)[0].line, "2004");
    }

    #[test]
    fn the_ends_of_invocations_are_still_reported() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        let logs = Logs::to(|_, _| {}).reporting(move |function, _| into.lock().unwrap().push(function.to_owned()));
        LogLines::default().beside(logs).report("f", Duration::ZERO);
        assert_eq!(*seen.lock().unwrap(), ["f"]);
    }
}
