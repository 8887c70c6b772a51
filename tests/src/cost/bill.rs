//! What the lives of orders used, and what AWS bills for it.

use std::collections::BTreeMap;
use std::fmt;

use super::prices;

/// The use of everything that AWS bills by use. Stored bytes and what costs without traffic are left out.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The orders that lived.
    pub orders: usize,
    /// Requests of the HTTP API.
    pub requests: usize,
    /// By function.
    pub functions: BTreeMap<String, Invocations>,
    /// By table, without the prefix of its name; indexes are included.
    pub tables: BTreeMap<String, Units>,
    /// Events on the bus.
    pub events: usize,
    /// Log lines, and their bytes.
    pub log_lines: usize,
    /// See `log_lines`.
    pub log_bytes: usize,
}

/// The invocations of a function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Invocations {
    /// How many.
    pub count: usize,
    /// Their durations, each rounded up to a millisecond.
    pub milliseconds: u128,
    /// The function's memory.
    pub memory_mb: u32,
}

/// The request units of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Read units.
    pub read: f64,
    /// Write units.
    pub written: f64,
}

/// A line of the bill: what, how much for each order, and USD for each order.
type Line = (String, String, f64);

impl Usage {
    /// The units of a table for each order.
    pub fn per_order(&self, table: &str) -> Units {
        let used = self.tables.get(table).copied().unwrap_or_default();
        let orders = self.orders.max(1) as f64;
        Units { read: used.read / orders, written: used.written / orders }
    }

    fn lines(&self) -> Vec<Line> {
        let each = |count: f64| count / self.orders.max(1) as f64;
        let requests = each(self.requests as f64);
        let mut lines =
            vec![("HTTP API".to_owned(), format!("{requests:.0} requests"), requests * prices::API_REQUEST)];
        for (name, function) in &self.functions {
            let (count, ms) = (each(function.count as f64), each(function.milliseconds as f64));
            let gb_seconds = ms / 1_000.0 * f64::from(function.memory_mb) / 1_024.0;
            let cost = count * prices::INVOCATION + gb_seconds * prices::GB_SECOND;
            lines.push((format!("Lambda `{name}`"), format!("{count:.2} invocations, {ms:.1} ms"), cost));
        }
        for table in self.tables.keys() {
            let Units { read, written } = self.per_order(table);
            let cost = read * prices::READ_UNIT + written * prices::WRITE_UNIT;
            lines.push((format!("table `{table}`"), format!("{written:.2} write units, {read:.2} read units"), cost));
        }
        let events = each(self.events as f64);
        lines.push(("EventBridge".to_owned(), format!("{events:.2} events"), events * prices::EVENT));
        let invocations: usize = self.functions.values().map(|function| function.count).sum();
        let bytes = self.log_bytes + self.log_lines * prices::LOG_LINE_BYTES + invocations * prices::LAMBDA_LOG_BYTES;
        let bytes = each(bytes as f64);
        let what = format!("{:.0} lines, {:.1} KB with Lambda's own", each(self.log_lines as f64), bytes / 1_024.0);
        lines.push(("logs".to_owned(), what, bytes / 1_073_741_824.0 * prices::LOG_GB));
        let traces = requests * prices::TRACED;
        lines.push(("X-Ray".to_owned(), format!("{traces:.2} traces"), traces * prices::TRACE));
        lines
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | each order | USD for a million orders |\n|---|---|--:|")?;
        let lines = self.lines();
        for (what, amount, cost) in &lines {
            writeln!(f, "| {what} | {amount} | {:.2} |", cost * 1e6)?;
        }
        let total: f64 = lines.iter().map(|(_, _, cost)| cost).sum();
        writeln!(f, "| **all** | | **{:.2}** |", total * 1e6)
    }
}
