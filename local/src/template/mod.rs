//! Reads `template.yaml`, the one place that says which functions, routes, tables, streams and rules there are.
//!
//! Only the parts that the local stack runs are worked out; whatever would run code or route requests and is not
//! understood is an error that names it, so that nothing of the template is left out in silence.

mod asynchronous;
mod functions;
mod http_api;
mod intrinsics;
mod loose;
mod policies;
mod rules;
mod sources;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use asynchronous::AsyncPolicy;
pub use functions::{Function, Route};
pub use http_api::{Cors, HttpApi, JwtAuthorizer, JwtConfiguration};
pub use intrinsics::{ACCOUNT, REGION};
pub use policies::Statement;
pub use sources::{FailurePolicy, QueueRule, Rule, Schedule, StartingPosition, StreamMapping};
pub use tables::{GlobalIndex, KeyType, Projection, Table};

use intrinsics::{Named, Scope, to_json};

/// Why a template cannot be run. Each says which part is meant; mend that part of the file.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file is not there or cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not YAML.
    #[error("not YAML: {0}")]
    Yaml(#[from] yaml_serde::Error),
    /// A value that does not fit where it stands.
    #[error("{0}")]
    Invalid(String),
    /// A CloudFormation function or attribute that the local stack cannot work out.
    #[error("the local stack does not know {0}")]
    UnknownIntrinsic(String),
    /// A parameter without a default for which no value was given.
    #[error("the parameter {0} has no default and was given no value")]
    NoParameter(String),
    /// The problem, with the part of the template that has it.
    #[error("{part}: {source}")]
    In {
        /// Logical id or section.
        part: String,
        /// The problem.
        source: Box<TemplateError>,
    },
}

impl TemplateError {
    fn invalid(error: impl std::fmt::Display) -> Self {
        Self::Invalid(error.to_string())
    }

    fn within(self, part: impl Into<String>) -> Self {
        Self::In { part: part.into(), source: Box::new(self) }
    }
}

/// How to read a template; by default as the stack on this machine does.
#[derive(Clone, Debug)]
pub struct TemplateOptions {
    /// Values of parameters, over their defaults. Names that the template does not have are passed over.
    pub parameters: BTreeMap<String, String>,
    /// Put before every physical name, so that several stacks can share one DynamoDB.
    pub prefix: String,
}

impl Default for TemplateOptions {
    /// No prefix, and an issuer of tokens that exists on this machine only.
    fn default() -> Self {
        let parameters = [("JwtIssuer", "https://issuer.orders.local"), ("JwtAudience", "orders")];
        Self {
            parameters: parameters.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            prefix: String::new(),
        }
    }
}

/// The project's own template.
pub fn project_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("template.yaml")
}

/// What a template says, with all its references worked out.
#[derive(Clone, Debug)]
pub struct Template {
    /// Parameters with the values that were used.
    pub parameters: BTreeMap<String, String>,
    /// Functions, in the order of the file.
    pub functions: Vec<Function>,
    /// Tables, in the order of the file.
    pub tables: Vec<Table>,
    /// The HTTP API that the functions' routes belong to.
    pub api: HttpApi,
    /// Names of the event buses, without the default bus.
    pub buses: Vec<String>,
    /// Names of the queues.
    pub queues: Vec<String>,
    /// Rules that send events to queues; those that call functions are the functions'.
    pub queue_rules: Vec<QueueRule>,
}

impl Template {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or holds something that the local stack does not understand.
    pub fn load(path: &Path, options: &TemplateOptions) -> Result<Self, TemplateError> {
        let text = std::fs::read_to_string(path).map_err(|source| TemplateError::Read { path: path.into(), source })?;
        Self::parse(&text, options)
    }

