//! What a run was, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use super::Run;
use super::evidence::{Evidence, events_on_the_bus};
use crate::ledger::Stored;

/// A report.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The traces: databases and logs.
    pub data: String,
    /// Requests and responses.
    pub answers: BTreeMap<String, u64>,
    /// Stored events.
    pub events: BTreeMap<String, u64>,
    /// Events on the bus, incoming ones included.
    pub on_the_bus: BTreeMap<String, u64>,
    /// Faults and killed processes.
    pub disruption: BTreeMap<String, u64>,
    /// Orders.
    pub orders: usize,
    /// What is wrong.
    pub broken: Vec<String>,
}

impl Report {
    /// Counts.
    pub fn new(seed: u64, run: &Run, evidence: &Evidence) -> Self {
        let mut this = Self {
            seed,
            data: run.stack.data.display().to_string(),
            disruption: run.stack.counts(),
            ..Self::default()
        };
        for exchange in &evidence.exchanges {
            let answer = exchange.answer.as_ref().map_or("no response".to_owned(), |answer| {
                let status = answer.status;
                [&format!("{status}"), answer.problem()].join(" ").trim().to_owned()
            });
            *this.answers.entry(format!("{:?} {answer}", exchange.request.act).to_lowercase()).or_default() += 1;
        }
        for event in evidence.commits.iter().flat_map(Stored::of) {
            *this.events.entry(event.name.to_owned()).or_default() += 1;
            this.orders += usize::from(event.name == "OrderCreated");
        }
        for event in events_on_the_bus(&evidence.log) {
            *this.on_the_bus.entry(event["detail-type"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        for sent in &evidence.sent {
            *this.on_the_bus.entry(sent.name.to_owned()).or_default() += sent.accepted.len() as u64;
        }
        this
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "chaos with seed {}: {} orders", self.seed, self.orders)?;
        for (what, counts) in [
            ("requests", &self.answers),
            ("stored", &self.events),
            ("on the bus", &self.on_the_bus),
            ("disruption", &self.disruption),
        ] {
            writeln!(f, "{what}: {}", counts.values().sum::<u64>())?;
            for (name, count) in counts {
                writeln!(f, "  {count:>7} {name}")?;
            }
        }
        for broken in &self.broken {
            writeln!(f, "BROKEN: {broken}")?;
        }
        if !self.broken.is_empty() {
            writeln!(f, "{} promises are broken. Traces: {}", self.broken.len(), self.data)?;
        }
        Ok(())
    }
}
