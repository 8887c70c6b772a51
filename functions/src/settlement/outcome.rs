//! What a run came to.

use serde::Serialize;

/// What one run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Payments that now have paid their order.
    pub paid: u32,
    /// Payments that the provider has declined.
    pub rejected: u32,
    /// Payments that have to be given back.
    pub refund_due: u32,
    /// Payments that somebody else has settled since they were listed.
    pub gone: u32,
    /// Payments on which there is no word yet.
    pub waiting: u32,
    /// Payments that could not be settled for another reason; they come up again.
    pub failed: u32,
    /// Whether the run ended early because the provider's circuit is open.
    pub circuit_open: bool,
    /// Whether the run ended early because its time was over.
    pub out_of_time: bool,
}

/// What became of one payment.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Paid,
    Rejected,
    RefundDue,
    Gone,
    Waiting,
    Failed,
    /// The circuit is open: there is no use in asking about others.
    CircuitOpen,
    OutOfTime,
}

impl Run {
    pub(super) fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Paid => self.paid += 1,
            Fate::Rejected => self.rejected += 1,
            Fate::RefundDue => self.refund_due += 1,
            Fate::Gone => self.gone += 1,
            Fate::Waiting => self.waiting += 1,
            Fate::Failed => self.failed += 1,
            Fate::CircuitOpen => self.circuit_open = true,
            Fate::OutOfTime => self.out_of_time = true,
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
