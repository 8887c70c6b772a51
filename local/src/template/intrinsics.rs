//! CloudFormation's intrinsic functions (`!Ref`, `!Sub`, `!If`, …), resolved for a stack on this machine.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Resource, TemplateError};

/// Region in ARNs and in the functions' environment.
pub const REGION: &str = "us-east-1";
/// The name of the stack, which names of some resources begin with.
pub(super) const STACK_NAME: &str = "local";
/// Account in ARNs.
pub const ACCOUNT: &str = "000000000000";

/// Everything that a reference can point at.
pub(super) struct Scope {
    pub parameters: BTreeMap<String, Value>,
    conditions: BTreeMap<String, Value>,
    /// Types and physical names of the resources by logical id.
    resources: BTreeMap<String, (String, String)>,
    prefix: String,
}

impl Scope {
    pub(super) fn new(parameters: BTreeMap<String, Value>, conditions: BTreeMap<String, Value>, prefix: &str) -> Self {
        Self { parameters, conditions, resources: BTreeMap::new(), prefix: prefix.to_owned() }
    }

    /// Adds a resource, under the name that the template gives it, or else under its logical id.
    pub(super) fn name(&mut self, id: &str, resource: &Resource) -> Result<(), TemplateError> {
        let property = match resource.kind.as_str() {
            "AWS::DynamoDB::Table" => "TableName",
            "AWS::Serverless::Function" => "FunctionName",
            "AWS::SQS::Queue" => "QueueName",
            "AWS::S3::Bucket" => "BucketName",
            _ => "Name",
        };
        let given = resource.properties.get(property).map(|value| self.resolve(value)).transpose()?.flatten();
        let name = given.as_ref().and_then(Value::as_str).unwrap_or(id);
        let name = match resource.kind.as_str() {
            // Functions do not share anything with those of another stack.
            "AWS::Serverless::Function" => name.to_owned(),
            "AWS::Events::Rule" => {
                let bus = resource.properties.get("EventBusName").map(|bus| self.text(bus)).transpose()?;
                format!("{}/{id}", bus.as_deref().unwrap_or("default"))
            }
            _ => format!("{}{name}", self.prefix),
        };
        self.resources.insert(id.to_owned(), (resource.kind.clone(), name));
        Ok(())
    }

    /// Adds what SAM creates for a function or a state machine: its role, and the rules of its events.
    pub(super) fn name_implied(&mut self, id: &str, resource: &Resource) -> Result<(), TemplateError> {
        if !["AWS::Serverless::Function", "AWS::Serverless::StateMachine"].contains(&resource.kind.as_str()) {
            return Ok(());
        }
        if !resource.properties.contains_key("Role") {
            let name = format!("{}{id}Role", self.prefix);
            self.resources.insert(format!("{id}Role"), ("AWS::IAM::Role".to_owned(), name));
        }
        let events = resource.properties.get("Events").and_then(Value::as_object).into_iter().flatten();
        let rules = events.filter(|(_, event)| event["Type"] == "EventBridgeRule").map(|(name, event)| {
            let bus = self.text(&event["Properties"]["EventBusName"])?;
            Ok((format!("{id}{name}"), format!("{bus}/{name}")))
        });
        for (id, name) in rules.collect::<Result<Vec<_>, TemplateError>>()? {
            self.resources.insert(id, ("AWS::Events::Rule".to_owned(), name));
        }
        Ok(())
    }

    /// The ARNs of all resources, and what to get of which resource (`Orders.Arn`).
    pub(super) fn arns(&self) -> BTreeMap<String, String> {
        let attributes = |id: &String| ["Arn", "StreamArn"].map(|attribute| (id.clone(), attribute));
        let arn =
            |(id, attribute): (String, &str)| Some((self.attribute(&id, attribute).ok()?, format!("{id}.{attribute}")));
        self.resources.keys().flat_map(attributes).filter_map(arn).collect()
    }

    pub(super) fn has(&self, logical_id: &str) -> bool {
        self.resources.contains_key(logical_id)
    }

    /// The physical name of a resource.
    pub(super) fn name_of(&self, logical_id: &str) -> Result<String, TemplateError> {
        self.resource(logical_id).map(|(_, name)| name.clone())
    }

