//! CloudFormation's functions (`!Ref`, `!Sub`, `!If`, …), worked out as they would be in a stack on this machine.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::TemplateError;

/// Region in ARNs and in the functions' environment.
pub const REGION: &str = "us-east-1";
/// Account in ARNs.
pub const ACCOUNT: &str = "000000000000";

/// A resource as other parts of the template may refer to it.
pub(super) struct Named {
    /// `AWS::DynamoDB::Table` and so on.
    pub kind: String,
    /// The name that it has when it runs.
    pub name: String,
}

/// Everything that a reference can point at.
#[derive(Default)]
pub(super) struct Scope {
    pub parameters: BTreeMap<String, Value>,
    pub conditions: BTreeMap<String, Value>,
    pub resources: BTreeMap<String, Named>,
    pub prefix: String,
}

/// YAML to JSON; a tag becomes the long form of the function (`!Ref X` becomes `{"Ref": "X"}`).
pub(super) fn to_json(value: &yaml_serde::Value) -> Result<Value, TemplateError> {
    use yaml_serde::Value as Yaml;
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => json!(flag),
        Yaml::Number(number) => serde_json::to_value(number).map_err(TemplateError::invalid)?,
        Yaml::String(text) => json!(text),
        Yaml::Sequence(items) => Value::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| Ok((key_text(key)?, to_json(value)?)))
                .collect::<Result<_, TemplateError>>()?,
        ),
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = tag.trim_start_matches('!');
            let argument = match (name, to_json(&tagged.value)?) {
                ("GetAtt", Value::String(text)) => {
                    let (resource, attribute) = text.split_once('.').unwrap_or((&text, ""));
                    json!([resource, attribute])
                }
                (_, argument) => argument,
            };
            let long = if matches!(name, "Ref" | "Condition") { name.to_owned() } else { format!("Fn::{name}") };
            Value::Object(Map::from_iter([(long, argument)]))
        }
    })
}

fn key_text(key: &yaml_serde::Value) -> Result<String, TemplateError> {
    match key {
        yaml_serde::Value::String(text) => Ok(text.clone()),
        yaml_serde::Value::Number(number) => Ok(number.to_string()),
        yaml_serde::Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(TemplateError::Invalid(format!("a key must be a text, this one is {other:?}"))),
    }
}

impl Scope {
    /// The value with every function in it worked out; `None` is `AWS::NoValue`.
    pub(super) fn resolve(&self, value: &Value) -> Result<Option<Value>, TemplateError> {
        match value {
            Value::Array(items) => Ok(Some(Value::Array(self.resolve_all(items)?))),
            Value::Object(map) => {
                if let Some((name, argument)) = map.iter().next()
                    && map.len() == 1
                    && (name == "Ref" || name.starts_with("Fn::"))
                {
                    return self.call(name, argument);
                }
                let mut resolved = Map::new();
                for (key, value) in map {
                    if let Some(value) = self.resolve(value)? {
                        resolved.insert(key.clone(), value);
                    }
                }
                Ok(Some(Value::Object(resolved)))
            }
            scalar => Ok(Some(scalar.clone())),
        }
    }

    /// Whether the named condition of the template holds.
    pub(super) fn holds(&self, condition: &str) -> Result<bool, TemplateError> {
        let rule = self
            .conditions
            .get(condition)
            .ok_or_else(|| TemplateError::Invalid(format!("there is no condition {condition}")))?;
        self.test(rule)
    }

    fn resolve_all(&self, items: &[Value]) -> Result<Vec<Value>, TemplateError> {
        items.iter().filter_map(|item| self.resolve(item).transpose()).collect()
    }

