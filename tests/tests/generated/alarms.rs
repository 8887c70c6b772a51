//! The alarms that watch all functions of a kind together.

use orders_local::template::Function;

use crate::{Kind, TEMPLATE, kind};

pub const BEGIN: &str = "  # ---- Generated alarms: UPDATE_GOLDEN=1 cargo test --workspace --test generated\n";
pub const END: &str = "  # ---- End of the generated alarms\n";

/// A sum over functions, which are in it in the template's order.
struct Alarm {
    name: &'static str,
    description: &'static str,
    metric: &'static str,
    watches: fn(&Function) -> bool,
}

const ALARMS: [Alarm; 7] = [
    Alarm {
        name: "CommandErrors",
        description: "A command function crashed, timed out or failed.",
        metric: "Errors",
        watches: |function| kind(function) == Kind::Command,
    },
    Alarm {
        name: "CommandThrottles",
        description: "A command function was throttled.",
        metric: "Throttles",
        watches: |function| kind(function) == Kind::Command,
    },
    Alarm {
        name: "QueryErrors",
        description: "A query function crashed, timed out or failed.",
        metric: "Errors",
        watches: |function| kind(function) == Kind::Query,
    },
    Alarm {
        name: "QueryThrottles",
        description: "A query function was throttled.",
        metric: "Throttles",
        watches: |function| kind(function) == Kind::Query,
    },
    Alarm {
        name: "EventFunctionErrors",
        description: "A function that is called by a stream, a rule or a schedule crashed, timed out or failed.",
        metric: "Errors",
        watches: |function| kind(function) == Kind::Event,
    },
    Alarm {
        name: "EventFunctionThrottles",
        description: "A function that is called by a stream, a rule or a schedule was throttled.",
        metric: "Throttles",
        watches: |function| kind(function) == Kind::Event,
    },
    Alarm {
        name: "AsyncEventsDropped",
        description: "Lambda dropped an event of a rule or a schedule, because its function did not succeed in time.",
        metric: "AsyncEventsDropped",
        watches: |function| kind(function) == Kind::Event && function.streams.is_empty(),
    },
];

/// A hand-written alarm on this metric of one function: the alarm on all functions leaves it out.
fn has_its_own(hand_written: &str, function: &Function, metric: &str) -> bool {
    let dimension =
        format!("{metric}\n      Dimensions: [{{Name: FunctionName, Value: !Ref {}}}]", function.logical_id);
    hand_written.contains(&dimension)
}

/// All of them, beside those in the template's text.
pub fn generated(text: &str) -> String {
    let hand_written = crate::between(text, BEGIN, END, "");
    let mut alarms = String::new();
    for Alarm { name, description, metric, watches } in ALARMS {
        alarms += &format!(
            "
  {name}:
    Type: AWS::CloudWatch::Alarm
    Properties:
      <<: *alarm
      AlarmDescription: {description}
      EvaluationPeriods: 3
      DatapointsToAlarm: 1
      Metrics:
        - {{Id: all, Label: {metric}, Expression: \"SUM(FILL(METRICS(), 0))\"}}
"
        );
        let watched = TEMPLATE.functions.iter().filter(|function| watches(function));
        for Function { logical_id: id, .. } in watched.filter(|function| !has_its_own(&hand_written, function, metric))
        {
            alarms += &format!(
                "        - {{Id: {}{}, ReturnData: false, MetricStat: {{Metric: {{Namespace: AWS/Lambda, MetricName: {metric}, \
                 Dimensions: [{{Name: FunctionName, Value: !Ref {id}}}]}}, Stat: Sum, Period: 300}}}}\n",
                id[..1].to_lowercase(),
                &id[1..]
            );
        }
    }
    alarms + "\n"
}
