//! The lines that the functions of a stack have logged.

use std::sync::{Arc, Mutex};

use orders_local::lambda::Logs;
use serde_json::Value;

/// Collected log lines. Clones share them.
#[derive(Clone, Default)]
pub struct LogLines(Arc<Mutex<Vec<(String, String)>>>);

impl LogLines {
    /// The sink that collects the lines here.
    pub fn sink(&self) -> Logs {
        let lines = self.0.clone();
        Logs::to(move |function, line| lines.lock().unwrap().push((function.to_owned(), line.to_owned())))
    }

    /// The lines of a function so far.
    pub fn of(&self, function: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|(name, _)| name == function).map(|(_, line)| line.clone()).collect()
    }

    /// The lines of all functions that are JSON.
    pub fn json(&self) -> Vec<Value> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter_map(|(_, line)| serde_json::from_str(line).ok()).collect()
    }

    /// The lines of a function that are JSON.
    pub fn json_of(&self, function: &str) -> Vec<Value> {
        self.of(function).iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
