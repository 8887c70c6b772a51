//! Rules and schedules that stand as resources of their own and name functions, and rules also queues, as targets.

use serde::Deserialize;
use serde_json::Value;

use super::sources::{DeadLetter, FailurePolicy, RetryPolicy, State, read_input};
use super::{Function, QueueRule, Rule, Schedule, Template, TemplateError};
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

fn function<'f>(arn: &str, functions: &'f mut [Function]) -> Result<&'f mut Function, TemplateError> {
    functions.iter_mut().find(|function| function.arn() == arn).ok_or_else(|| {
        TemplateError::UnknownIntrinsic(format!("the target {arn}: it is no function and no queue of this template"))
    })
}

/// Adds a rule to the functions that are its targets, or to the template's rules for queues.
pub(super) fn add_rule(id: &str, properties: Value, template: &mut Template) -> Result<(), TemplateError> {
    let rule: RuleProperties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
    if rule.state == Some(State::Disabled) {
        return Ok(());
    }
    let pattern = rule.event_pattern.as_ref().map(Pattern::parse).transpose().map_err(TemplateError::invalid)?;
    for target in rule.targets {
        let (name, input) = (id.to_owned(), read_input(target.input)?);
        let failure = FailurePolicy::read(target.retry_policy, target.dead_letter_config)?;
        let (bus, pattern) = (rule.event_bus_name.clone(), pattern.clone());
        let on_event = pattern.map(|pattern| Rule {
            name: name.clone(),
            pattern,
            bus,
            input: input.clone(),
            failure: failure.clone(),
        });
        if target.arn.split(':').nth(2) == Some("sqs") {
            let Some(rule) = on_event.filter(|_| rule.schedule_expression.is_none()) else {
                let problem = format!("the target {}: a queue can be that of an event pattern only", target.arn);
                return Err(TemplateError::UnknownIntrinsic(problem));
            };
            template.queue_rules.push(QueueRule { rule, queue: target.arn });
            continue;
        }
        let function = function(&target.arn, &mut template.functions)?;
        function.rules.extend(on_event);
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
    let function = function(&target.arn, functions)?;
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
    let missing = |bus: Option<&String>, queues: &[Option<&String>]| {
        let bus = bus.filter(|bus| *bus != "default" && !has(&template.buses, bus));
        let queue = queues.iter().flatten().find(|queue| !has(&template.queues, queue));
        bus.map(|bus| format!("the event bus {bus}")).or_else(|| queue.map(|queue| format!("the queue {queue}")))
    };
    let there = |within: &str, bus: Option<&String>, queues: &[Option<&String>]| match missing(bus, queues) {
        None => Ok(()),
        Some(missing) => Err(TemplateError::Invalid(format!("{missing} is not in this template")).within(within)),
    };
    for function in &template.functions {
        let (id, asynchronous) = (&function.logical_id, &function.asynchronous);
        there(id, None, &[asynchronous.dead_letter.as_ref(), asynchronous.on_failure.as_ref()])?;
        for rule in &function.rules {
            there(id, rule.bus.as_ref(), &[rule.failure.dead_letter.as_ref()])?;
        }
        for schedule in &function.schedules {
            there(id, None, &[schedule.failure.dead_letter.as_ref()])?;
        }
    }
    for QueueRule { rule, queue } in &template.queue_rules {
        there(&rule.name, rule.bus.as_ref(), &[rule.failure.dead_letter.as_ref(), Some(queue)])?;
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
        let mut template = fixture::template();
        let queue = "arn:aws:sqs:us-east-1:000000000000:Failed";
        let target = json!({"Id": "t", "Arn": HEALTH, "RetryPolicy": {"MaximumRetryAttempts": 4},
            "DeadLetterConfig": {"Arn": queue}});
        let rule = json!({"EventBusName": "things", "EventPattern": {"source": ["x"]}, "Targets": [target]});
        add_rule("Watch", rule, &mut template).unwrap();
        let schedule = json!({"ScheduleExpression": "rate(2 minutes)", "Target": {"Arn": HEALTH, "RoleArn": "r"}});
        add_schedule("Tick", schedule, &mut template.functions).unwrap();
        let health = template.function("Health").unwrap();
        assert_eq!((health.rules[0].name.as_str(), health.rules[0].bus.as_deref()), ("Watch", Some("things")));
        assert_eq!(health.rules[0].failure.max_retries, Some(4));
        assert_eq!(health.rules[0].failure.dead_letter.as_deref(), Some(queue));
        assert_eq!(health.schedules[0].name, "Tick");
    }

    #[test]
    fn a_target_that_cannot_be_called_is_named() {
        let rule = json!({"EventPattern": {"source": ["x"]}, "Targets": [{"Arn": "arn:aws:sns:r:0:topic"}]});
        let error = add_rule("R", rule, &mut fixture::template()).unwrap_err().to_string();
        assert!(error.contains("arn:aws:sns:r:0:topic"), "{error}");
        let rule = json!({"EventPattern": {"source": ["x"]}, "Targets": [{"Arn": HEALTH, "InputPath": "$.detail"}]});
        assert!(add_rule("R", rule, &mut fixture::template()).unwrap_err().to_string().contains("InputPath"));
    }

    #[test]
    fn a_bus_or_a_queue_that_the_template_does_not_have_is_named() {
        let with = |rule: Value| {
            let mut template = fixture::template();
            add_rule("R", rule, &mut template).unwrap();
            check(&template).unwrap_err().to_string()
        };
        let error =
            with(json!({"EventBusName": "other", "EventPattern": {"source": ["x"]}, "Targets": [{"Arn": HEALTH}]}));
        assert!(error.contains("Health") && error.contains("the event bus other"), "{error}");
        let target = json!({"Arn": HEALTH, "DeadLetterConfig": {"Arn": "arn:aws:sqs:r:0:None"}});
        let error = with(json!({"EventPattern": {"source": ["x"]}, "Targets": [target]}));
        assert!(error.contains("the queue arn:aws:sqs:r:0:None"), "{error}");
        let error = with(json!({"EventPattern": {"source": ["x"]}, "Targets": [{"Arn": "arn:aws:sqs:r:0:None"}]}));
        assert!(error.contains("R: the queue arn:aws:sqs:r:0:None"), "{error}");
    }

    #[test]
    fn a_rule_s_events_can_go_to_a_queue_and_a_schedule_s_cannot() {
        let queue = "arn:aws:sqs:us-east-1:000000000000:Money";
        let mut template = fixture::template();
        let targets = json!([{"Id": "q", "Arn": queue}, {"Id": "f", "Arn": HEALTH}]);
        add_rule("R", json!({"EventPattern": {"source": ["x"]}, "Targets": targets}), &mut template).unwrap();
        let [QueueRule { rule, queue: found }] = &template.queue_rules[..] else {
            panic!("{:?}", template.queue_rules)
        };
        assert_eq!((rule.name.as_str(), found.as_str()), ("R", queue));
        assert!(template.function("Health").unwrap().rules.iter().any(|rule| rule.name == "R"));
        let rule = json!({"ScheduleExpression": "rate(1 minute)", "Targets": [{"Arn": queue}]});
        let error = add_rule("R", rule, &mut fixture::template()).unwrap_err().to_string();
        assert!(error.contains(queue), "{error}");
    }

    #[test]
    fn a_rule_that_is_switched_off_is_left_out() {
        let mut template = fixture::template();
        let rule = json!({"EventPattern": {"source": ["x"]}, "State": "DISABLED", "Targets": [{"Arn": HEALTH}]});
        add_rule("R", rule, &mut template).unwrap();
        assert!(template.functions.iter().flat_map(|function| &function.rules).all(|rule| rule.name != "R"));
    }
}
