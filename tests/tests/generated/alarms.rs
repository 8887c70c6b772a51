//! The alarms that watch all functions of a kind together.

use orders_local::template::Function;

use crate::{Kind, TEMPLATE, kind};

pub const BEGIN: &str = "  # ---- Generated alarms: UPDATE_GOLDEN=1 cargo test --workspace --test generated\n";
pub const END: &str = "  # ---- End of the generated alarms\n";

/// The prefix of the alarms' names, what they say of the functions, and which these are.
const KINDS: [(&str, &str, Kind); 3] = [
    ("Command", "A command function", Kind::Command),
    ("Query", "A query function", Kind::Query),
    ("EventFunction", "A function that is called by a stream, a rule or a schedule", Kind::Event),
];

/// The metrics of all kinds, and what they mean.
const METRICS: [(&str, &str); 2] = [("Errors", "crashed, timed out or failed"), ("Throttles", "was throttled")];

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
    for (prefix, subject, of_kind) in KINDS {
        for (metric, what) in METRICS {
            let (name, description) = (format!("{prefix}{metric}"), format!("{subject} {what}."));
            alarms += &alarm(&hand_written, &name, &description, metric, |function| kind(function) == of_kind);
        }
    }
    let dropped = "AsyncEventsDropped";
    let description = "Lambda dropped an event of a rule or a schedule, because its function did not succeed in time.";
    let is_asynchronous = |function: &Function| kind(function) == Kind::Event && function.streams.is_empty();
    alarms + &alarm(&hand_written, dropped, description, dropped, is_asynchronous) + "\n"
}

/// A sum over functions, which are in it in the template's order.
fn alarm(
    hand_written: &str,
    name: &str,
    description: &str,
    metric: &str,
    watches: impl Fn(&Function) -> bool,
) -> String {
    let mut alarm = format!(
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
    for Function { logical_id: id, .. } in watched.filter(|function| !has_its_own(hand_written, function, metric)) {
        alarm += &format!(
            "        - {{Id: {}{}, ReturnData: false, MetricStat: {{Metric: {{Namespace: AWS/Lambda, MetricName: {metric}, \
             Dimensions: [{{Name: FunctionName, Value: !Ref {id}}}]}}, Stat: Sum, Period: 300}}}}\n",
            id[..1].to_lowercase(),
            &id[1..]
        );
    }
    alarm
}
