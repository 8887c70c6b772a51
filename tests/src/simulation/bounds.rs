//! How often histories exceed the bounds of the service's memory and attempts (`docs/bounds.md`).

use std::fmt;

use serde_json::Value;

use super::tables::Response;
use crate::ledger::{Ledger, Stored};

/// How many rejected payments an order remembers.
const REJECTED: usize = 16;
/// How often a row may change between its read and its write.
const ROUNDS: u32 = 8;
/// How often a transaction is tried.
const TRANSACTIONS: u32 = 8;

/// A bound, by what exceeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`BOUNDS` says what they are")]
pub enum Bound {
    ForgottenRejection,
    TrustedAgain,
    ForgottenKey,
    OldestRequest,
    SettledAgain,
    RejectedAgain,
    ManyCaptures,
    ParkedRow,
    Contended,
    ContendedRow,
    ConflictingTransaction,
    UnknownOutcome,
    UnacceptedEntries,
    ExpiredInFlight,
    OtherVersion,
}

/// What exceeds each bound, and the start of its row in `docs/bounds.md`, if it has one.
pub const BOUNDS: [(Bound, &str, &str); 15] = [
    (Bound::ForgottenRejection, "rejected payments forgotten and used again", "rejected payments of an order"),
    (Bound::TrustedAgain, "rejected payments forgotten and trusted again", "rejected payments of an order"),
    (Bound::ForgottenKey, "keyed requests forgotten and repeated", "keyed commits of an order"),
    (Bound::OldestRequest, "orders created again after many requests", "the request that created an order"),
    (Bound::SettledAgain, "payments deferred and settled again", "the settlement of a deferred payment"),
    (Bound::RejectedAgain, "rejections forgotten and recorded again", "a rejection that arrives again after both"),
    (Bound::ManyCaptures, "orders with a hundred captures", "captures and refunds of an order"),
    (Bound::ParkedRow, "rows too large, and parked", "captures and refunds of an order"),
    (Bound::Contended, "commits overtaken until the end", "a commit that other writers overtake"),
    (Bound::ContendedRow, "rows overtaken until the end", "a row that others write between its read and write"),
    (Bound::ConflictingTransaction, "transactions that conflict until the end", "a transaction that conflicts"),
    (Bound::UnknownOutcome, "commits without a response until the end", "a commit whose write gets no response"),
    (Bound::UnacceptedEntries, "batches of which the bus never accepts all", "an entry that the bus does not accept"),
    (Bound::ExpiredInFlight, "orders expired while a payment was in flight", ""),
    (Bound::OtherVersion, "requests that required another version", ""),
];

/// How often each bound was exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds([u64; BOUNDS.len()]);

impl Bounds {
    /// Counts that a bound was exceeded, if it was.
    pub fn count(&mut self, bound: Bound, exceeded: bool) {
        self.0[bound as usize] += u64::from(exceeded);
    }

    /// Counts what an event shows, before it is booked. `again` is whether its cause was recorded before,
    /// `trusted` whether the caller's word is its reason.
    pub fn count_event(&mut self, ledger: &Ledger, event: &Stored<'_>, again: bool, trusted: bool, actor: &Value) {
        let times = ledger.rejections.iter().filter(|rejected| *rejected == event.payment()).count();
        let newest = ledger.rejections.iter().rev().take(REJECTED).any(|rejected| rejected == event.payment());
        let forgotten = times > 0 && !newest;
        let settles = ["OrderPaid", "OrderPaymentRejected", "OrderRefundDue"].contains(&event.name);
        let is_deferred = ledger.deferred.as_deref() == Some(event.payment());
        self.count(Bound::ForgottenRejection, forgotten && event.name == "OrderPaymentDeferred");
        self.count(Bound::TrustedAgain, trusted && forgotten && event.name == "OrderPaid");
        let by_schedule = actor["S"] == "schedule|settle-payments";
        self.count(Bound::SettledAgain, settles && is_deferred && times > 0 && by_schedule);
        self.count(Bound::RejectedAgain, event.name == "OrderPaymentRejected" && again);
        self.count(Bound::ManyCaptures, event.name == "OrderRefundDue" && ledger.captured.len() == 100);
    }

    /// Counts a problem in a response.
    pub fn count_problem(&mut self, problem: &str) {
        self.count(Bound::Contended, problem == "contended");
        self.count(Bound::UnknownOutcome, problem == "outcome-unknown");
        self.count(Bound::OtherVersion, problem == "precondition-failed");
    }

    /// The bounds that were never exceeded.
    pub fn never(&self) -> impl Iterator<Item = &'static str> {
        BOUNDS.iter().filter(|(bound, ..)| self.0[*bound as usize] == 0).map(|(_, what, _)| *what)
    }
}

/// The row that a write of an invocation lost to another writer, and the bound that too many such writes exceed.
pub fn overtaken(request: &Value, response: &Response) -> Option<(Bound, u32, String)> {
    let (400, body) = response else { return None };
    let (bound, most, write) = match body["__type"].as_str()?.rsplit('#').next()? {
        "ConditionalCheckFailedException" if request["TableName"] != super::tables::EVENTS => {
            // The first write, and one for each round.
            (Bound::ContendedRow, ROUNDS + 1, request)
        }
        "TransactionCanceledException" if body["CancellationReasons"][0]["Code"] == "TransactionConflict" => {
            let action = request["TransactItems"][0].as_object()?.values().next()?;
            (Bound::ConflictingTransaction, TRANSACTIONS, action)
        }
        _ => return None,
    };
    let key = if write["Key"].is_null() { &write["Item"]["order_id"] } else { &write["Key"] };
    Some((bound, most, format!("{} {key}", write["TableName"])))
}

impl std::ops::AddAssign for Bounds {
    fn add_assign(&mut self, more: Self) {
        self.0.iter_mut().zip(more.0).for_each(|(count, more)| *count += more);
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BOUNDS.iter().try_for_each(|(bound, what, _)| writeln!(f, "{:>9}  {what}", self.0[*bound as usize]))
    }
}