    /// The value with every function in it resolved; `None` is `AWS::NoValue`.
    pub(super) fn resolve(&self, value: &Value) -> Result<Option<Value>, TemplateError> {
        match value {
            Value::Array(items) => {
                let items = items.iter().filter_map(|item| self.resolve(item).transpose());
                Ok(Some(Value::Array(items.collect::<Result<_, _>>()?)))
            }
            Value::Object(map) => match call(map) {
                Some((name, argument)) => self.call(name, argument),
                None => {
                    let entries = map.iter().filter_map(|(key, value)| {
                        let resolved = self.resolve(value).transpose()?;
                        Some(resolved.map(|value| (key.clone(), value)))
                    });
                    Ok(Some(Value::Object(entries.collect::<Result<_, _>>()?)))
                }
            },
            scalar => Ok(Some(scalar.clone())),
        }
    }

    /// Whether the named condition of the template is true.
    pub(super) fn holds(&self, condition: &str) -> Result<bool, TemplateError> {
        let missing = || TemplateError::Invalid(format!("the condition {condition} does not exist"));
        self.test(self.conditions.get(condition).ok_or_else(missing)?)
    }

    fn test(&self, condition: &Value) -> Result<bool, TemplateError> {
        let unsupported = || TemplateError::Unsupported(format!("the condition {condition}"));
        let (name, argument) = condition.as_object().and_then(call).ok_or_else(unsupported)?;
        match (name, argument.as_array().map(Vec::as_slice).unwrap_or_default()) {
            ("Condition", _) => self.holds(argument.as_str().ok_or_else(unsupported)?),
            ("Equals", [left, right]) => Ok(self.text(left)? == self.text(right)?),
            ("Not", [inner]) => Ok(!self.test(inner)?),
            _ => Err(unsupported()),
        }
    }

    fn text(&self, value: &Value) -> Result<String, TemplateError> {
        match self.resolve(value)? {
            Some(Value::String(text)) => Ok(text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            _ => Err(TemplateError::Invalid(format!("{value} is not a text"))),
        }
    }

    fn call(&self, name: &str, argument: &Value) -> Result<Option<Value>, TemplateError> {
        let list = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        match (name, argument, list) {
            ("Ref", Value::String(name), _) => self.reference(name),
            // The short form has one text, the long one a list.
            ("GetAtt", Value::String(path), _) => {
                let (resource, attribute) = path.split_once('.').unwrap_or((path, ""));
                self.attribute(resource, attribute).map(|text| Some(json!(text)))
            }
            ("GetAtt", _, [Value::String(resource), Value::String(attribute)]) => {
                self.attribute(resource, attribute).map(|text| Some(json!(text)))
            }
            ("Sub", Value::String(text), _) => self.substitute(text).map(|text| Some(json!(text))),
            ("If", _, [Value::String(condition), yes, no]) => {
                self.resolve(if self.holds(condition)? { yes } else { no })
            }
            ("Split", _, [Value::String(separator), text]) => {
                Ok(Some(self.text(text)?.split(separator.as_str()).collect()))
            }
            _ => Err(TemplateError::Unsupported(format!("the function {name} with {argument}"))),
        }
    }

    fn reference(&self, name: &str) -> Result<Option<Value>, TemplateError> {
        Ok(match name {
            "AWS::NoValue" => None,
            "AWS::Region" => Some(json!(REGION)),
            "AWS::AccountId" => Some(json!(ACCOUNT)),
            "AWS::Partition" => Some(json!("aws")),
            "AWS::URLSuffix" => Some(json!("amazonaws.com")),
            "AWS::StackName" => Some(json!(STACK_NAME)),
            name => Some(match self.parameters.get(name) {
                Some(value) => value.clone(),
                None => json!(self.name_of(name)?),
            }),
        })
    }

    fn resource(&self, logical_id: &str) -> Result<&(String, String), TemplateError> {
        let missing =
            || TemplateError::Invalid(format!("{logical_id} is neither a parameter nor a resource of this template"));
        self.resources.get(logical_id).ok_or_else(missing)
    }

    pub(super) fn attribute(&self, logical_id: &str, attribute: &str) -> Result<String, TemplateError> {
        let (kind, name) = self.resource(logical_id)?;
        let arn = |service: &str, resource: &str| format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}{name}");
        match (kind.as_str(), attribute) {
            ("AWS::DynamoDB::Table", "Arn") => Ok(arn("dynamodb", "table/")),
            ("AWS::DynamoDB::Table", "StreamArn") => Ok(arn("dynamodb", "table/") + "/stream/local"),
            ("AWS::Events::Rule", "Arn") => Ok(arn("events", "rule/")),
            ("AWS::Logs::LogGroup", "Arn") => Ok(arn("logs", "log-group:")),
            ("AWS::Serverless::Function", "Arn") => Ok(arn("lambda", "function:")),
            ("AWS::Serverless::StateMachine", "Arn") => Ok(arn("states", "stateMachine:")),
            ("AWS::SQS::Queue", "Arn") => Ok(arn("sqs", "")),
            ("AWS::Events::EventBus", "Arn") => Ok(arn("events", "event-bus/")),
            ("AWS::IAM::Role", "Arn") => Ok(format!("arn:aws:iam::{ACCOUNT}:role/{name}")),
            ("AWS::S3::Bucket", "Arn") => Ok(format!("arn:aws:s3:::{name}")),
            _ => Err(TemplateError::Unsupported(format!("the attribute {logical_id}.{attribute} of a {kind}"))),
        }
    }

