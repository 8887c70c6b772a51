//! How often histories exceed the bounds of the service's memory (`docs/bounds.md`).

use std::fmt;

use serde_json::Value;

use crate::ledger::{Ledger, Stored};

/// How many rejected payments an order remembers.
const REJECTED: usize = 16;

/// How often each bound was exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// A payment was used again whose rejection its order had forgotten.
    pub forgotten_rejections: u64,
    /// A request was repeated whose key its order had forgotten.
    pub forgotten_keys: u64,
    /// A payment was settled by the schedule that was deferred, settled, and deferred again.
    pub settled_again: u64,
    /// A rejection was recorded again, when its order had forgotten it and the key of its event.
    pub rejected_again: u64,
    /// An order has captures of more than a hundred payments.
    pub many_captures: u64,
    /// A row grew beyond its limit, and was parked.
    pub parked_rows: u64,
    /// A commit was overtaken until its request gave up.
    pub contended: u64,
    /// A commit's writes got no response until its request gave up.
    pub unknown_outcomes: u64,
}

impl Bounds {
    /// Counts what an event shows, before it is booked. `again` is whether its cause was recorded before.
    pub fn count_event(&mut self, ledger: &Ledger, event: &Stored<'_>, again: bool, actor: &Value) {
        let times = ledger.rejections.iter().filter(|rejected| *rejected == event.payment()).count();
        let newest = ledger.rejections.iter().rev().take(REJECTED).any(|rejected| rejected == event.payment());
        let forgotten = times > 0 && !newest;
        let settles = ["OrderPaid", "OrderPaymentRejected", "OrderRefundDue"].contains(&event.name);
        let is_deferred = ledger.deferred.as_deref() == Some(event.payment());
        self.forgotten_rejections += u64::from(forgotten && event.name == "OrderPaymentDeferred");
        let by_schedule = actor["S"] == "schedule|settle-payments";
        self.settled_again += u64::from(settles && is_deferred && times > 0 && by_schedule);
        self.rejected_again += u64::from(event.name == "OrderPaymentRejected" && again);
        self.many_captures += u64::from(event.name == "OrderRefundDue" && ledger.captured.len() == 100);
    }

    /// Counts a problem in a response.
    pub fn count_problem(&mut self, problem: &str) {
        self.contended += u64::from(problem == "contended");
        self.unknown_outcomes += u64::from(problem == "outcome-unknown");
    }

    /// The bounds by name.
    pub fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("rejected payments forgotten and used again", self.forgotten_rejections),
            ("keyed requests forgotten and repeated", self.forgotten_keys),
            ("payments deferred and settled again", self.settled_again),
            ("rejections forgotten and recorded again", self.rejected_again),
            ("orders with a hundred captures", self.many_captures),
            ("rows too large, and parked", self.parked_rows),
            ("commits overtaken until the end", self.contended),
            ("commits without a response until the end", self.unknown_outcomes),
        ]
    }
}

impl std::ops::AddAssign for Bounds {
    fn add_assign(&mut self, more: Self) {
        self.forgotten_rejections += more.forgotten_rejections;
        self.forgotten_keys += more.forgotten_keys;
        self.settled_again += more.settled_again;
        self.rejected_again += more.rejected_again;
        self.many_captures += more.many_captures;
        self.parked_rows += more.parked_rows;
        self.contended += more.contended;
        self.unknown_outcomes += more.unknown_outcomes;
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts().iter().try_for_each(|(bound, count)| writeln!(f, "{count:>9}  {bound}"))
    }
}
