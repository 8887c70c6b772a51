//! The payment provider: its books are the truth about money.

use std::collections::{BTreeMap, BTreeSet};

use orders_core::domain::{Money, OrderId, Reason};
use orders_core::payments::{Claim, Verdict, VerifyError};

use super::step::Condition;

/// The reason of a decline.
const DECLINED: &str = "the card was declined";

/// The provider.
#[derive(Default)]
pub struct Provider {
    /// Its condition.
    pub condition: Condition,
    /// Its books, by the number of the payment.
    pub payments: BTreeMap<u16, Payment>,
    /// The claims that got a response on which the payment may be rejected.
    pub denied: BTreeSet<(u16, OrderId)>,
}

/// A payment in the provider's books.
#[derive(Clone, Debug)]
pub struct Payment {
    /// Whose it is.
    pub order: OrderId,
    /// What was captured, in cents. Only the first is money; another is a contradiction.
    pub captures: Vec<u32>,
    /// Whether the first capture is reported by no event.
    pub silent: bool,
    /// How often it was declined.
    pub declines: u8,
    /// What was refunded.
    pub refunded: Option<u64>,
}

/// What the provider does about a claim.
pub enum Word {
    /// It responds.
    Said(Result<Verdict, VerifyError>),
    /// It does not respond.
    Silence,
}

impl Payment {
    /// Captures it without an event, unless it is captured.
    pub fn capture_silently(&mut self, cents: u32) {
        if self.captures.is_empty() {
            self.silent = true;
            self.captures.push(cents);
        }
    }
}

impl Provider {
    /// A payment, which is known from now on.
    pub fn payment(&mut self, payment: u16, order: OrderId) -> &mut Payment {
        self.payments.entry(payment).or_insert_with(|| Payment {
            order,
            captures: Vec::new(),
            silent: false,
            declines: 0,
            refunded: None,
        })
    }

    /// Responds to a claim.
    pub fn verify(&mut self, claim: &Claim) -> Word {
        match self.condition {
            Condition::Down => return Word::Said(Err(VerifyError::Status(503))),
            Condition::Slow => return Word::Silence,
            Condition::Up | Condition::Declines | Condition::Pending => {}
        }
        let number = payment_number(claim.payment_id.as_str()).expect("a payment of the simulation");
        let payment = self.payments.get(&number);
        let said = match payment {
            Some(payment) if payment.order != claim.order_id => Err(VerifyError::OtherOrder),
            Some(Payment { captures, .. }) if !captures.is_empty() => match Money(captures[0].into()) {
                captured if captured == claim.amount => Ok(Verdict::Captured),
                captured => Err(VerifyError::OtherAmount { captured }),
            },
            Some(payment) if payment.declines > 0 => Ok(declined()),
            _ => match self.condition {
                Condition::Declines => Ok(declined()),
                Condition::Pending => Ok(Verdict::Pending),
                _ => Err(VerifyError::Unknown),
            },
        };
        if matches!(said, Ok(Verdict::Declined(_)) | Err(VerifyError::OtherOrder | VerifyError::Unknown)) {
            self.denied.insert((number, claim.order_id));
        }
        Word::Said(said)
    }
}

fn declined() -> Verdict {
    Verdict::Declined(Reason::from_external(DECLINED).expect("a reason"))
}

/// The name of a payment.
pub fn payment_name(payment: u16) -> String {
    format!("p{payment}")
}

/// The number of a payment with this name.
pub fn payment_number(name: &str) -> Option<u16> {
    name.strip_prefix('p')?.parse().ok()
}
