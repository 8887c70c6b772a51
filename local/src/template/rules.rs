//! Rules and schedules that stand as resources of their own and name their functions as targets.

use serde::Deserialize;
use serde_json::Value;

use super::sources::{DeadLetter, FailurePolicy, RetryPolicy, State, read_input};
use super::{Function, Rule, Schedule, Template, TemplateError};
use crate::patterns::Pattern;

/// The properties of `AWS::Events::Rule` that are read.
pub(super) const RULE: &[&str] = &["EventBusName", "EventPattern", "ScheduleExpression", "State", "Targets", "RoleArn"];
/// The properties of `AWS::Scheduler::Schedule` that are read.
pub(super) const SCHEDULE: &[&str] =
    &["ScheduleExpression", "ScheduleExpressionTimezone", "State", "Target", "StartDate", "EndDate"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleProperties {
    event_bus_name: Option<String>,
    event_pattern: Option<Value>,
    schedule_expression: Option<String>,
    state: Option<State>,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ScheduleProperties {
    schedule_expression: String,
    state: Option<State>,
    target: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Target {
    arn: String,
    input: Option<String>,
    #[serde(default)]
    retry_policy: RetryPolicy,
    dead_letter_config: Option<DeadLetter>,
    #[serde(rename = "Id")]
    _id: Option<Value>,
    #[serde(rename = "RoleArn")]
    _role: Option<Value>,
}

impl Target {
    fn function<'f>(&self, functions: &'f mut [Function]) -> Result<&'f mut Function, TemplateError> {
        functions.iter_mut().find(|function| function.arn() == self.arn).ok_or_else(|| {
            TemplateError::UnknownIntrinsic(format!("the target {}: it is no function of this template", self.arn))
        })
    }
}

/// Adds a rule to the functions that are its targets.
pub(super) fn add_rule(id: &str, properties: Value, functions: &mut [Function]) -> Result<(), TemplateError> {
    let rule: RuleProperties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
    if rule.state == Some(State::Disabled) {
        return Ok(());
    }
    let pattern = rule.event_pattern.as_ref().map(Pattern::parse).transpose().map_err(TemplateError::invalid)?;
    for target in rule.targets {
        let function = target.function(functions)?;
        let (name, input) = (id.to_owned(), read_input(target.input)?);
        let failure = FailurePolicy::read(target.retry_policy, target.dead_letter_config)?;
        if let Some(pattern) = &pattern {
            let (pattern, bus) = (pattern.clone(), rule.event_bus_name.clone());
            function.rules.push(Rule {
                name: name.clone(),
                pattern,
                bus,
                input: input.clone(),
                failure: failure.clone(),
            });
        }
        if let Some(expression) = &rule.schedule_expression {
            let expression = expression.parse().map_err(TemplateError::invalid)?;
            function.schedules.push(Schedule { name, expression, input, failure });
        }
    }
    Ok(())
}

/// Adds a schedule to the function that is its target.
pub(super) fn add_schedule(id: &str, properties: Value, functions: &mut [Function]) -> Result<(), TemplateError> {
    let schedule: ScheduleProperties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
    let target = schedule.target;
    let function = target.function(functions)?;
    if schedule.state != Some(State::Disabled) {
        function.schedules.push(Schedule {
            name: id.to_owned(),
            expression: schedule.schedule_expression.parse().map_err(TemplateError::invalid)?,
            input: read_input(target.input)?,
            failure: FailurePolicy::read(target.retry_policy, target.dead_letter_config)?,
        });
    }
    Ok(())
}

/// Whether every bus and queue that a function has to do with is one of the template.
pub(super) fn check(template: &Template) -> Result<(), TemplateError> {
    let has = |names: &[String], reference: &str| {
        let name = reference.rsplit(['/', ':']).next().unwrap_or_default();
        names.iter().any(|known| known == name)
    };
    for function in &template.functions {
        let buses = function.rules.iter().filter_map(|rule| rule.bus.as_deref()).filter(|bus| *bus != "default");
        let policies = function.rules.iter().map(|rule| &rule.failure);
        let policies = policies.chain(function.schedules.iter().map(|schedule| &schedule.failure));
        let queues = policies.filter_map(|policy| policy.dead_letter.as_ref());
        let asynchronous = &function.asynchronous;
        let mut queues = queues.chain(&asynchronous.dead_letter).chain(&asynchronous.on_failure);
        let missing =
            buses.filter(|bus| !has(&template.buses, bus)).map(|bus| format!("the event bus {bus}")).next().or_else(
                || queues.find(|queue| !has(&template.queues, queue)).map(|queue| format!("the queue {queue}")),
            );
        if let Some(missing) = missing {
            return Err(
                TemplateError::Invalid(format!("{missing} is not in this template")).within(&function.logical_id)
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture;
    use super::*;

    const HEALTH: &str = "arn:aws:lambda:us-east-1:000000000000:function:Health";

    #[test]
    fn a_rule_and_a_schedule_reach_the_functions_that_they_name() {
        let mut functions = fixture::template().functions;
        let queue = "arn:aws:sqs:us-east-1:000000000000:Failed";
        let target = json!({"Id": "t", "Arn": HEALTH, "RetryPolicy": {"MaximumRetryAttempts": 4},
            "DeadLetterConfig": {"Arn": queue}});
        let rule = json!({"EventBusName": "things", "EventPattern": {"source": ["x"]}, "Targets": [target]});
        add_rule("Watch", rule, &mut functions).unwrap();
        let schedule = json!({"ScheduleExpression": "rate(2 minutes)", "Target": {"Arn": HEALTH, "RoleArn": "r"}});
        add_schedule("Tick", schedule, &mut functions).unwrap();
        let health = functions.iter().find(|function| function.logical_id == "Health").unwrap();
        assert_eq!((health.rules[0].name.as_str(), health.rules[0].bus.as_deref()), ("Watch", Some("things")));
        assert_eq!(health.rules[0].failure.max_retries, Some(4));
        assert_eq!(health.rules[0].failure.dead_letter.as_deref(), Some(queue));
        assert_eq!(health.schedules[0].name, "Tick");
    }

    #[test]
    fn a_target_that_cannot_be_called_is_named() {
        let rule = json!({"EventPattern": {"source": ["x"]}, "Targets": [{"Arn": "arn:aws:sns:r:0:topic"}]});
        let error = add_rule("R", rule, &mut fixture::template().functions).unwrap_err().to_string();
        assert!(error.contains("arn:aws:sns:r:0:topic"), "{error}");
        let rule = json!({"EventPattern": {"source": ["x"]}, "Targets": [{"Arn": HEALTH, "InputPath": "$.detail"}]});
        assert!(add_rule("R", rule, &mut fixture::template().functions).unwrap_err().to_string().contains("InputPath"));
    }

    #[test]
    fn a_bus_or_a_queue_that_the_template_does_not_have_is_named() {
        let with = |rule: Value| {
            let mut template = fixture::template();
            add_rule("R", rule, &mut template.functions).unwrap();
            check(&template).unwrap_err().to_string()
        };
        let error =
            with(json!({"EventBusName": "other", "EventPattern": {"source": ["x"]}, "Targets": [{"Arn": HEALTH}]}));
        assert!(error.contains("Health") && error.contains("the event bus other"), "{error}");
        let target = json!({"Arn": HEALTH, "DeadLetterConfig": {"Arn": "arn:aws:sqs:r:0:None"}});
        let error = with(json!({"EventPattern": {"source": ["x"]}, "Targets": [target]}));
        assert!(error.contains("the queue arn:aws:sqs:r:0:None"), "{error}");
    }

    #[test]
    fn a_rule_that_is_switched_off_is_left_out() {
        let mut functions = fixture::template().functions;
        let rule = json!({"EventPattern": {"source": ["x"]}, "State": "DISABLED", "Targets": [{"Arn": HEALTH}]});
        add_rule("R", rule, &mut functions).unwrap();
        assert!(functions.iter().flat_map(|function| &function.rules).all(|rule| rule.name != "R"));
    }
}