    fn substitute(&self, text: &str) -> Result<String, TemplateError> {
        let mut parts = text.split("${");
        let mut result = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let unclosed = || TemplateError::Invalid(format!("Sub without a closing brace: {text}"));
            let (name, rest) = part.split_once('}').ok_or_else(unclosed)?;
            result += &match name.split_once('.') {
                Some((resource, attribute)) => self.attribute(resource, attribute)?,
                None => self.text(&json!({ "Ref": name }))?,
            };
            result += rest;
        }
        Ok(result)
    }
}

/// The function and the argument, when the map is a call: `!Sub x`, which the reader shows as `{"!Sub": x}`, or
/// `{"Fn::Sub": x}`.
fn call(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = map.iter().next().filter(|_| map.len() == 1)?;
    let function = name.strip_prefix('!').or_else(|| name.strip_prefix("Fn::"));
    Some((function.or_else(|| Some(name.as_str()).filter(|name| ["Ref", "Condition"].contains(name)))?, argument))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(yaml: &str) -> Result<Option<Value>, TemplateError> {
        let condition =
            |yaml: &str| serde_json::to_value(yaml_serde::from_str::<yaml_serde::Value>(yaml).unwrap()).unwrap();
        let conditions = [
            ("IsDev".to_owned(), condition("!Equals [!Ref Stage, dev]")),
            ("IsLive".to_owned(), condition("!Not [!Condition IsDev]")),
        ];
        let mut scope = Scope::new([("Stage".to_owned(), json!("dev"))].into(), conditions.into(), "");
        scope.resources.insert("Events".into(), ("AWS::DynamoDB::Table".into(), "t-Events".into()));
        scope.resolve(&condition(yaml))
    }

    #[test]
    fn references_name_parameters_pseudo_parameters_and_resources() {
        assert_eq!(resolve("!Ref Stage").unwrap(), Some(json!("dev")));
        assert_eq!(resolve("!Ref AWS::Region").unwrap(), Some(json!(REGION)));
        assert_eq!(resolve("Ref: Events").unwrap(), Some(json!("t-Events")));
        assert!(resolve("!Ref Nothing").unwrap_err().to_string().contains("Nothing"));
    }

    #[test]
    fn sub_takes_parameters_and_attributes() {
        let text = resolve("!Sub '${Stage}/${Events}/${Events.StreamArn}'").unwrap().unwrap();
        let arn = format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t-Events/stream/local");
        assert_eq!(text, json!(format!("dev/t-Events/{arn}")));
        assert_eq!(resolve("Fn::GetAtt: [Events, StreamArn]").unwrap(), Some(json!(arn)));
        assert!(resolve("!Sub 'open ${Stage'").is_err());
    }

    #[test]
    fn a_condition_selects_and_no_value_removes_the_property() {
        assert_eq!(
            resolve("{a: !If [IsDev, 1, 2], b: !If [IsLive, 1, !Ref AWS::NoValue]}").unwrap(),
            Some(json!({"a": 1}))
        );
        assert_eq!(resolve("[!If [IsLive, 1, !Ref AWS::NoValue], 2]").unwrap(), Some(json!([2])));
        assert_eq!(resolve("!Split [',', 'a,b']").unwrap(), Some(json!(["a", "b"])));
    }

    #[test]
    fn a_function_or_an_attribute_that_is_not_supported_is_named() {
        for (yaml, named) in [
            ("!ImportValue Network", "ImportValue"),
            ("!Join ['', [a]]", "Join"),
            ("!Sub ['${x}', {x: 1}]", "Sub"),
            ("!GetAtt Events.Weight", "Events.Weight"),
        ] {
            let error = resolve(yaml).unwrap_err().to_string();
            assert!(error.contains("does not support") && error.contains(named), "{error}");
        }
    }
}
