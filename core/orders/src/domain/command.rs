//! All commands of an order, and the way from each to its decision.

use super::cancel::{self, CancelOrder};
use super::confirm_payment::{self, ConfirmPayment};
use super::confirm_refund::{self, ConfirmRefund};
use super::create::{self, CreateOrder};
use super::deliver::{self, DeliverOrder};
use super::error::DecisionError;
use super::event::OrderEvent;
use super::expire::{self, ExpireOrder};
use super::pay::{self, PayOrder};
use super::reject_payment::{self, RejectPayment};
use super::ship::{self, ShipOrder};
use super::state::Order;
use service_clock::Timestamp;

/// A command to one order.
pub trait Decide {
    /// What the command is called: part of a request's fingerprint.
    const NAME: &'static str;

    /// The facts that the command makes true, in order; none when it is true already.
    ///
    /// # Errors
    /// The rules refuse it. Nothing happened.
    fn decide(&self, order: &Order, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError>;
}

macro_rules! commands {
    ($($command:ident by $module:ident),+ $(,)?) => {
        $(impl Decide for $command {
            const NAME: &'static str = stringify!($command);

            fn decide(&self, order: &Order, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
                $module::decide(order, self, now)
            }
        })+
    };
}

commands! {
    CreateOrder by create,
    PayOrder by pay,
    ShipOrder by ship,
    DeliverOrder by deliver,
    CancelOrder by cancel,
    ExpireOrder by expire,
    ConfirmPayment by confirm_payment,
    RejectPayment by reject_payment,
    ConfirmRefund by confirm_refund,
}
