//! Reads `template.yaml`, which defines the functions, routes, tables, streams, rules and schedules.
//!
//! Only what the local stack runs is read, and of that only the properties that the project's template uses. Anything else
//! that runs code, routes a request or delivers an event is an error that names it: nothing of that is ignored silently.

mod error;
mod function;
mod globals;
mod http_api;
mod intrinsics;
mod parameters;
mod pattern;
mod policies;
mod resource_policies;
mod sources;
mod state_machine;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use error::TemplateError;
pub use function::{AsyncPolicy, Function, Route};
pub use http_api::{Cors, HttpApi, JwtConfiguration};
pub use intrinsics::{ACCOUNT, REGION};
pub use parameters::TemplateOptions;
pub use pattern::Pattern;
pub use policies::Policies;
pub use sources::{RetryPolicy, Rule, Schedule, StartingPosition, StreamMapping};
pub use state_machine::StateMachine;
pub use table::Table;

use crate::iam::Statement;
use intrinsics::Scope;
use parameters::Parameter;

/// The path of the project's template.
pub fn project_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("template.yaml")
}

/// A template with all references resolved.
#[derive(Clone, Debug)]
pub struct Template {
    /// Parameters with the values that were used.
    pub parameters: BTreeMap<String, String>,
    /// Functions, in the order of the file: that of an order's life.
    pub functions: Vec<Function>,
    /// Tables, sorted by logical id.
    pub tables: Vec<Table>,
    /// The HTTP API that the functions' routes belong to.
    pub api: HttpApi,
    /// Names of the event buses, without the default bus.
    pub buses: Vec<String>,
    /// Names of the queues.
    pub queues: Vec<String>,
    /// Rules of the event buses, whose targets are functions and queues.
    pub rules: Vec<Rule>,
    /// State machines, which the command `rebuild` does the work of.
    pub state_machines: Vec<StateMachine>,
    /// The policies of queues, buses and buckets, by the ARNs of these. A table has its own.
    pub resource_policies: BTreeMap<String, Vec<Statement>>,
    /// The ARNs of all resources, and what `!GetAtt` they are (`Orders.Arn`).
    pub arns: BTreeMap<String, String>,
}

/// The sections of the file that are read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
    #[serde(default)]
    conditions: BTreeMap<String, Value>,
    #[serde(default)]
    globals: Globals,
    #[serde(default)]
    resources: BTreeMap<String, Resource>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Globals {
    function: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    #[serde(rename = "Type")]
    kind: String,
    condition: Option<String>,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    properties: Map<String, Value>,
}

impl Template {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or has something that the local stack does not support.
    pub fn load(path: &Path, options: &TemplateOptions) -> Result<Self, TemplateError> {
        let text = std::fs::read_to_string(path).map_err(|source| TemplateError::Read { path: path.into(), source })?;
        Self::parse(&text, options)
    }

