//! The order: facts, decisions, transitions. Pure: time, ids and the provider's answers are inputs.
//!
//! A command decides on an [`Order`] with [`Decide::decide`], which gives the [`OrderEvent`]s that become true;
//! [`Order::apply`] moves the state by one of them and checks that it may follow.
//!
//! **Money is never lost between two facts.** What the provider has captured pays the order or is owed back, each
//! payment once; a command that tells of captured money is never just refused.

mod aggregate;
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
pub(crate) mod harness;
pub mod ids;
pub mod items;
#[cfg(test)]
pub(crate) mod lifetimes;
mod max_price;
pub mod money;
pub mod pay;
pub mod reject_payment;
pub mod ship;
pub mod state;
#[cfg(test)]
mod tables;
mod text;
mod transition;
pub mod wire;

pub use aggregate::Outcome;
pub use cancel::CancelOrder;
pub use codec::{DecodeError, decode, encode, newest_schema};
pub use command::Decide;
pub use confirm_payment::ConfirmPayment;
pub use confirm_refund::ConfirmRefund;
pub use create::CreateOrder;
pub use deliver::DeliverOrder;
pub use error::{DecisionError, Expected};
pub use event::{Item, OrderEvent};
pub use expire::ExpireOrder;
pub use ids::{OrderId, PaymentId, ProductId, Reason, RefundId, TrackingNumber, UserId};
pub use items::{InvalidField, InvalidItems, ItemDraft, Items};
pub use money::{Currency, Money, MoneyError};
pub use pay::{PayOrder, Verification};
pub use reject_payment::RejectPayment;
pub use ship::ShipOrder;
pub use state::{Order, PaymentStatus, PlacedOrder, Status};
pub use text::{TextError, check_free_text, check_id};
pub use transition::{BrokenRule, TransitionError};
