//! The order: events, decisions, transitions. Pure: time, ids and the provider's responses are inputs.
//!
//! A command is decided on an [`Order`] with [`Decide::decide`], which returns the [`OrderEvent`]s to store;
//! [`Order::apply`] applies one of them to the state and checks that it is valid.
//!
//! **Money is never lost between two events.** What the provider has captured pays the order or becomes due for refund,
//! once per payment; a command that reports captured money is never just rejected.

pub mod cancel;
mod codec;
mod command;
pub mod confirm_payment;
pub mod confirm_refund;
pub mod create;
mod decimal;
pub mod deliver;
mod error;
pub mod event;
pub mod expire;
#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
pub(crate) mod harness;
pub mod ids;
pub mod items;
#[cfg(test)]
pub(crate) mod lifetimes;
mod max_price;
pub mod money;
pub mod pay;
#[cfg(test)]
mod purity;
pub mod reject_payment;
pub mod return_order;
pub mod ship;
pub mod state;
#[cfg(test)]
mod tables;
mod text;
mod transition;
pub mod wire;

pub use codec::{DecodeError, decode, encode, newest_schema};
pub use command::Decide;
pub use error::{DecisionError, Expected};
pub use event::{Item, OrderEvent};
pub use ids::{OrderId, PaymentId, ProductId, Reason, RefundId, TrackingNumber, UserId};
pub use items::{InvalidField, InvalidItems, ItemDraft, Items};
pub use money::{Currency, Money, MoneyError};
pub use pay::Verification;
pub use state::{Order, PaymentStatus, PlacedOrder, Status, UnknownStatus};
pub use text::{TextError, check_free_text, check_id};
pub use transition::{BrokenRule, TransitionError};

command::commands! {
    CreateOrder in create,
    PayOrder in pay,
    ShipOrder in ship,
    DeliverOrder in deliver,
    ReturnOrder in return_order,
    CancelOrder in cancel,
    ExpireOrder in expire,
    ConfirmPayment in confirm_payment,
    RejectPayment in reject_payment,
    ConfirmRefund in confirm_refund,
}
