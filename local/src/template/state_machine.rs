//! State machines of the template. The command `rebuild` does their work.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::intrinsics::Scope;
use super::policies::Policies;
use super::{TemplateError, properties};

/// A state machine.
#[derive(Clone, Debug)]
pub struct StateMachine {
    /// Its name in the template.
    pub logical_id: String,
    /// ARN of its role.
    pub role: String,
    /// What its role allows.
    pub policies: Policies,
}

/// The properties that are read. Its definition is checked by `.ci/check-state-machine.py`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Properties {
    #[serde(default)]
    policies: Vec<Value>,
}

impl StateMachine {
    pub(super) fn read(id: &str, machine: &Map<String, Value>, scope: &Scope) -> Result<Self, TemplateError> {
        let Properties { policies } = properties(machine, &["Policies", "PermissionsBoundary"], scope)?;
        let (role, policies) = (scope.attribute(&format!("{id}Role"), "Arn")?, Policies::of_entries(policies)?);
        Ok(Self { logical_id: id.to_owned(), role, policies })
    }
}
