//! The steps of a history.
//!
//! A history is determined by its settings and steps alone, so it can be replayed, shortened and printed as a test.

use std::fmt;

/// A history: what a run is determined by.
#[derive(Clone, PartialEq)]
pub struct History {
    /// The versions from one snapshot to the next.
    pub snapshot_every: u32,
    /// The most bytes of a row. DynamoDB's limit is 400 KB; a smaller one is reached in fewer steps.
    pub row_limit: usize,
    /// Whether there is no provider to verify payments with, and the caller is trusted.
    pub trusts_caller: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// An act runs to its end.
    Do(Act, Circumstances),
    /// Acts run concurrently. The seed determines in which order their calls arrive.
    Race(u64, Vec<(Act, Circumstances)>),
    /// So many seconds pass.
    Wait(u32),
    /// The payment provider's condition changes.
    Provider(Condition),
    /// The provider captures so many cents of a payment for an order. It sends an event, unless it is silent.
    Capture {
        /// The payment.
        payment: u16,
        /// The order.
        order: u8,
        /// How much.
        cents: u32,
        /// Whether it sends no event.
        silent: bool,
    },
    /// The provider declines a payment, or an earlier attempt at it, and sends an event.
    Decline {
        /// The payment.
        payment: u16,
        /// The order.
        order: u8,
    },
    /// The payment system refunds a payment if its refund was published as due, and sends an event.
    Refund {
        /// The payment.
        payment: u16,
    },
}

/// What somebody does: one invocation of a function.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of `Step`; a key is the number of an idempotency key")]
pub enum Act {
    /// The storefront creates the order, always with the same key.
    Create { order: u8 },
    /// The owner pays.
    Pay { order: u8, payment: u16, cents: u32, key: Option<u16> },
    /// The owner cancels.
    Cancel { order: u8, key: Option<u16> },
    /// Fulfilment ships.
    Ship { order: u8, key: Option<u16> },
    /// Fulfilment delivers.
    Deliver { order: u8, key: Option<u16> },
    /// Fulfilment takes the order back.
    Return { order: u8, key: Option<u16> },
    /// The event of the n-th capture of a payment arrives, as often as it is sent.
    CaptureArrives { payment: u16, nth: u8 },
    /// The event of the n-th decline of a payment arrives.
    DeclineArrives { payment: u16, nth: u8 },
    /// The event of a payment's refund arrives.
    RefundArrives { payment: u16 },
    /// The carrier's event arrives: the parcel was dispatched, or delivered.
    ParcelArrives { order: u8, delivered: bool },
    /// The schedule settles deferred payments.
    Settle,
    /// The schedule cancels unpaid orders.
    Expire,
    /// The read models get a batch of the stream.
    Project(Batch),
    /// The read models catch up on their backlog.
    CatchUp,
    /// The publisher gets a batch of the stream.
    Publish(Batch),
    /// The rows of all orders, or the sales, are rebuilt.
    Rebuild { sales: bool },
    /// The rows of an order are repaired.
    Repair { order: u8 },
    /// The rows of all orders, or the sales, are compared with their events.
    Verify { sales: bool },
    /// The events of an order are published again.
    Republish { order: u8 },
}

/// The records that a reader of the stream gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Batch {
    /// The next ones.
    Next(u8),
    /// The next ones, after so many that it had before.
    Again(u8),
    /// The next ones, in another order.
    Shuffled(u8, u64),
    /// The next ones are lost: they are kept aside as those that exhausted their retries.
    Lost(u8),
    /// Lost ones.
    Redriven(u8),
}

/// The payment provider's condition.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Condition {
    /// It responds.
    #[default]
    Up,
    /// It responds with errors.
    Down,
    /// It does not respond in time.
    Slow,
    /// It declines every payment that it has not captured.
    Declines,
    /// It has yet to decide about every payment that it has not captured.
    Pending,
}

/// The circumstances of an act.
#[derive(Clone, Copy, Default, PartialEq)]
pub struct Circumstances {
    /// What goes wrong with its calls.
    pub trouble: Option<Trouble>,
    /// How far its clock is ahead, in milliseconds.
    pub clock: i32,
    /// How many milliseconds it has, if less than usual.
    pub time: Option<u16>,
    /// The version that a request requires by `If-Match`, relative to the newest one.
    pub if_match: Option<i8>,
}

/// Nothing goes wrong, and the clock is right.
pub const CALM: Circumstances = Circumstances { trouble: None, clock: 0, time: None, if_match: None };

/// Faults of consecutive calls of one act.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trouble {
    /// The first call that it strikes; attempts of the SDK are calls of their own.
    pub call: u8,
    /// How many it strikes.
    pub calls: u8,
    /// What goes wrong.
    pub fault: Fault,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It is executed, and the connection closes.
    LoseResponse,
    /// It is not executed, and the connection closes.
    LoseRequest,
    /// The connection closes, and it is executed so many milliseconds later.
    Late(u16),
    /// It is executed, and no response ever comes.
    HangAfter,
    /// It is not executed, and no response ever comes.
    Hang,
    /// It takes so many milliseconds longer.
    Slow(u16),
    /// It is throttled.
    Throttle,
    /// It fails with status 500.
    Fail,
    /// It is executed, and fails with status 500.
    FailAfter,
    /// An eventually consistent read misses so many commits, or the newest change of a row.
    Stale(u8),
    /// A transaction conflicts with another one.
    Conflict,
    /// The bus accepts a part of the entries.
    Partial,
    /// The process ends before the call is executed.
    CrashBefore,
    /// The process ends when the call has been executed.
    CrashAfter,
}

impl fmt::Debug for Circumstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trouble, clock, time, if_match } = self;
        if *self == CALM {
            return f.write_str("CALM");
        }
        write!(f, "Circumstances {{ trouble: {trouble:?}, clock: {clock}, time: {time:?}, if_match: {if_match:?} }}")
    }
}

impl Step {
    /// An act under circumstances that are of no interest.
    pub fn calm(act: Act) -> Self {
        Self::Do(act, CALM)
    }
}

/// As Rust that compiles where the names of this module are imported.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { snapshot_every, row_limit, trusts_caller, steps } = self;
        writeln!(f, "History {{")?;
        writeln!(f, "  snapshot_every: {snapshot_every}, row_limit: {row_limit}, trusts_caller: {trusts_caller},")?;
        writeln!(f, "  steps: vec![")?;
        for step in steps {
            match step {
                Step::Do(act, CALM) => writeln!(f, "    Step::calm({act:?}),")?,
                Step::Race(seed, acts) => writeln!(f, "    Race({seed}, vec!{acts:?}),")?,
                step => writeln!(f, "    {step:?},")?,
            }
        }
        f.write_str("] }")
    }
}