    fn text(&self, value: &Value) -> Result<String, TemplateError> {
        match self.resolve(value)? {
            Some(Value::String(text)) => Ok(text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            _ => Err(TemplateError::Invalid(format!("a text is needed in place of {value}"))),
        }
    }

    fn call(&self, name: &str, argument: &Value) -> Result<Option<Value>, TemplateError> {
        let wrong = || TemplateError::Invalid(format!("{name} does not take {argument}"));
        let list = || argument.as_array().map(Vec::as_slice).ok_or_else(wrong);
        match name {
            "Ref" => self.reference(argument.as_str().ok_or_else(wrong)?),
            "Fn::GetAtt" => match list()? {
                [Value::String(resource), Value::String(attribute)] => {
                    self.attribute(resource, attribute).map(|text| Some(json!(text)))
                }
                _ => Err(wrong()),
            },
            "Fn::Sub" => match argument {
                Value::String(text) => self.substitute(text, &Map::new()),
                Value::Array(parts) => match parts.as_slice() {
                    [Value::String(text), Value::Object(names)] => self.substitute(text, names),
                    _ => Err(wrong()),
                },
                _ => Err(wrong()),
            }
            .map(|text| Some(json!(text))),
            "Fn::If" => match list()? {
                [Value::String(condition), yes, no] => self.resolve(if self.holds(condition)? { yes } else { no }),
                _ => Err(wrong()),
            },
            "Fn::Join" => match list()? {
                [Value::String(separator), parts] => {
                    let parts = self.resolve(parts)?.unwrap_or_default();
                    let parts = parts.as_array().ok_or_else(wrong)?;
                    let parts: Vec<String> = parts.iter().map(|part| self.text(part)).collect::<Result<_, _>>()?;
                    Ok(Some(json!(parts.join(separator))))
                }
                _ => Err(wrong()),
            },
            "Fn::Split" => match list()? {
                [Value::String(separator), text] => {
                    Ok(Some(json!(self.text(text)?.split(separator.as_str()).collect::<Vec<_>>())))
                }
                _ => Err(wrong()),
            },
            "Fn::Select" => match list()? {
                [index, parts] => {
                    let index: usize = self.text(index)?.parse().map_err(|_| wrong())?;
                    let parts = self.resolve(parts)?.unwrap_or_default();
                    Ok(Some(parts.get(index).ok_or_else(wrong)?.clone()))
                }
                _ => Err(wrong()),
            },
            "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or" => {
                Ok(Some(json!(self.test(&json!({ (name): argument }))?)))
            }
            unknown => Err(TemplateError::UnknownIntrinsic(unknown.to_owned())),
        }
    }

    fn test(&self, rule: &Value) -> Result<bool, TemplateError> {
        let wrong = || TemplateError::Invalid(format!("{rule} is not a condition"));
        let (name, argument) =
            rule.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next()).ok_or_else(wrong)?;
        let list = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        match (name.as_str(), list) {
            ("Condition", _) => self.holds(argument.as_str().ok_or_else(wrong)?),
            ("Fn::Equals", [left, right]) => Ok(self.text(left)? == self.text(right)?),
            ("Fn::Not", [inner]) => Ok(!self.test(inner)?),
            ("Fn::And", rules) => rules.iter().try_fold(true, |all, rule| Ok(all && self.test(rule)?)),
            ("Fn::Or", rules) => rules.iter().try_fold(false, |any, rule| Ok(any || self.test(rule)?)),
            _ => Err(wrong()),
        }
    }

    fn reference(&self, name: &str) -> Result<Option<Value>, TemplateError> {
        if name == "AWS::NoValue" {
            return Ok(None);
        }
        if let Some(value) = self.parameters.get(name) {
            return Ok(Some(value.clone()));
        }
        let text = match name {
            "AWS::Region" => REGION.to_owned(),
            "AWS::AccountId" => ACCOUNT.to_owned(),
            "AWS::Partition" => "aws".to_owned(),
            "AWS::URLSuffix" => "amazonaws.com".to_owned(),
            "AWS::StackName" => "local".to_owned(),
            _ => self.resource(name)?.name.clone(),
        };
        Ok(Some(json!(text)))
    }

    fn resource(&self, logical_id: &str) -> Result<&Named, TemplateError> {
        self.resources.get(logical_id).ok_or_else(|| {
            TemplateError::Invalid(format!("{logical_id} is neither a parameter nor a resource of this template"))
        })
    }