    /// Reads the text of a template.
    ///
    /// # Errors
    /// When it holds something that the local stack does not understand.
    pub fn parse(text: &str, options: &TemplateOptions) -> Result<Self, TemplateError> {
        let mut document: yaml_serde::Value = yaml_serde::from_str(text)?;
        document.apply_merge()?;
        let order = logical_ids(&document);
        let document = to_json(&document)?;
        let section = |name: &str| document.get(name).and_then(Value::as_object).cloned().unwrap_or_default();

        let mut scope = Scope {
            parameters: parameters(&section("Parameters"), &options.parameters)?,
            conditions: section("Conditions").into_iter().collect(),
            resources: BTreeMap::new(),
            prefix: options.prefix.clone(),
        };
        let mut resources = Vec::new();
        for (id, resource) in order.iter().filter_map(|id| Some((id, document.get("Resources")?.get(id)?))) {
            let condition = resource.get("Condition").and_then(Value::as_str);
            if condition.map_or(Ok(true), |name| scope.holds(name)).map_err(|error| error.within(id))? {
                resources.push((id.as_str(), resource));
            }
        }
        for (id, resource) in &resources {
            let named = name(&scope, id, resource).map_err(|error| error.within(*id))?;
            scope.resources.insert((*id).to_owned(), named);
        }

        let globals = section("Globals");
        let mut template = Self {
            parameters: scope.parameters.iter().map(|(name, value)| (name.clone(), plain_text(value))).collect(),
            functions: Vec::new(),
            tables: Vec::new(),
            api: HttpApi::default(),
            buses: Vec::new(),
            queues: Vec::new(),
            queue_rules: Vec::new(),
        };
        let mut apis = 0;
        let mut found = Vec::new();
        let (mut rules, mut schedules, mut roles) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (id, resource) in resources {
            let kind = resource.get("Type").and_then(Value::as_str).unwrap_or_default();
            let read = |global: &str, names: &[&str]| {
                properties(&scope, globals.get(global), resource, names).map_err(|error| error.within(id))
            };
            match kind {
                "AWS::Serverless::Function" => {
                    found.push((id, resource, read("Function", functions::PROPERTIES)?));
                }
                "AWS::DynamoDB::Table" => {
                    let name = &scope.resources[id].name;
                    let table = Table::read(id, name, read("", tables::PROPERTIES)?);
                    template.tables.push(table.map_err(|error| error.within(id))?);
                }
                "AWS::Serverless::HttpApi" => {
                    apis += 1;
                    let api = HttpApi::read(read("HttpApi", http_api::PROPERTIES)?);
                    template.api = api.map_err(|error| error.within(id))?;
                }
                "AWS::Events::EventBus" => template.buses.push(scope.resources[id].name.clone()),
                "AWS::SQS::Queue" => template.queues.push(scope.resources[id].name.clone()),
                "AWS::Events::Rule" => rules.push((id, read("", rules::RULE)?)),
                "AWS::Scheduler::Schedule" => schedules.push((id, read("", rules::SCHEDULE)?)),
                "AWS::IAM::Role" => {
                    let statements = policies::of_role(read("", policies::ROLE)?).map_err(|error| error.within(id))?;
                    roles.insert(scope.attribute(id, "Arn")?, statements);
                }
                "AWS::Serverless::StateMachine" | "AWS::Serverless::LayerVersion" => {}
                other if would_run(other) => {
                    return Err(TemplateError::UnknownIntrinsic(format!("resources of type {other}")).within(id));
                }
                _ => {}
            }
        }
        if apis == 0 {
            let implicit = properties(&scope, globals.get("HttpApi"), &Value::Null, http_api::PROPERTIES)?;
            template.api = HttpApi::read(implicit).map_err(|error| error.within("Globals.HttpApi"))?;
        } else if apis > 1 {
            return Err(TemplateError::Invalid("the local stack serves one AWS::Serverless::HttpApi, not more".into()));
        }
        for (id, resource, properties) in found {
            let function = Function::read(id, resource, properties, &template.api, &template.tables, &roles);
            template.functions.push(function.map_err(|error| error.within(id))?);
        }
        for (id, properties) in rules {
            rules::add_rule(id, properties, &mut template).map_err(|error| error.within(id))?;
        }
        for (id, properties) in schedules {
            rules::add_schedule(id, properties, &mut template.functions).map_err(|error| error.within(id))?;
        }
        rules::check(&template)?;
        Ok(template)
    }

    /// The table of that logical id.
    pub fn table(&self, logical_id: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.logical_id == logical_id)
    }

    /// The function of that logical id or binary.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.logical_id == name || function.binary == name)
    }
}

/// Types that run code or route to it, so that passing over one would be a silent hole in the local stack.
fn would_run(kind: &str) -> bool {
    ["AWS::Serverless::", "AWS::ApiGateway", "AWS::Pipes::"].iter().any(|start| kind.starts_with(start))
        || ["AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping", "AWS::DynamoDB::GlobalTable"].contains(&kind)
}

fn logical_ids(document: &yaml_serde::Value) -> Vec<String> {
    let resources = document.get("Resources").and_then(yaml_serde::Value::as_mapping);
    resources.into_iter().flatten().filter_map(|(id, _)| id.as_str().map(str::to_owned)).collect()
}

