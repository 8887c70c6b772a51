//! What the two limiters have in common: a pure decision on one item, carried out by one conditional update.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use super::decision::{Decision, Micros};

/// The attributes of a limiter's item besides its key. All of them are integers.
pub type Item = BTreeMap<String, i64>;

/// The attribute that DynamoDB's time to live goes by, in seconds since the epoch.
pub(super) const EXPIRES_AT: &str = "expires_at";

/// How long an item outlives its last use. Clocks must not differ by more than this.
const GRACE: Micros = 3_600_000_000;

/// What lies further ahead than any clock of ours can be is not believed, and overwritten.
pub(super) const MAX_SKEW: Micros = 60_000_000;

/// A limiter's rule: pure, and without a clock of its own.
///
/// What it says depends on the item as it was last seen, which may be out of date or missing. That costs at most
/// another call: the update's condition is what decides, and a refusal is only ever said when it holds for every later
/// item as well.
pub trait Algorithm: Debug + Send + Sync {
    /// The most that can be spent at once.
    fn limit(&self) -> u32;

    /// The span to which the limit belongs, for callers to know: an untouched quota is whole again after it.
    fn window(&self) -> Duration;

    /// What to do about a request of `cost`, given the item as it was last seen.
    fn step(&self, seen: Option<&Item>, now: Micros, cost: u32) -> Step;

    /// The decision for a request whose update was carried out and left `item`.
    fn accepted(&self, item: &Item, now: Micros) -> Decision;

    /// What [`Self::step`]'s update makes of `item`, if its condition holds.
    fn charge(&self, item: Option<&Item>, now: Micros, cost: u32) -> Item;
}

/// What to do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Refuse it. No call can change that.
    Refuse(Decision),
    /// Let it pass if this update's condition holds.
    Try(Update),
}

/// One conditional `UpdateItem`, in DynamoDB's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The update expression.
    pub update: String,
    /// The condition expression.
    pub condition: String,
    /// What the names with `#` stand for.
    pub names: Vec<(String, String)>,
    /// What the names with `:` stand for.
    pub values: Vec<(&'static str, i64)>,
}

/// The second after which nobody needs an item that matters until `end`.
pub(super) fn expiry(end: Micros) -> i64 {
    end.saturating_add(GRACE) / 1_000_000 + 1
}