    pub(super) fn attribute(&self, logical_id: &str, attribute: &str) -> Result<String, TemplateError> {
        let Named { kind, name } = self.resource(logical_id)?;
        let unknown = || TemplateError::UnknownIntrinsic(format!("Fn::GetAtt {logical_id}.{attribute} of a {kind}"));
        let (service, path) = match kind.as_str() {
            "AWS::DynamoDB::Table" => ("dynamodb", "table/"),
            "AWS::Serverless::Function" => ("lambda", "function:"),
            "AWS::Serverless::StateMachine" | "AWS::StepFunctions::StateMachine" => ("states", "stateMachine:"),
            "AWS::SQS::Queue" => ("sqs", ""),
            "AWS::SNS::Topic" => ("sns", ""),
            "AWS::Events::EventBus" => ("events", "event-bus/"),
            "AWS::IAM::Role" if attribute == "Arn" => return Ok(format!("arn:aws:iam::{ACCOUNT}:role/{name}")),
            "AWS::S3::Bucket" if attribute == "Arn" => return Ok(format!("arn:aws:s3:::{name}")),
            _ => return Err(unknown()),
        };
        match (kind.as_str(), attribute) {
            (_, "Arn") => Ok(format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{path}{name}")),
            ("AWS::DynamoDB::Table", "StreamArn") => {
                Ok(format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{path}{name}/stream/local"))
            }
            (_, "Name" | "QueueName" | "TopicName") => Ok(name.clone()),
            _ => Err(unknown()),
        }
    }

    fn substitute(&self, text: &str, names: &Map<String, Value>) -> Result<String, TemplateError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after
                .split_once('}')
                .ok_or_else(|| TemplateError::Invalid(format!("Fn::Sub without a closing brace: {text}")))?;
            out.push_str(before);
            if let Some(literal) = name.strip_prefix('!') {
                out.push_str(&format!("${{{literal}}}"));
            } else if let Some(value) = names.get(name) {
                out.push_str(&self.text(value)?);
            } else if let Some((resource, attribute)) = name.split_once('.') {
                out.push_str(&self.attribute(resource, attribute)?);
            } else {
                out.push_str(&self.text(&json!({ "Ref": name }))?);
            }
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let mut scope = Scope::default();
        scope.parameters.insert("Stage".into(), json!("dev"));
        scope.parameters.insert("Scopes".into(), json!(["a", "b"]));
        scope.conditions.insert("IsDev".into(), json!({"Fn::Equals": [{"Ref": "Stage"}, "dev"]}));
        scope.conditions.insert("IsLive".into(), json!({"Fn::Not": [{"Condition": "IsDev"}]}));
        scope.resources.insert("Events".into(), Named { kind: "AWS::DynamoDB::Table".into(), name: "t-Events".into() });
        scope
    }

    fn resolve(yaml: &str) -> Result<Option<Value>, TemplateError> {
        scope().resolve(&to_json(&yaml_serde::from_str(yaml).unwrap())?)
    }

    #[test]
    fn references_name_parameters_pseudo_parameters_and_resources() {
        assert_eq!(resolve("!Ref Stage").unwrap(), Some(json!("dev")));
        assert_eq!(resolve("!Ref AWS::Region").unwrap(), Some(json!(REGION)));
        assert_eq!(resolve("Ref: Events").unwrap(), Some(json!("t-Events")));
        assert!(resolve("!Ref Nothing").unwrap_err().to_string().contains("Nothing"));
    }

    #[test]
    fn sub_takes_parameters_attributes_own_names_and_literals() {
        let text = resolve("!Sub ['${Stage}/${x}/${Events.StreamArn}/${!kept}', {x: !Ref Events}]").unwrap().unwrap();
        assert_eq!(
            text,
            json!(format!("dev/t-Events/arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t-Events/stream/local/${{kept}}"))
        );
        assert!(resolve("!Sub 'open ${Stage'").is_err());
    }

    #[test]
    fn a_condition_chooses_and_no_value_leaves_the_property_out() {
        assert_eq!(
            resolve("{a: !If [IsDev, 1, 2], b: !If [IsLive, 1, !Ref AWS::NoValue]}").unwrap(),
            Some(json!({"a": 1}))
        );
        assert_eq!(resolve("[!If [IsLive, 1, !Ref AWS::NoValue], 2]").unwrap(), Some(json!([2])));
        assert!(scope().test(&json!({"Fn::And": [{"Condition": "IsDev"}, {"Fn::Or": [{"Condition": "IsLive"}, {"Condition": "IsDev"}]}]})).unwrap());
    }

    #[test]
    fn lists_are_joined_split_and_selected() {
        assert_eq!(resolve("!Join [' ', !Ref Scopes]").unwrap(), Some(json!("a b")));
        assert_eq!(resolve("!Select [1, !Split [',', 'a,b']]").unwrap(), Some(json!("b")));
    }

    #[test]
    fn a_function_that_is_not_known_is_named() {
        let error = resolve("!ImportValue Network").unwrap_err();
        assert!(error.to_string().contains("Fn::ImportValue"), "{error}");
        let error = resolve("!GetAtt Events.Weight").unwrap_err();
        assert!(error.to_string().contains("Events.Weight"), "{error}");
    }
}
