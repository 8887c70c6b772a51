//! What calls a function without a client that waits: streams, rules on a bus, the clock.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::asynchronous::require_queue;
use super::{Table, TemplateError, loose};
use crate::patterns::Pattern;
use crate::schedule_expression::ScheduleExpression;

/// A function's reading of a table's stream.
#[derive(Clone, Debug)]
pub struct StreamMapping {
    /// Name of the event in the template.
    pub name: String,
    /// Logical id of the table.
    pub table: String,
    /// Where a reader that has no progress yet begins.
    pub starting_position: StartingPosition,
    /// Most records in a batch.
    pub batch_size: usize,
    /// How long records are gathered before a batch that is not full is sent.
    pub window: Duration,
    /// Whether a batch that failed is cut in two.
    pub bisect: bool,
    /// How often a batch is tried again; `None` until it is too old.
    pub max_retries: Option<u32>,
    /// Older records are given up; `None` never.
    pub max_age: Option<Duration>,
    /// Batches of different keys that run at once.
    pub parallelization: usize,
    /// Whether the function answers with the records that failed.
    pub reports_failures: bool,
    /// ARN of what keeps the records of a batch that was given up.
    pub on_failure: Option<String>,
    /// Only records that match one of these are sent; all when empty.
    pub filters: Vec<Pattern>,
}

/// Where to begin in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StartingPosition {
    /// At the oldest record.
    TrimHorizon,
    /// After the newest record.
    Latest,
}

/// A rule on an event bus.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Name of the event in the template.
    pub name: String,
    /// The event pattern.
    pub pattern: Pattern,
    /// The bus; `None` is the default bus.
    pub bus: Option<String>,
    /// What is sent in place of the event.
    pub input: Option<Arc<RawValue>>,
    /// What happens when the target cannot be reached.
    pub failure: FailurePolicy,
}

/// A rule whose target is a queue.
#[derive(Clone, Debug)]
pub struct QueueRule {
    /// The rule.
    pub rule: Rule,
    /// ARN of the queue.
    pub queue: String,
}

/// A function's call by the clock.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Name of the event in the template.
    pub name: String,
    /// When.
    pub expression: ScheduleExpression,
    /// What is sent in place of the event of the clock.
    pub input: Option<Arc<RawValue>>,
    /// What happens when the function cannot be called.
    pub failure: FailurePolicy,
}

