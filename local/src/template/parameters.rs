//! The parameters of a template, and the values that replace their defaults.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{TemplateError, plain_text};

/// How to read a template.
#[derive(Clone, Debug)]
pub struct TemplateOptions {
    /// Values of parameters that replace their defaults. Names that the template does not have are ignored.
    pub parameters: BTreeMap<String, String>,
    /// Prefix of every physical name, so that several stacks can share one DynamoDB.
    pub prefix: String,
}

impl Default for TemplateOptions {
    /// No prefix, and a token issuer that exists on this machine only.
    fn default() -> Self {
        let parameters = [("JwtIssuer", "https://issuer.orders.local"), ("JwtAudience", "orders")];
        Self {
            parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            prefix: String::new(),
        }
    }
}

/// A declared parameter.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parameter {
    #[serde(rename = "Type")]
    kind: String,
    default: Option<Value>,
}

/// The values of the declared parameters: the given ones, or their defaults.
pub(super) fn values(
    declared: &BTreeMap<String, Parameter>,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, TemplateError> {
    let value = |(name, parameter): (&String, &Parameter)| {
        let text = given.get(name).cloned().or_else(|| parameter.default.as_ref().map(plain_text));
        let text = text.ok_or_else(|| TemplateError::NoParameter(name.clone()))?;
        let is_list = parameter.kind == "CommaDelimitedList";
        let value = if is_list { text.split(',').map(str::trim).collect() } else { Value::from(text) };
        Ok((name.clone(), value))
    };
    declared.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use crate::template::{Template, TemplateOptions};

    #[test]
    fn a_parameter_without_a_default_needs_a_value() {
        let text = "{Parameters: {Region: {Type: String}}, Resources: {}}";
        let error = Template::parse(text, &TemplateOptions::default()).unwrap_err().to_string();
        assert!(error.contains("Region"), "{error}");
    }
}
