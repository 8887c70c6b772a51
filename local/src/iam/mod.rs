//! IAM: whether a caller may call an action on a resource, as AWS decides it.
//!
//! A function has the policies of its role, and credentials of its own. Every other client is an administrator of the
//! account, whose access key is the name of its role: `local`, or the break-glass role. Policies of resources apply to all.

mod identity;
mod known;
mod policies;
mod statement;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;

pub use identity::{Credentials, Identity};
pub use policies::Iam;
pub use statement::{PolicyError, PolicyKind, Statement};

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A function or a state machine.
    Identity(Arc<Identity>),
    /// A role that the account's administrator has, by its ARN.
    Administrator(String),
    /// A service of AWS (`events.amazonaws.com`), for the resource of this ARN.
    Service(&'static str, String),
}

/// A call that needs permission.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// `dynamodb:PutItem`.
    pub action: String,
    /// ARN of the resource.
    pub resource: String,
    /// Condition keys of the call, beyond those of the caller.
    pub context: Vec<(&'static str, String)>,
}

/// A call was denied. The text is that of AWS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("User: {user} is not authorized to perform: {action} on resource: {resource} {reason}")]
pub struct Denied {
    /// ARN of the caller.
    pub user: String,
    /// The action.
    pub action: String,
    /// ARN of the resource.
    pub resource: String,
    /// Why, in the words of AWS.
    pub reason: String,
    /// What to do: the missing statement, or the policy that denies.
    pub remedy: String,
}

/// What a check found, for an observer.
#[derive(Clone, Copy, Debug)]
pub enum Checked<'a> {
    /// A statement of a function allowed a call: its number, and the places of action and resource in its lists.
    Allowed {
        /// The function.
        identity: &'a str,
        /// The statement.
        statement: usize,
        /// The action.
        action: usize,
        /// The resource.
        resource: usize,
    },
    /// A call of a function was denied.
    Denied(&'a Denied),
}

/// Is told every decision about a function.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Checked<'_>) + Send + Sync>);

impl Observer {
    /// An observer that calls this.
    pub fn new(observe: impl Fn(Checked<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
