//! Functions of the template.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::intrinsics::Scope;
use super::policies::Policies;
use super::sources::{Destination, HttpRoute, Kind, Rule, Schedule, Source, StreamMapping};
use super::{ACCOUNT, REGION, TemplateError, properties};

/// A Lambda function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name in the template.
    pub logical_id: String,
    /// The binary that is its code (`create-order`).
    pub binary: String,
    /// What it does, in words.
    pub description: Option<String>,
    /// Its environment variables.
    pub environment: BTreeMap<String, String>,
    /// The timeout of one invocation.
    pub timeout: Duration,
    /// Memory, in MB.
    pub memory_mb: u32,
    /// HTTP routes that call it.
    pub routes: Vec<Route>,
    /// Streams that it reads.
    pub streams: Vec<StreamMapping>,
    /// Schedules that call it.
    pub schedules: Vec<Schedule>,
    /// What happens to asynchronous invocations that fail.
    pub asynchronous: AsyncPolicy,
    /// ARN of its role.
    pub role: String,
    /// What its role allows.
    pub policies: Policies,
}

/// A route of the HTTP API.
#[derive(Clone, Debug)]
pub struct Route {
    /// `GET`, `POST`, …
    pub method: String,
    /// `/orders/{id}`.
    pub path: String,
    /// A token must have one of these scopes; none when empty.
    pub scopes: Vec<String>,
}

/// How a failed asynchronous invocation is retried, and what happens to its event in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncPolicy {
    /// How often it is retried after the function failed.
    pub max_retries: u32,
    /// How long the event is retained.
    pub max_age: Duration,
    /// ARN of the queue for a record of what failed: the event and the reason.
    pub on_failure: Option<String>,
}

