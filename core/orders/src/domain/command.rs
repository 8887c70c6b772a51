//! What a command is, and the way from each to its decision.

use super::error::DecisionError;
use super::event::OrderEvent;
use super::state::Order;
use service_clock::Timestamp;

/// A command to one order.
pub trait Decide {
    /// What the command is called: part of a request's fingerprint.
    const NAME: &'static str;

    /// The events that the command leads to, in order; none when its effect is there already.
    ///
    /// # Errors
    /// The rules reject it. Nothing happened.
    fn decide(&self, order: &Order, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError>;
}

/// Exports the commands, and connects each to the function `decide` of its module.
macro_rules! commands {
    ($($command:ident in $module:ident,)+) => {
        $(pub use $module::$command;)+

        /// The names of all commands.
        pub const COMMANDS: [&str; [$(stringify!($command)),+].len()] = [$(stringify!($command)),+];

        $(impl $crate::domain::Decide for $command {
            const NAME: &'static str = stringify!($command);

            fn decide(
                &self,
                order: &$crate::domain::Order,
                now: service_clock::Timestamp,
            ) -> Result<Vec<$crate::domain::OrderEvent>, $crate::domain::DecisionError> {
                $module::decide(order, self, now)
            }
        })+

        /// Any command: what the tests of all commands are written for.
        #[cfg(test)]
        #[derive(Clone, Debug)]
        pub(crate) enum Command {
            $($command($command),)+
        }

        #[cfg(test)]
        impl Command {
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$command(_) => <$command as $crate::domain::Decide>::NAME,)+
                }
            }

            pub fn decide(&self, order: &Order, now: service_clock::Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
                match self {
                    $(Self::$command(command) => $crate::domain::Decide::decide(command, order, now),)+
                }
            }
        }

        $(#[cfg(test)]
        impl From<$command> for Command {
            fn from(command: $command) -> Self {
                Self::$command(command)
            }
        })+
    };
}

pub(super) use commands;