    /// Reads the text of a template.
    ///
    /// # Errors
    /// When it has something that the local stack does not support.
    pub fn parse(text: &str, options: &TemplateOptions) -> Result<Self, TemplateError> {
        let mut document: yaml_serde::Value = yaml_serde::from_str(text)?;
        document.apply_merge()?;
        let order = logical_ids(&document);
        let document = serde_json::to_value(document).map_err(TemplateError::invalid)?;
        let document: Document = serde_json::from_value(document).map_err(TemplateError::invalid)?;
        let parameters = parameters::values(&document.parameters, &options.parameters)?;
        let mut scope = Scope::new(parameters, document.conditions, &options.prefix);
        let (mut resources, mut present) = (document.resources, Vec::new());
        for (id, resource) in &resources {
            let conditions = resource.condition.iter();
            if conditions.map(|name| scope.holds(name)).collect::<Result<Vec<_>, _>>()?.contains(&false) {
                continue;
            }
            // The name of a rule has that of its bus.
            if resource.kind != "AWS::Events::Rule" {
                scope.name(id, resource).map_err(|error| error.within(id))?;
            }
            present.push(id);
        }
        for id in present {
            let resource = &resources[id];
            let named = if scope.has(id) { Ok(()) } else { scope.name(id, resource) };
            named.and_then(|()| scope.name_implied(id, resource)).map_err(|error| error.within(id))?;
        }
        resources.retain(|id, _| scope.has(id));

        let mut template = Self {
            parameters: scope.parameters.iter().map(|(name, value)| (name.clone(), plain_text(value))).collect(),
            functions: Vec::new(),
            tables: Vec::new(),
            api: HttpApi::default(),
            buses: Vec::new(),
            queues: Vec::new(),
            rules: Vec::new(),
            state_machines: Vec::new(),
            resource_policies: BTreeMap::new(),
            arns: scope.arns(),
        };
        let (mut functions, mut roles) = (Vec::new(), BTreeMap::new());
        for (id, resource) in &resources {
            let result = match resource.kind.as_str() {
                "AWS::Serverless::Function" => {
                    functions.push((id, resource));
                    Ok(())
                }
                "AWS::DynamoDB::Table" => {
                    Table::read(id, &resource.properties, &scope).map(|t| template.tables.push(t))
                }
                "AWS::Serverless::HttpApi" => template.api.read(&resource.properties, &scope),
                "AWS::Events::EventBus" => scope.name_of(id).map(|name| template.buses.push(name)),
                "AWS::SQS::Queue" => scope.name_of(id).map(|name| template.queues.push(name)),
                "AWS::Events::Rule" if Rule::is_of_aws_services(&resource.properties) => Ok(()),
                "AWS::Events::Rule" => {
                    Rule::of_resource(id, &resource.properties, &scope).map(|rules| template.rules.extend(rules))
                }
                "AWS::IAM::Role" => Policies::of_role(&resource.properties, &scope).and_then(|policies| {
                    roles.insert(scope.attribute(id, "Arn")?, policies);
                    Ok(())
                }),
                "AWS::Serverless::StateMachine" => {
                    StateMachine::read(id, &resource.properties, &scope).map(|one| template.state_machines.push(one))
                }
                "AWS::SQS::QueuePolicy" | "AWS::S3::BucketPolicy" | "AWS::Events::EventBusPolicy" => {
                    resource_policies::read(&resource.properties, &scope, &mut template.resource_policies)
                }
                other if other.ends_with("Policy") || runs_code(other) => {
                    Err(TemplateError::Unsupported(format!("resources of type {other}")))
                }
                _ => Ok(()),
            };
            result.map_err(|error| error.within(id))?;
        }
        for (id, resource) in functions {
            let properties = globals::merged(&document.globals.function, &resource.properties);
            let function = Function::read(id, &resource.metadata, &properties, &scope, &roles);
            let (function, rules) = function.map_err(|error| error.within(id))?;
            template.functions.push(function);
            template.rules.extend(rules);
        }
        template.functions.sort_by_key(|function| order.iter().position(|id| *id == function.logical_id));
        template.check()?;
        resource_policies::check_resources(&template)?;
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

    /// Whether the buses, queues, targets and tables that are referred to by name exist.
    fn check(&self) -> Result<(), TemplateError> {
        let missing = |what: &str, name: &str, user: &str| {
            Err(TemplateError::Invalid(format!("{what} {name} is not in this template")).within(user))
        };
        let is_queue =
            |arn: &str| arn.starts_with("arn:aws:sqs:") && self.queues.iter().any(|name| arn_name(arn) == name);
        for rule in &self.rules {
            if !self.buses.contains(&rule.bus) {
                return missing("the event bus", &rule.bus, &rule.name);
            }
            if !is_queue(&rule.dead_letter) {
                return missing("the queue", &rule.dead_letter, &rule.name);
            }
            if !is_queue(&rule.target) && !self.functions.iter().any(|function| function.arn() == rule.target) {
                return missing("the target", &rule.target, &rule.name);
            }
        }
        for function in &self.functions {
            if let Some(queue) = function.asynchronous.on_failure.iter().find(|queue| !is_queue(queue)) {
                return missing("the queue", queue, &function.logical_id);
            }
            for mapping in &function.streams {
                if !self.tables.iter().any(|table| table.name == mapping.table && table.stream.is_some()) {
                    return missing("the stream of the table", &mapping.table, &function.logical_id);
                }
            }
        }
        Ok(())
    }
}

/// The name at the end of an ARN.
pub(crate) fn arn_name(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

/// Types that run code or route to it: ignoring one would leave a part of the service out.
fn runs_code(kind: &str) -> bool {
    ["AWS::Serverless::", "AWS::ApiGateway", "AWS::Pipes::", "AWS::Scheduler::"]
        .iter()
        .any(|start| kind.starts_with(start))
        || ["AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping", "AWS::DynamoDB::GlobalTable"].contains(&kind)
}

/// The resources in the order of the file, which the conversion to JSON loses.
fn logical_ids(document: &yaml_serde::Value) -> Vec<String> {
    let resources = document.get("Resources").and_then(yaml_serde::Value::as_mapping);
    let ids = resources.into_iter().flat_map(|resources| resources.keys());
    ids.filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(plain_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The properties of these names, resolved and deserialized.
fn properties<T: DeserializeOwned>(
    all: &Map<String, Value>,
    names: &[&str],
    scope: &Scope,
) -> Result<T, TemplateError> {
    let read = all.iter().filter(|(name, _)| names.contains(&name.as_str()));
    let read = read.map(|(name, value)| (name.clone(), value.clone())).collect();
    let resolved = scope.resolve(&Value::Object(read))?.unwrap_or_default();
    serde_json::from_value(resolved).map_err(TemplateError::invalid)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The template of the tests.
    pub(crate) const TEXT: &str = include_str!("../../tests/stack/template.yaml");

    pub(crate) fn template() -> Template {
        Template::parse(TEXT, &TemplateOptions::default()).unwrap()
    }

    /// The error of the test template with this resource added.
    pub(crate) fn error_with(resource: &str) -> String {
        let text = TEXT.replace("Resources:\n", &format!("Resources:\n  Odd: {resource}\n"));
        Template::parse(&text, &TemplateOptions::default()).unwrap_err().to_string()
    }

    #[test]
    fn a_resource_whose_condition_is_false_does_not_exist_and_names_have_the_prefix() {
        let text = "
Parameters: {Archive: {Type: String, Default: 'no'}}
Conditions: {Keep: !Equals [!Ref Archive, 'yes']}
Resources:
  Old: {Type: AWS::DynamoDB::Table, Condition: Keep, Properties: {KeySchema: [{AttributeName: a, KeyType: HASH}], AttributeDefinitions: [{AttributeName: a, AttributeType: S}]}}";
        assert_eq!(Template::parse(text, &TemplateOptions::default()).unwrap().tables.len(), 0);
        let parameters = [("Archive", "yes"), ("Other", "x")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = TemplateOptions { parameters: parameters.into(), prefix: "p-".into() };
        assert_eq!(Template::parse(text, &options).unwrap().table("Old").unwrap().name, "p-Old");
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let text = "
Parameters: {Level: {Type: String, Default: INFO}}
Resources:
  First: &first
    Type: AWS::Serverless::Function
    Metadata: &build {BuildMethod: rust-cargolambda, BuildProperties: {Binary: first}}
    Properties: &properties
      Timeout: 5
      MemorySize: 128
      Environment: {Variables: &variables {LEVEL: !Ref Level, SIDE: left}}
  Second:
    <<: *first
    Metadata: {<<: *build, BuildProperties: {Binary: second}}
    Properties: {<<: *properties, Timeout: 9, Environment: {Variables: {<<: *variables, SIDE: right}}}
  Third: *first";
        let template = Template::parse(text, &TemplateOptions::default()).unwrap();
        let of = |id: &str| {
            let function = template.function(id).unwrap();
            let variable = |name: &str| function.environment[name].clone();
            (function.binary.clone(), function.timeout.as_secs(), variable("LEVEL"), variable("SIDE"))
        };
        assert_eq!(of("Second"), ("second".into(), 9, "INFO".into(), "right".into()));
        assert_eq!(of("Third"), ("first".into(), 5, "INFO".into(), "left".into()));
    }

    #[test]
    fn what_runs_code_and_is_not_supported_is_an_error_that_names_it() {
        for (resource, named) in [
            ("{Type: AWS::Lambda::EventSourceMapping}", "AWS::Lambda::EventSourceMapping"),
            ("{Type: AWS::Scheduler::Schedule}", "AWS::Scheduler::Schedule"),
            ("{Type: AWS::Events::Rule, Properties: {ScheduleExpression: rate(1 hour)}}", "ScheduleExpression"),
            (
                "{Type: AWS::Events::Rule, Properties: {EventPattern: {source: [aws.s3, x]}, Targets: []}}",
                "EventBusName",
            ),
        ] {
            let error = error_with(resource);
            assert!(error.contains("Odd") && error.contains(named), "{error}");
        }
        let globals = Template::parse("Globals: {HttpApi: {}}", &TemplateOptions::default()).unwrap_err();
        assert!(globals.to_string().contains("HttpApi"), "{globals}");
    }

    #[test]
    fn a_rule_for_events_of_aws_services_matches_nothing_here() {
        let text = "
Resources:
  Calls: {Type: AWS::Events::Rule, Properties: {EventPattern: {source: [aws.dynamodb], detail: {$or: []}}, Targets: [{Arn: x}]}}";
        assert!(Template::parse(text, &TemplateOptions::default()).unwrap().rules.is_empty());
    }
}
