//! What must be true of the evidence of any run.

use std::collections::BTreeMap;

use super::evidence::Evidence;
use super::{answers, money, views};
use crate::ledger::{Item, Ledger, Stored};

/// An order as its commits describe it.
#[derive(Debug, Default)]
pub struct Checked {
    /// Its books.
    pub ledger: Ledger,
    /// Its owner.
    pub owner: String,
    /// When it was created.
    pub created_at: String,
    /// The types of its events.
    pub events: Vec<String>,
    /// Its status after each event.
    pub statuses: Vec<&'static str>,
    /// The versions with which its commits end.
    pub ends: Vec<u64>,
    pub(super) recorded_at: String,
}

/// The orders, by their ids.
pub type Orders = BTreeMap<String, Checked>;

/// A stored commit of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its order.
    pub order: String,
    /// The version of its last event.
    pub version: u64,
}

impl Checked {
    /// The newest version.
    pub fn head(&self) -> u64 {
        self.events.len() as u64
    }
}

/// Everything that is wrong.
pub fn check(evidence: &Evidence) -> Vec<String> {
    let orders = match orders_of(&evidence.commits) {
        Ok(orders) => orders,
        Err(broken) => return vec![broken],
    };
    let mut broken = answers::check(evidence, &orders, &places_of(&evidence.commits));
    broken.extend(money::check(evidence, &orders));
    broken.extend(views::check(evidence, &orders));
    broken
}

/// Folds the commits.
///
/// # Errors
/// Which commit breaks which rule of streams, orders or money.
pub fn orders_of(commits: &[Item]) -> Result<Orders, String> {
    let mut orders = Orders::new();
    for commit in commits {
        let order = orders.entry(text(commit, "stream_id")).or_default();
        add(order, commit).map_err(|broken| format!("{broken}\n  in the commit {}", serde_json::json!(commit)))?;
    }
    Ok(orders)
}

fn add(order: &mut Checked, commit: &Item) -> Result<(), String> {
    let next = (order.head() + 1).to_string();
    if commit["version"]["N"] != next {
        return Err(format!("the commit does not follow version {}", order.head()));
    }
    let recorded_at = text(commit, "recorded_at");
    if recorded_at < order.recorded_at {
        return Err(format!("it was recorded before the previous commit, at {}", order.recorded_at));
    }
    order.recorded_at = recorded_at;
    for event in Stored::of(commit) {
        order.ledger.book(&event)?;
        order.events.push(event.name.to_owned());
        order.statuses.push(order.ledger.status);
    }
    let created = &commit["events"]["L"][0]["M"]["data"]["M"];
    if let (Some(owner), Some(created_at)) = (created["user_id"]["S"].as_str(), created["created_at"]["S"].as_str()) {
        (order.owner, order.created_at) = (owner.to_owned(), created_at.to_owned());
    }
    order.ends.push(order.head());
    order.ledger.balance()
}

/// Where requests are stored, by correlation id.
fn places_of(commits: &[Item]) -> BTreeMap<String, Vec<Place>> {
    let mut places: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for commit in commits {
        let correlation_id = commit["metadata"]["M"]["correlation_id"]["S"].as_str().unwrap_or_default().to_owned();
        let first: u64 = commit["version"]["N"].as_str().and_then(|first| first.parse().ok()).unwrap_or_default();
        let version = first + Stored::of(commit).count() as u64 - 1;
        places.entry(correlation_id).or_default().push(Place { order: text(commit, "stream_id"), version });
    }
    places
}

fn text(commit: &Item, name: &str) -> String {
    commit[name]["S"].as_str().unwrap_or_default().to_owned()
}