fn parameters(
    declared: &Map<String, Value>,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, TemplateError> {
    declared
        .iter()
        .map(|(name, declaration)| {
            let value = match given.get(name) {
                Some(text) => text.clone(),
                None => declaration
                    .get("Default")
                    .map(plain_text)
                    .ok_or_else(|| TemplateError::NoParameter(name.clone()))?,
            };
            let kind = declaration.get("Type").and_then(Value::as_str).unwrap_or("String");
            let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
            Ok((
                name.clone(),
                if is_list { value.split(',').map(|part| Value::from(part.trim())).collect() } else { value.into() },
            ))
        })
        .collect()
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(plain_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The physical name: the one that the template gives, else the logical id.
fn name(scope: &Scope, id: &str, resource: &Value) -> Result<Named, TemplateError> {
    let kind = resource.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let property = match kind.as_str() {
        "AWS::DynamoDB::Table" => "TableName",
        "AWS::Serverless::Function" => "FunctionName",
        "AWS::SQS::Queue" => "QueueName",
        "AWS::SNS::Topic" => "TopicName",
        "AWS::S3::Bucket" => "BucketName",
        _ => "Name",
    };
    let given = match resource.pointer(&format!("/Properties/{property}")) {
        Some(value) => scope.resolve(value)?,
        None => None,
    };
    let name = given.as_ref().and_then(Value::as_str).unwrap_or(id);
    Ok(Named { kind, name: format!("{}{name}", scope.prefix) })
}

/// Those of a resource's properties that are named, over the template's globals, worked out.
fn properties(
    scope: &Scope,
    globals: Option<&Value>,
    resource: &Value,
    names: &[&str],
) -> Result<Value, TemplateError> {
    let mut merged = globals.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    if let Some(own) = resource.get("Properties") {
        merge(&mut merged, own);
    }
    if let Value::Object(properties) = &mut merged {
        properties.retain(|name, _| names.contains(&name.as_str()));
    }
    Ok(scope.resolve(&merged)?.unwrap_or_default())
}

/// As SAM merges globals: maps key by key, lists one after the other, anything else is replaced.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) if !is_call(base) && !is_call(over) => {
            for (key, value) in over {
                match base.get_mut(key) {
                    Some(existing) => merge(existing, value),
                    None => {
                        base.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(base), Value::Array(over)) => base.extend(over.iter().cloned()),
        (base, over) => *base = over.clone(),
    }
}

fn is_call(map: &Map<String, Value>) -> bool {
    map.len() == 1 && map.keys().all(|key| key == "Ref" || key.starts_with("Fn::"))
}

#[cfg(test)]
pub(crate) mod fixture;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_whose_condition_fails_are_left_out() {
        let text = "
Parameters: {Archive: {Type: String, Default: 'no'}}
Conditions: {Keep: !Equals [!Ref Archive, 'yes']}
Resources:
  Old: {Type: AWS::DynamoDB::Table, Condition: Keep, Properties: {KeySchema: [{AttributeName: a, KeyType: HASH}], AttributeDefinitions: [{AttributeName: a, AttributeType: S}]}}";
        assert_eq!(Template::parse(text, &TemplateOptions::default()).unwrap().tables.len(), 0);
        let parameters =
            BTreeMap::from([("Archive".to_owned(), "yes".to_owned()), ("Other".to_owned(), "x".to_owned())]);
        let options = TemplateOptions { parameters, prefix: "p-".into() };
        assert_eq!(Template::parse(text, &options).unwrap().table("Old").unwrap().name, "p-Old");
    }

    #[test]
    fn a_resource_that_would_run_code_but_is_not_understood_is_an_error_that_names_it() {
        let text = "Resources: {Poller: {Type: AWS::Lambda::EventSourceMapping, Properties: {}}}";
        let error = Template::parse(text, &TemplateOptions::default()).unwrap_err().to_string();
        assert!(error.contains("Poller") && error.contains("AWS::Lambda::EventSourceMapping"), "{error}");
    }

    #[test]
    fn merge_keys_are_resolved() {
        let text = "
Resources:
  First: {Type: AWS::SQS::Queue, Properties: &queue {QueueName: first, DelaySeconds: 1}}
  Second: {Type: AWS::SQS::Queue, Properties: {<<: *queue, QueueName: second}}
  Third: {Type: AWS::SQS::Queue, Properties: {<<: *queue}}";
        assert_eq!(Template::parse(text, &TemplateOptions::default()).unwrap().queues, ["first", "second", "first"]);
    }

    #[test]
    fn a_parameter_without_default_must_be_given() {
        let text = "{Parameters: {Region: {Type: String}}, Resources: {}}";
        let error = Template::parse(text, &TemplateOptions::default()).unwrap_err().to_string();
        assert!(error.contains("Region"), "{error}");
    }

    #[test]
    fn globals_are_merged_as_sam_does() {
        let mut base =
            serde_json::json!({"Environment": {"Variables": {"A": 1, "B": 2}}, "Layers": ["x"], "Timeout": 3});
        merge(
            &mut base,
            &serde_json::json!({"Environment": {"Variables": {"B": 3}}, "Layers": ["y"], "Timeout": {"Ref": "T"}}),
        );
        assert_eq!(
            base,
            serde_json::json!({"Environment": {"Variables": {"A": 1, "B": 3}}, "Layers": ["x", "y"], "Timeout": {"Ref": "T"}})
        );
    }
}
