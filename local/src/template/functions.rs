//! Functions of the template.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::asynchronous::{AsyncPolicy, DeadLetterQueue, EventInvokeConfig};
use super::policies::{self, Statement};
use super::{ACCOUNT, HttpApi, REGION, Rule, Schedule, StreamMapping, Table, TemplateError, loose};

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
    /// How long one invocation may take.
    pub timeout: Duration,
    /// Memory, in MB.
    pub memory_mb: u32,
    /// HTTP routes that call it.
    pub routes: Vec<Route>,
    /// Streams that it reads.
    pub streams: Vec<StreamMapping>,
    /// Events of a bus that call it.
    pub rules: Vec<Rule>,
    /// Times that call it.
    pub schedules: Vec<Schedule>,
    /// What becomes of calls that nobody waits for and that fail.
    pub asynchronous: AsyncPolicy,
    /// What it may do on AWS; on this machine nobody keeps it from doing more.
    pub policies: Vec<Statement>,
}

/// A route of the HTTP API.
#[derive(Clone, Debug)]
pub struct Route {
    /// `GET`, `POST`, … or `ANY`.
    pub method: String,
    /// `/orders/{id}`.
    pub path: String,
    /// Name of its authorizer; `None` lets anybody in.
    pub authorizer: Option<String>,
    /// Any one of these scopes suffices; none are needed when empty.
    pub scopes: Vec<String>,
}

