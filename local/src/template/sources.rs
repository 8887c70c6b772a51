//! What calls a function: routes, streams, rules of an event bus, schedules.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::intrinsics::{ACCOUNT, REGION, Scope};
use super::pattern::Pattern;
use super::{TemplateError, properties};

/// What `Events` of a function may have.
#[derive(Deserialize)]
#[serde(tag = "Type", content = "Properties", deny_unknown_fields)]
pub(super) enum Source {
    HttpApi(HttpRoute),
    DynamoDB(StreamMapping),
    EventBridgeRule(RuleEvent),
    Schedule(ScheduleEvent),
}

/// A route of the HTTP API.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct HttpRoute {
    #[serde(rename = "ApiId")]
    _api: IgnoredAny,
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub auth: RouteAuth,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct RouteAuth {
    pub authorization_scopes: Vec<String>,
}

/// A function's mapping of a table's stream. A batching window only delays records: the local stack has none.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct StreamMapping {
    /// Name of the event in the template.
    #[serde(skip)]
    pub name: String,
    /// Name of the table.
    #[serde(skip)]
    pub table: String,
    /// ARN of the stream, as the policies have it.
    pub stream: String,
    /// Where a reader without a checkpoint starts.
    pub starting_position: StartingPosition,
    /// Most records in a batch.
    pub batch_size: usize,
    /// Whether a failed batch is split in two.
    #[serde(rename = "BisectBatchOnFunctionError", default)]
    pub bisect: bool,
    /// How often a batch is retried; `None` until it is too old.
    #[serde(rename = "MaximumRetryAttempts", default, deserialize_with = "bound")]
    pub max_retries: Option<u32>,
    /// Seconds after which a record is discarded; `None` never.
    #[serde(rename = "MaximumRecordAgeInSeconds", default, deserialize_with = "bound")]
    pub max_age: Option<u32>,
    /// Only records that match one of these are delivered; all when empty.
    #[serde(rename = "FilterCriteria", default, deserialize_with = "patterns")]
    pub filters: Vec<Pattern>,
    #[serde(rename = "DestinationConfig")]
    destination: Destination,
    /// ARN of the bucket for records whose retries are exhausted.
    #[serde(skip)]
    pub on_failure: String,
    #[serde(rename = "FunctionResponseTypes")]
    _response_types: [ResponseType; 1],
    #[serde(rename = "MaximumBatchingWindowInSeconds")]
    _window: Option<u32>,
    #[serde(rename = "MetricsConfig")]
    _metrics: Option<Value>,
}

/// Where to start in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StartingPosition {
    /// At the oldest record.
    TrimHorizon,
    /// After the newest record.
    Latest,
}

/// A rule of an event bus, with one target.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name in the template.
    pub name: String,
    /// Name of the bus.
    pub bus: String,
    /// The events that it matches.
    pub pattern: Pattern,
    /// ARN of the function or queue that gets them.
    pub target: String,
    /// What happens when the target cannot be reached.
    pub retry: RetryPolicy,
    /// ARN of the queue for events that could not be delivered.
    pub dead_letter: String,
}

/// How often and how long a delivery is retried.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// How often.
    #[serde(rename = "MaximumRetryAttempts")]
    pub max_retries: u32,
    /// How long, in seconds.
    #[serde(rename = "MaximumEventAgeInSeconds")]
    pub max_age: u32,
}

/// A function's invocations by time.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The name that SAM gives its rule: the function's logical id and the event's name.
    pub name: String,
    /// The time between two invocations.
    pub interval: Duration,
}

