//! The result of a run, and of each payment.

use serde::Serialize;

/// The result of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Payments that paid their order.
    pub paid: u32,
    /// Payments that the provider has declined.
    pub rejected: u32,
    /// Payments that are due for refund.
    pub refund_due: u32,
    /// Payments that were settled in another way since they were listed.
    pub gone: u32,
    /// Payments without a result yet.
    pub waiting: u32,
    /// Payments that could not be settled for another reason; the next run tries again.
    pub failed: u32,
    /// Whether the run ended early because the provider's circuit is open.
    pub circuit_open: bool,
    /// Whether the run ended early because its time was up.
    pub out_of_time: bool,
}

/// The result for one payment.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Paid,
    Rejected,
    RefundDue,
    Gone,
    Waiting,
    Failed,
    /// The circuit is open, which ends the run.
    CircuitOpen,
    OutOfTime,
}

impl Run {
    pub(super) fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Paid => self.paid += 1,
            Outcome::Rejected => self.rejected += 1,
            Outcome::RefundDue => self.refund_due += 1,
            Outcome::Gone => self.gone += 1,
            Outcome::Waiting => self.waiting += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::CircuitOpen => self.circuit_open = true,
            Outcome::OutOfTime => self.out_of_time = true,
        }
    }

    pub(super) fn add(self, other: Self) -> Self {
        Self {
            paid: self.paid + other.paid,
            rejected: self.rejected + other.rejected,
            refund_due: self.refund_due + other.refund_due,
            gone: self.gone + other.gone,
            waiting: self.waiting + other.waiting,
            failed: self.failed + other.failed,
            circuit_open: self.circuit_open || other.circuit_open,
            out_of_time: self.out_of_time || other.out_of_time,
        }
    }
}