/// The properties that [`Function::read`] reads.
pub(super) const PROPERTIES: &[&str] = &[
    "Description",
    "Environment",
    "Timeout",
    "MemorySize",
    "Runtime",
    "Events",
    "EventInvokeConfig",
    "DeadLetterQueue",
    "Policies",
    "Role",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Properties {
    description: Option<String>,
    #[serde(default)]
    environment: Environment,
    #[serde(default = "three", deserialize_with = "loose::value")]
    timeout: u64,
    #[serde(default = "smallest", deserialize_with = "loose::value")]
    memory_size: u32,
    runtime: Option<String>,
    #[serde(default)]
    events: Map<String, Value>,
    #[serde(default)]
    event_invoke_config: EventInvokeConfig,
    dead_letter_queue: Option<DeadLetterQueue>,
    policies: Option<Value>,
    role: Option<String>,
}

fn three() -> u64 {
    3
}

fn smallest() -> u32 {
    128
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Environment {
    variables: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct HttpProperties {
    #[serde(rename = "ApiId")]
    _api: Option<Value>,
    method: String,
    path: String,
    #[serde(default)]
    auth: RouteAuth,
    payload_format_version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct RouteAuth {
    authorizer: Option<String>,
    authorization_scopes: Option<Vec<String>>,
}

impl Function {
    pub(super) fn read(
        logical_id: &str,
        resource: &Value,
        properties: Value,
        api: &HttpApi,
        tables: &[Table],
        roles: &BTreeMap<String, Vec<Statement>>,
    ) -> Result<Self, TemplateError> {
        let properties: Properties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
        let build = resource.pointer("/Metadata/BuildMethod").and_then(Value::as_str);
        let binary = resource.pointer("/Metadata/BuildProperties/Binary").and_then(Value::as_str);
        let (Some("rust-cargolambda"), Some(binary)) = (build, binary) else {
            return Err(TemplateError::Invalid(
                "the local stack runs Rust binaries: Metadata needs BuildMethod rust-cargolambda and BuildProperties.Binary"
                    .into(),
            ));
        };
        if let Some(runtime) = properties.runtime.filter(|runtime| !runtime.starts_with("provided.")) {
            return Err(TemplateError::UnknownIntrinsic(format!("the runtime {runtime}")));
        }
        let policies = match properties.role {
            Some(role) => roles
                .get(&role)
                .ok_or_else(|| TemplateError::UnknownIntrinsic(format!("the role {role}: it is not in this template")))?
                .clone(),
            None => properties.policies.map(policies::of_function).transpose()?.unwrap_or_default(),
        };
        let mut function = Self {
            logical_id: logical_id.to_owned(),
            binary: binary.to_owned(),
            description: properties.description,
            environment: properties
                .environment
                .variables
                .into_iter()
                .map(|(name, value)| match value {
                    Value::String(text) => Ok((name, text)),
                    Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
                    _ => Err(TemplateError::Invalid(format!("the environment variable {name} is not a text"))),
                })
                .collect::<Result<_, _>>()?,
            timeout: Duration::from_secs(properties.timeout),
            memory_mb: properties.memory_size,
            routes: Vec::new(),
            streams: Vec::new(),
            rules: Vec::new(),
            schedules: Vec::new(),
            asynchronous: AsyncPolicy::read(properties.event_invoke_config, properties.dead_letter_queue)?,
            policies,
        };
        for (name, event) in properties.events {
            function.add_event(&name, event, api, tables).map_err(|error| error.within(format!("Events.{name}")))?;
        }
        Ok(function)
    }

    /// Whether its policies allow it the action (`dynamodb:Query`) on the resource of this ARN.
    pub fn may(&self, action: &str, resource: &str) -> bool {
        self.policies.iter().any(|statement| statement.allows(action, resource))
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", self.logical_id)
    }

    fn add_event(
        &mut self,
        name: &str,
        mut event: Value,
        api: &HttpApi,
        tables: &[Table],
    ) -> Result<(), TemplateError> {
        let properties = event.get_mut("Properties").map(Value::take).unwrap_or_default();
        match event.get("Type").and_then(Value::as_str).unwrap_or_default() {
            "HttpApi" => self.routes.push(Route::read(properties, api)?),
            "DynamoDB" => self.streams.extend(StreamMapping::read(name, properties, tables)?),
            "EventBridgeRule" => self.rules.extend(Rule::read(name, properties)?),
            "Schedule" | "ScheduleV2" => self.schedules.extend(Schedule::read(name, properties)?),
            other => return Err(TemplateError::UnknownIntrinsic(format!("events of type {other:?}"))),
        }
        Ok(())
    }
}

impl Route {
    fn read(properties: Value, api: &HttpApi) -> Result<Self, TemplateError> {
        let properties: HttpProperties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
        if let Some(version) = properties.payload_format_version.filter(|version| version != "2.0") {
            return Err(TemplateError::UnknownIntrinsic(format!("the payload format version {version}")));
        }
        let authorizer = match properties.auth.authorizer.as_deref() {
            Some("NONE") => None,
            Some(name) => Some(name.to_owned()),
            None => api.default_authorizer.clone(),
        };
        let defaults = authorizer.as_deref().map(|name| api.authorizer(name)).transpose()?;
        Ok(Self {
            method: properties.method.to_uppercase(),
            path: properties.path,
            scopes: properties
                .auth
                .authorization_scopes
                .or_else(|| defaults.map(|authorizer| authorizer.authorization_scopes.clone()))
                .unwrap_or_default(),
            authorizer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Template, TemplateOptions, fixture};
    use super::*;

    #[test]
    fn a_function_has_its_globals_its_environment_and_its_routes() {
        let template = fixture::template();
        let create = template.function("CreateThing").unwrap();
        assert_eq!(create.binary, "obedient");
        assert_eq!((create.timeout, create.memory_mb), (Duration::from_secs(1), 256));
        assert_eq!(template.function("GetThing").unwrap().timeout, Duration::from_secs(10));
        assert_eq!(create.environment["EVENTS_TABLE"], "Events");
        assert_eq!(create.environment["LIMIT"], "12");
        let route = &create.routes[0];
        assert_eq!((route.method.as_str(), route.path.as_str()), ("POST", "/things"));
        assert_eq!(route.authorizer.as_deref(), Some("Jwt"));
        assert_eq!(route.scopes, ["things:write", "things:admin"]);
    }

    #[test]
    fn a_route_may_do_without_the_default_authorizer() {
        let template = fixture::template();
        let health = &template.function("Health").unwrap().routes[0];
        assert_eq!(health.authorizer, None);
        assert!(health.scopes.is_empty());
    }

    fn error_of(function: &str) -> String {
        let text = format!("Resources: {{Odd: {{Type: AWS::Serverless::Function, {function}}}}}");
        Template::parse(&text, &TemplateOptions::default()).unwrap_err().to_string()
    }

    #[test]
    fn a_function_that_cannot_be_run_is_named_with_the_reason() {
        let metadata = "Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: odd}}";
        let error = error_of("Metadata: {BuildMethod: makefile}");
        assert!(error.contains("Odd") && error.contains("rust-cargolambda"), "{error}");
        let error = error_of(&format!("{metadata}, Properties: {{Events: {{Queue: {{Type: SQS}}}}}}"));
        assert!(error.contains("Odd") && error.contains("Events.Queue") && error.contains("SQS"), "{error}");
        let error = error_of(&format!("{metadata}, Properties: {{Runtime: nodejs22.x}}"));
        assert!(error.contains("nodejs22.x"), "{error}");
        let error = error_of(&format!(
            "{metadata}, Properties: {{Events: {{Http: {{Type: HttpApi, Properties: {{Method: get, Path: /, RouteSettings: {{}}}}}}}}}}"
        ));
        assert!(error.contains("RouteSettings"), "{error}");
    }
}