/// What happens when a target cannot be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailurePolicy {
    /// How often it is tried again.
    pub max_retries: Option<u32>,
    /// For how long.
    pub max_age: Option<Duration>,
    /// ARN of the queue for what failed.
    pub dead_letter: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StreamProperties {
    stream: String,
    starting_position: StartingPosition,
    #[serde(default, deserialize_with = "loose::option")]
    batch_size: Option<usize>,
    #[serde(default, deserialize_with = "loose::option")]
    maximum_batching_window_in_seconds: Option<u64>,
    #[serde(default, deserialize_with = "loose::value")]
    bisect_batch_on_function_error: bool,
    #[serde(default, deserialize_with = "loose::option")]
    maximum_retry_attempts: Option<i64>,
    #[serde(default, deserialize_with = "loose::option")]
    maximum_record_age_in_seconds: Option<i64>,
    #[serde(default, deserialize_with = "loose::option")]
    parallelization_factor: Option<usize>,
    #[serde(default)]
    function_response_types: Vec<String>,
    #[serde(default)]
    destination_config: DestinationConfig,
    #[serde(default)]
    filter_criteria: FilterCriteria,
    #[serde(default, deserialize_with = "loose::option")]
    enabled: Option<bool>,
    #[serde(rename = "MetricsConfig")]
    _metrics: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct DestinationConfig {
    on_failure: Option<Destination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Destination {
    destination: String,
    #[serde(rename = "Type")]
    _kind: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct FilterCriteria {
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    pattern: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleProperties {
    pattern: Value,
    event_bus_name: Option<String>,
    input: Option<String>,
    state: Option<State>,
    #[serde(default)]
    retry_policy: RetryPolicy,
    dead_letter_config: Option<DeadLetter>,
    #[serde(rename = "RuleName")]
    _name: Option<Value>,
    #[serde(rename = "Target")]
    _target: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ScheduleProperties {
    #[serde(alias = "ScheduleExpression")]
    schedule: String,
    input: Option<String>,
    #[serde(default, deserialize_with = "loose::option")]
    enabled: Option<bool>,
    state: Option<State>,
    #[serde(default)]
    retry_policy: RetryPolicy,
    dead_letter_config: Option<DeadLetter>,
    #[serde(rename = "Name")]
    _name: Option<Value>,
    #[serde(rename = "Description")]
    _description: Option<Value>,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum State {
    Enabled,
    Disabled,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub(super) struct RetryPolicy {
    #[serde(deserialize_with = "loose::option")]
    maximum_retry_attempts: Option<u32>,
    #[serde(deserialize_with = "loose::option")]
    maximum_event_age_in_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeadLetter {
    arn: Option<String>,
    #[serde(rename = "Type")]
    _kind: Option<String>,
}

impl StreamMapping {
    /// `None` when it is switched off.
    pub(super) fn read(name: &str, properties: Value, tables: &[Table]) -> Result<Option<Self>, TemplateError> {
        let properties: StreamProperties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
        if properties.enabled == Some(false) {
            return Ok(None);
        }
        let table = properties.stream.split('/').nth(1).unwrap_or_default();
        let table = tables
            .iter()
            .find(|candidate| candidate.name == table && candidate.stream.is_some())
            .ok_or_else(|| TemplateError::Invalid(format!("{} is no stream of this template", properties.stream)))?;
        if let Some(other) = properties.function_response_types.iter().find(|kind| *kind != "ReportBatchItemFailures") {
            return Err(TemplateError::UnknownIntrinsic(format!("the response type {other}")));
        }
        let filters = properties.filter_criteria.filters.iter().map(|filter| {
            let pattern = serde_json::from_str(&filter.pattern).map_err(|error| {
                TemplateError::Invalid(format!("the filter {} is not JSON: {error}", filter.pattern))
            })?;
            Pattern::parse(&pattern).map_err(TemplateError::invalid)
        });
        let on_failure = properties.destination_config.on_failure.map(|destination| destination.destination);
        if let Some(other) = on_failure.as_ref().filter(|arn| !arn.starts_with("arn:aws:s3:::")) {
            return Err(TemplateError::UnknownIntrinsic(format!(
                "the on-failure destination {other}: it is no S3 bucket"
            )));
        }
        Ok(Some(Self {
            name: name.to_owned(),
            table: table.logical_id.clone(),
            starting_position: properties.starting_position,
            batch_size: properties.batch_size.unwrap_or(100).max(1),
            window: Duration::from_secs(properties.maximum_batching_window_in_seconds.unwrap_or(0)),
            bisect: properties.bisect_batch_on_function_error,
            // −1 is Lambda's way to say that there is no bound.
            max_retries: properties.maximum_retry_attempts.and_then(|count| u32::try_from(count).ok()),
            max_age: properties
                .maximum_record_age_in_seconds
                .and_then(|age| u64::try_from(age).ok())
                .map(Duration::from_secs),
            parallelization: properties.parallelization_factor.unwrap_or(1).max(1),
            reports_failures: !properties.function_response_types.is_empty(),
            on_failure,
            filters: filters.collect::<Result<_, _>>()?,
        }))
    }
}

impl Rule {
    /// `None` when it is switched off.
    pub(super) fn read(name: &str, properties: Value) -> Result<Option<Self>, TemplateError> {
        let properties: RuleProperties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
        let pattern = Pattern::parse(&properties.pattern).map_err(TemplateError::invalid)?;
        let failure = FailurePolicy::read(properties.retry_policy, properties.dead_letter_config)?;
        let input = read_input(properties.input)?;
        Ok((properties.state != Some(State::Disabled)).then(|| Self {
            name: name.to_owned(),
            pattern,
            bus: properties.event_bus_name,
            input,
            failure,
        }))
    }
}

impl Schedule {
    /// `None` when it is switched off.
    pub(super) fn read(name: &str, properties: Value) -> Result<Option<Self>, TemplateError> {
        let properties: ScheduleProperties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
        let off = properties.enabled == Some(false) || properties.state == Some(State::Disabled);
        let expression = properties.schedule.parse().map_err(TemplateError::invalid)?;
        let failure = FailurePolicy::read(properties.retry_policy, properties.dead_letter_config)?;
        let input = read_input(properties.input)?;
        Ok((!off).then(|| Self { name: name.to_owned(), expression, input, failure }))
    }
}

pub(super) fn read_input(text: Option<String>) -> Result<Option<Arc<RawValue>>, TemplateError> {
    let json = |text: String| {
        let error = |error| TemplateError::Invalid(format!("the input {text} is not JSON: {error}"));
        RawValue::from_string(text.clone()).map(Into::into).map_err(error)
    };
    text.map(json).transpose()
}

impl FailurePolicy {
    pub(super) fn read(retries: RetryPolicy, dead_letter: Option<DeadLetter>) -> Result<Self, TemplateError> {
        let dead_letter = dead_letter.and_then(|queue| queue.arn);
        dead_letter.as_deref().map_or(Ok(()), require_queue)?;
        Ok(Self {
            max_retries: retries.maximum_retry_attempts,
            max_age: retries.maximum_event_age_in_seconds.map(Duration::from_secs),
            dead_letter,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture;
    use super::*;

    #[test]
    fn a_stream_mapping_has_its_limits_and_its_destination() {
        let template = fixture::template();
        let mapping = &template.function("ProjectThings").unwrap().streams[0];
        assert_eq!(mapping.table, "Events");
        assert_eq!((mapping.batch_size, mapping.parallelization), (10, 2));
        assert_eq!((mapping.max_retries, mapping.max_age), (Some(3), None));
        assert!(mapping.bisect && mapping.reports_failures);
        assert_eq!(mapping.on_failure.as_deref(), Some("arn:aws:s3:::Failed"));
        assert!(mapping.filters[0].matches(&json!({"eventName": "INSERT"})));
        assert!(!mapping.filters[0].matches(&json!({"eventName": "REMOVE"})));
    }

    #[test]
    fn a_mapping_of_an_unknown_stream_or_with_an_unknown_setting_is_an_error() {
        let stream = "arn:aws:dynamodb:r:0:table/None/stream/local";
        let properties = json!({"Stream": stream, "StartingPosition": "LATEST"});
        assert!(StreamMapping::read("S", properties, &[]).unwrap_err().to_string().contains("table/None"));
        let properties = json!({"Stream": stream, "StartingPosition": "LATEST", "TumblingWindowInSeconds": 5});
        assert!(StreamMapping::read("S", properties, &[]).unwrap_err().to_string().contains("TumblingWindow"));
        let tables = fixture::template().tables;
        let properties = json!({"Stream": "arn:aws:dynamodb:r:0:table/Events/stream/local", "StartingPosition": "LATEST",
            "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:r:0:q"}}});
        assert!(StreamMapping::read("S", properties, &tables).unwrap_err().to_string().contains("arn:aws:sqs:r:0:q"));
    }

    #[test]
    fn rules_and_schedules_say_what_happens_on_failure_and_may_be_off() {
        let rule = json!({"Pattern": {"source": ["payments"]}, "EventBusName": "bus",
            "RetryPolicy": {"MaximumRetryAttempts": "5"}, "DeadLetterConfig": {"Arn": "arn:aws:sqs:r:0:q"}});
        let rule = Rule::read("R", rule).unwrap().unwrap();
        assert_eq!(rule.bus.as_deref(), Some("bus"));
        assert_eq!(
            (rule.failure.max_retries, rule.failure.dead_letter.as_deref()),
            (Some(5), Some("arn:aws:sqs:r:0:q"))
        );
        let schedule = json!({"ScheduleExpression": "rate(1 minute)", "State": "ENABLED"});
        assert_eq!(Schedule::read("S", schedule).unwrap().unwrap().expression, "rate(1 minute)".parse().unwrap());
        assert!(Schedule::read("S", json!({"Schedule": "rate(1 minute)", "Enabled": "false"})).unwrap().is_none());
        let error = Schedule::read("S", json!({"Schedule": "rate(1 minute)", "Input": "{"})).unwrap_err().to_string();
        assert!(error.contains("input"), "{error}");
    }
}