/// An on-failure destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Destination {
    on_failure: OnFailure,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct OnFailure {
    #[serde(rename = "Type")]
    kind: Kind,
    destination: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Kind {
    S3,
    Sqs,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum ResponseType {
    ReportBatchItemFailures,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct RuleEvent {
    event_bus_name: String,
    pattern: Pattern,
    retry_policy: RetryPolicy,
    dead_letter_config: DeadLetter,
    #[serde(rename = "RuleName")]
    _name: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeadLetter {
    arn: String,
}

/// `AWS::Events::Rule`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleResource {
    event_bus_name: String,
    event_pattern: Pattern,
    targets: Vec<RuleTarget>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleTarget {
    #[serde(rename = "Id")]
    _id: IgnoredAny,
    arn: String,
    retry_policy: RetryPolicy,
    dead_letter_config: DeadLetter,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ScheduleEvent {
    schedule: String,
    state: Option<State>,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    Enabled,
    Disabled,
}

/// A count, of which −1 means that there is no bound.
fn bound<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u32>, D::Error> {
    Ok(u32::try_from(i64::deserialize(input)?).ok())
}

fn patterns<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Pattern>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Criteria {
        filters: Vec<Filter>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Filter {
        pattern: String,
    }
    let pattern = |filter: &Filter| serde_json::from_str(&filter.pattern).map_err(serde::de::Error::custom);
    Criteria::deserialize(input)?.filters.iter().map(pattern).collect()
}

impl Destination {
    pub(super) fn of(self, kind: Kind) -> Result<String, TemplateError> {
        let OnFailure { kind: found, destination } = self.on_failure;
        let unsupported = || TemplateError::Unsupported(format!("the on-failure destination {destination} here"));
        if found == kind { Ok(destination) } else { Err(unsupported()) }
    }
}

impl StreamMapping {
    pub(super) fn named(self, name: &str) -> Result<Self, TemplateError> {
        let table = self.stream.split('/').nth(1).unwrap_or_default().to_owned();
        let on_failure = self.destination.clone().of(Kind::S3)?;
        Ok(Self { name: name.to_owned(), table, on_failure, ..self })
    }
}

impl RuleEvent {
    pub(super) fn into_rule(self, name: &str, function_arn: &str) -> Rule {
        Rule {
            name: name.to_owned(),
            bus: self.event_bus_name,
            pattern: self.pattern,
            target: function_arn.to_owned(),
            retry: self.retry_policy,
            dead_letter: self.dead_letter_config.arn,
        }
    }
}

impl Rule {
    /// Whether the resource is a rule for events of AWS services, on the account's default bus. This machine has no such
    /// events.
    pub(super) fn is_of_aws_services(rule: &Map<String, Value>) -> bool {
        let sources = rule.get("EventPattern").and_then(|pattern| pattern["source"].as_array());
        let of_aws = |source: &Value| source.as_str().is_some_and(|source| source.starts_with("aws."));
        !rule.contains_key("EventBusName") && sources.is_some_and(|all| !all.is_empty() && all.iter().all(of_aws))
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{}/{}", self.bus, self.name)
    }

    /// The rules that a resource of its own stands for, one per target.
    pub(super) fn of_resource(
        id: &str,
        rule: &Map<String, Value>,
        scope: &Scope,
    ) -> Result<impl Iterator<Item = Self>, TemplateError> {
        let names = ["EventBusName", "EventPattern", "Targets", "ScheduleExpression", "State", "RoleArn"];
        let RuleResource { event_bus_name: bus, event_pattern: pattern, targets } = properties(rule, &names, scope)?;
        let name = id.to_owned();
        Ok(targets.into_iter().map(move |target| Self {
            name: name.clone(),
            bus: bus.clone(),
            pattern: pattern.clone(),
            target: target.arn,
            retry: target.retry_policy,
            dead_letter: target.dead_letter_config.arn,
        }))
    }
}

impl ScheduleEvent {
    /// `None` when it is disabled.
    pub(super) fn read(self, name: &str) -> Result<Option<Schedule>, TemplateError> {
        let interval = interval(&self.schedule).ok_or_else(|| {
            TemplateError::Unsupported(format!("the schedule {:?}, only rate(5 minutes)", self.schedule))
        })?;
        let enabled = self.state != Some(State::Disabled);
        Ok(enabled.then(|| Schedule { name: name.to_owned(), interval }))
    }
}

/// Reads `rate(5 minutes)`.
fn interval(text: &str) -> Option<Duration> {
    let (count, unit) = text.strip_prefix("rate(")?.strip_suffix(')')?.split_once(' ')?;
    let seconds = match unit.trim_end_matches('s') {
        "minute" => 60,
        "hour" => 3600,
        "day" => 24 * 3600,
        _ => return None,
    };
    let count: u32 = count.parse().ok().filter(|count| *count > 0)?;
    Some(Duration::from_secs(seconds) * count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::tests::{error_with, template};

    #[test]
    fn a_stream_mapping_has_its_limits_and_its_destination() {
        let template = template();
        let mapping = &template.function("ProjectThings").unwrap().streams[0];
        assert_eq!((mapping.table.as_str(), mapping.name.as_str(), mapping.batch_size), ("Events", "Stream", 10));
        assert_eq!((mapping.max_retries, mapping.max_age, mapping.bisect), (Some(3), None, true));
        assert_eq!(mapping.on_failure, "arn:aws:s3:::Failed");
        assert!(mapping.filters[0].matches(&json!({"eventName": "INSERT"})));
        assert!(!mapping.filters[0].matches(&json!({"eventName": "REMOVE"})));
    }

    fn error_of(event: &str) -> String {
        let metadata = "{BuildMethod: rust-cargolambda, BuildProperties: {Binary: odd}}";
        let properties = format!("{{Events: {{E: {event}}}}}");
        error_with(&format!("{{Type: AWS::Serverless::Function, Metadata: {metadata}, Properties: {properties}}}"))
    }

    #[test]
    fn a_mapping_with_an_unknown_stream_or_setting_is_an_error_that_names_it() {
        let mapping = |more: &str| {
            let mapping = "StartingPosition: LATEST, BatchSize: 1, FunctionResponseTypes: [ReportBatchItemFailures]";
            error_of(&format!("{{Type: DynamoDB, Properties: {{{mapping}, {more}}}}}"))
        };
        let bucket = "DestinationConfig: {OnFailure: {Type: S3, Destination: !GetAtt Failed.Arn}}";
        let queue = "DestinationConfig: {OnFailure: {Type: SQS, Destination: a-queue}}";
        let events = "Stream: !GetAtt Events.StreamArn";
        assert!(mapping(&format!("{bucket}, Stream: !GetAtt Rows.StreamArn")).contains("the stream of the table Rows"));
        assert!(mapping(&format!("{queue}, {events}")).contains("a-queue"));
        assert!(mapping(&format!("{bucket}, {events}, TumblingWindowInSeconds: 5")).contains("TumblingWindow"));
        assert!(mapping(&format!("{bucket}, {events}, ParallelizationFactor: 2")).contains("ParallelizationFactor"));
        assert!(mapping(events).contains("DestinationConfig"));
    }

    #[test]
    fn a_rule_with_an_unknown_bus_queue_target_or_setting_is_an_error_that_names_it() {
        let retry = "RetryPolicy: {MaximumRetryAttempts: 1, MaximumEventAgeInSeconds: 60}";
        let rule = |bus: &str, target: &str, queue: &str| {
            let target = format!("{{Id: t, Arn: {target}, {retry}, DeadLetterConfig: {{Arn: {queue}}}}}");
            let properties = format!("{{EventBusName: {bus}, EventPattern: {{source: [x]}}, Targets: [{target}]}}");
            error_with(&format!("{{Type: AWS::Events::Rule, Properties: {properties}}}"))
        };
        let known = "!GetAtt FailedThings.Arn";
        assert!(rule("other", known, known).contains("the event bus other"));
        assert!(rule("!Ref Bus", "arn:aws:sns:r:0:topic", known).contains("the target arn:aws:sns:r:0:topic"));
        assert!(rule("!Ref Bus", known, "arn:aws:sqs:r:0:None").contains("the queue arn:aws:sqs:r:0:None"));
        assert!(rule("!Ref Bus", &format!("{known}, InputPath: $.detail"), known).contains("InputPath"));
    }

    #[test]
    fn a_schedule_is_a_rate_and_may_be_disabled() {
        let read = |schedule: &str, state| ScheduleEvent { schedule: schedule.into(), state }.read("S");
        assert_eq!(read("rate(1 minute)", None).unwrap().unwrap().interval, Duration::from_secs(60));
        assert_eq!(read("rate(2 days)", Some(State::Enabled)).unwrap().unwrap().interval.as_secs(), 2 * 24 * 3600);
        assert!(read("rate(5 hours)", Some(State::Disabled)).unwrap().is_none());
        for text in ["", "5 minutes", "rate(0 minutes)", "rate(5 weeks)", "rate(-1 hours)", "cron(0 3 * * ? *)"] {
            assert!(read(text, None).unwrap_err().to_string().contains("rate(5 minutes)"), "{text}");
        }
        assert!(error_of("{Type: ScheduleV2, Properties: {}}").contains("ScheduleV2"));
        assert!(error_of("{Type: Schedule, Properties: {Schedule: rate(1 day), Input: x}}").contains("Input"));
    }
}