/// The properties that are read.
const PROPERTIES: &[&str] = &[
    "Description",
    "Environment",
    "Timeout",
    "MemorySize",
    "Events",
    "EventInvokeConfig",
    "DeadLetterQueue",
    "Policies",
    "PermissionsBoundary",
    "Role",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Properties {
    description: Option<String>,
    #[serde(default)]
    environment: Environment,
    timeout: u64,
    memory_size: u32,
    #[serde(default)]
    events: BTreeMap<String, Value>,
    #[serde(default)]
    event_invoke_config: EventInvokeConfig,
    #[serde(default)]
    policies: Vec<Value>,
    role: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Environment {
    variables: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct EventInvokeConfig {
    maximum_retry_attempts: Option<u32>,
    maximum_event_age_in_seconds: Option<u64>,
    destination_config: Option<Destination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Metadata {
    #[serde(rename = "BuildMethod")]
    _method: BuildMethod,
    build_properties: BuildProperties,
}

#[derive(Deserialize)]
enum BuildMethod {
    #[serde(rename = "rust-cargolambda")]
    CargoLambda,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BuildProperties {
    binary: String,
}

impl Function {
    /// The function, and the rules whose target it is.
    pub(super) fn read(
        logical_id: &str,
        metadata: &Value,
        function: &Map<String, Value>,
        scope: &Scope,
        roles: &BTreeMap<String, Policies>,
    ) -> Result<(Self, Vec<Rule>), TemplateError> {
        let metadata = Metadata::deserialize(metadata).map_err(|error| {
            TemplateError::Invalid(format!(
                "Metadata needs the BuildMethod rust-cargolambda and BuildProperties.Binary: {error}"
            ))
        })?;
        let properties: Properties = properties(function, PROPERTIES, scope)?;
        let (role, policies) = match properties.role.clone() {
            Some(role) => {
                let missing = || TemplateError::Invalid(format!("the role {role} does not exist"));
                let policies = roles.get(&role).ok_or_else(missing)?.clone();
                (role, policies)
            }
            None => (scope.attribute(&format!("{logical_id}Role"), "Arn")?, Policies::of_entries(properties.policies)?),
        };
        let mut function = Self {
            logical_id: logical_id.to_owned(),
            binary: metadata.build_properties.binary,
            description: properties.description,
            environment: properties.environment.variables,
            timeout: Duration::from_secs(properties.timeout),
            memory_mb: properties.memory_size,
            routes: Vec::new(),
            streams: Vec::new(),
            schedules: Vec::new(),
            asynchronous: AsyncPolicy::read(properties.event_invoke_config)?,
            role,
            policies,
        };
        let mut rules = Vec::new();
        for (name, event) in properties.events {
            let within = |error: TemplateError| error.within(format!("Events.{name}"));
            match serde_json::from_value(event).map_err(TemplateError::invalid).map_err(within)? {
                Source::HttpApi(HttpRoute { method, path, auth, .. }) => {
                    let method = method.to_uppercase();
                    function.routes.push(Route { method, path, scopes: auth.authorization_scopes });
                }
                Source::DynamoDB(mapping) => function.streams.push(mapping.named(&name).map_err(within)?),
                Source::EventBridgeRule(rule) => rules.push(rule.into_rule(&name, &function.arn())),
                Source::Schedule(schedule) => {
                    function.schedules.extend(schedule.read(&format!("{logical_id}{name}")).map_err(within)?);
                }
            }
        }
        if properties.role.is_none() {
            function.add_implied_policies()?;
        }
        Ok((function, rules))
    }

    /// Whether its policies allow it the action (`dynamodb:Query`) on the resource of this ARN.
    pub fn may(&self, action: &str, resource: &str) -> bool {
        self.policies.statements.iter().any(|statement| statement.covers(action, resource))
    }

    /// Adds what SAM allows the role that it creates: reading the streams, and sending to destinations.
    fn add_implied_policies(&mut self) -> Result<(), TemplateError> {
        for mapping in &self.streams {
            self.policies.add_managed("AWSLambdaDynamoDBExecutionRole")?;
            self.policies.imply(&json!("s3:PutObject"), &format!("{}/*", mapping.on_failure))?;
            self.policies.imply(&json!("s3:ListBucket"), &mapping.on_failure)?;
        }
        match &self.asynchronous.on_failure {
            Some(queue) => self.policies.imply(&json!("sqs:SendMessage"), queue),
            None => Ok(()),
        }
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", self.logical_id)
    }
}

impl AsyncPolicy {
    /// Where nothing is said, Lambda's defaults.
    fn read(config: EventInvokeConfig) -> Result<Self, TemplateError> {
        Ok(Self {
            max_retries: config.maximum_retry_attempts.unwrap_or(2),
            max_age: Duration::from_secs(config.maximum_event_age_in_seconds.unwrap_or(6 * 3600)),
            on_failure: config.destination_config.map(|destination| destination.of(Kind::Sqs)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::tests::{error_with, template};

    #[test]
    fn a_function_has_its_globals_its_environment_and_its_routes() {
        let template = template();
        let create = template.function("CreateThing").unwrap();
        assert_eq!(create.binary, "obedient");
        assert_eq!((create.timeout, create.memory_mb), (Duration::from_secs(1), 256));
        assert_eq!(template.function("GetThing").unwrap().timeout, Duration::from_secs(10));
        assert_eq!(
            (create.environment["EVENTS_TABLE"].as_str(), create.environment["LIMIT"].as_str()),
            ("Events", "12")
        );
        let route = &create.routes[0];
        assert_eq!((route.method.as_str(), route.path.as_str()), ("POST", "/things"));
        assert_eq!(route.scopes, ["things:write", "things:admin"]);
        let queue = "arn:aws:sqs:us-east-1:000000000000:FailedThings".to_owned();
        let policy = AsyncPolicy { max_retries: 1, max_age: Duration::from_secs(21_600), on_failure: Some(queue) };
        assert_eq!(template.function("OnThing").unwrap().asynchronous, policy);
    }

    #[test]
    fn a_function_that_cannot_be_run_is_named_with_the_reason() {
        let with = |metadata: &str, properties: &str| {
            error_with(&format!("{{Type: AWS::Serverless::Function, Metadata: {metadata}, Properties: {properties}}}"))
        };
        let error = with("{BuildMethod: makefile}", "{}");
        assert!(error.contains("Odd") && error.contains("rust-cargolambda"), "{error}");
        let metadata = "{BuildMethod: rust-cargolambda, BuildProperties: {Binary: odd}}";
        let http = |more: &str| {
            format!("{{Events: {{E: {{Type: HttpApi, Properties: {{ApiId: a, Method: get, Path: /, {more}}}}}}}}}")
        };
        for (properties, named) in [
            ("{Events: {E: {Type: SQS, Properties: {}}}}", "SQS"),
            (&http("RouteSettings: {}"), "RouteSettings"),
            (&http("Auth: {Authorizer: NONE}"), "Authorizer"),
            ("{DeadLetterQueue: {}}", "DeadLetterQueue"),
            ("{Policies: [{DynamoDBReadPolicy: {}}]}", "DynamoDBReadPolicy"),
            ("{EventInvokeConfig: {DestinationConfig: {OnFailure: {Type: SNS, Destination: t}}}}", "SNS"),
            ("{EventInvokeConfig: {DestinationConfig: {OnFailure: {Type: SQS, Destination: other}}}}", "other"),
        ] {
            let error = with(metadata, properties);
            assert!(error.contains("Odd") && error.contains(named), "{error}");
        }
    }
}
