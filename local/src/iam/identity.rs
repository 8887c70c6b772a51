//! Functions and state machines, with the policies of their roles and credentials of their own.

use uuid::Uuid;

use super::Statement;

/// A function or a state machine, and what its role allows.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its logical id.
    pub name: String,
    /// ARN of its role.
    pub role: String,
    /// The statements that the template writes out, in order.
    pub statements: Vec<Statement>,
    /// Statements of managed policies, and those that SAM adds.
    pub implied: Vec<Statement>,
}

impl Identity {
    /// Removes a statement (`CreateOrder.0`), or an action (`CreateOrder.0.a1`) or a resource (`CreateOrder.0.r1`) of it; false
    /// if there is none of that name.
    pub fn remove(&mut self, permission: &str) -> bool {
        let parts: Vec<&str> = permission.split('.').collect();
        let (name, number, part) = match parts[..] {
            [name, number] => (name, number, None),
            [name, number, part] => (name, number, Some(part)),
            _ => return false,
        };
        let number = number.parse::<usize>().ok().filter(|_| name == self.name);
        let Some((number, statement)) = number.and_then(|number| Some((number, self.statements.get(number)?))) else {
            return false;
        };
        let place = |of: char, list: &[String]| {
            let place = part?.strip_prefix(of)?.parse::<usize>().ok();
            place.filter(|place| *place < list.len())
        };
        let (action, resource) = (place('a', statement.actions()), place('r', statement.resources()));
        let rest = match (part, action, resource) {
            (None, ..) => None,
            (Some(_), None, None) => return false,
            (Some(_), ..) => statement.without(action, resource),
        };
        self.statements[number] = rest.unwrap_or_else(Statement::nothing);
        true
    }
}

/// Credentials as Lambda gives them to a function.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The access key.
    pub access_key: String,
    /// The secret key. Signatures are not verified.
    pub secret_key: String,
    /// The session token.
    pub session_token: String,
}

impl Credentials {
    /// New ones, which cannot be guessed.
    pub(super) fn random() -> Self {
        let random = || Uuid::new_v4().simple().to_string().to_uppercase();
        Self { access_key: format!("ASIA{}", &random()[..16]), secret_key: random(), session_token: random() }
    }
}
