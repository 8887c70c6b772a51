//! The interface of both algorithms: a pure decision on one item, applied by one conditional update.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use super::decision::{Decision, Micros};

/// The attributes of a limiter's item without its key. All are integers.
pub type Item = BTreeMap<String, i64>;

/// DynamoDB's time-to-live attribute, in seconds since the Unix epoch.
pub(super) const EXPIRES_AT: &str = "expires_at";

/// How long an item outlives its last use. Clock skew must stay below this.
const GRACE: Micros = 3_600_000_000;

/// The largest tolerated clock skew. A stored time further ahead is invalid and is overwritten.
pub(super) const MAX_SKEW: Micros = 60_000_000;

/// A rate-limiting algorithm: pure, without a clock of its own.
///
/// It works on the item as last read, which may be stale or missing. Stale input costs at most another call: the update's
/// condition decides, and [`Step::Reject`] is only returned when it holds for every later state of the item as well.
pub trait Algorithm: Debug + Send + Sync {
    /// The largest cost that can be admitted at once.
    fn limit(&self) -> u32;

    /// The time in which an unused quota is fully restored; reported to callers.
    fn window(&self) -> Duration;

    /// What to do with a request of `cost`, given the item as last read.
    fn step(&self, seen: Option<&Item>, now: Micros, cost: u32) -> Step;

    /// The decision for a request whose update was applied and left `item`.
    fn accepted(&self, item: &Item, now: Micros) -> Decision;

    /// The item after [`Self::step`]'s update, if its condition holds.
    fn charge(&self, item: Option<&Item>, now: Micros, cost: u32) -> Item;
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reject it. A call cannot change that.
    Reject(Decision),
    /// Admit it if this update's condition holds.
    Try(Update),
}

/// One conditional `UpdateItem` as DynamoDB expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The update expression.
    pub update: String,
    /// The condition expression.
    pub condition: String,
    /// Expression attribute names (`#`).
    pub names: Vec<(String, String)>,
    /// Expression attribute values (`:`).
    pub values: Vec<(&'static str, i64)>,
}

/// The time to live of an item that is needed until `end`.
pub(super) fn expiry(end: Micros) -> i64 {
    end.saturating_add(GRACE) / 1_000_000 + 1
}
