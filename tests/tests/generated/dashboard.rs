//! The dashboard: business first, then health, then cost.

use orders_local::template::Function;

use crate::{Kind, TEMPLATE, kind};

pub const BEGIN: &str = "      DashboardBody: !Sub |\n";
pub const END: &str = "\nOutputs:\n";

/// Widgets per row, and their size in the grid of 24 columns.
const PER_ROW: usize = 3;
const WIDTH: usize = 8;
const HEIGHT: usize = 6;

struct Widget {
    title: &'static str,
    metrics: Vec<String>,
}

fn widget<const N: usize>(title: &'static str, metrics: [Vec<String>; N]) -> Widget {
    Widget { title, metrics: metrics.into_iter().flatten().collect() }
}

/// The logical ids of some functions.
fn functions(holds: impl Fn(&Function) -> bool) -> Vec<&'static str> {
    TEMPLATE.functions.iter().filter(|function| holds(function)).map(|function| function.logical_id.as_str()).collect()
}

/// The functions that run commands.
fn deciders() -> Vec<&'static str> {
    functions(|function| crate::appends(function) && kind(function) != Kind::Operator)
}

/// Metrics of AWS or of the functions, one for each of these values of a dimension.
fn each(namespace: &str, metric: &str, dimension: &str, stat: &str, resources: &[&str]) -> Vec<String> {
    let line = |id: &&str| {
        let label = id.split('.').next().unwrap();
        format!(
            r#"["{namespace}", "{metric}", "{dimension}", "${{{id}}}", {{"stat": "{stat}", "label": "{label} {metric}"}}]"#
        )
    };
    resources.iter().map(line).collect()
}

/// A metric of functions.
fn own(metric: &str, stat: &str, functions: &[&str]) -> Vec<String> {
    each("Orders", metric, "FunctionName", stat, functions)
}

/// A metric by another dimension of one function.
fn by(metric: &str, function: &str, dimension: &str, values: &[&str]) -> Vec<String> {
    let line = |value: &&str| {
        format!(
            r#"["Orders", "{metric}", "FunctionName", "${{{function}}}", "{dimension}", "{value}", {{"stat": "Maximum", "label": "{value}"}}]"#
        )
    };
    values.iter().map(line).collect()
}

/// The sum of a metric over functions.
fn sum(label: &str, metric: &str, functions: &[&str]) -> Vec<String> {
    vec![format!(r#"[{{"expression": "SUM({})", "label": "{label}"}}]"#, search("FunctionName", metric, functions))]
}

/// A metric of each of these functions, by dimension. CloudWatch finds the values of the dimension.
fn search(dimensions: &str, metric: &str, functions: &[&str]) -> String {
    let names: Vec<String> = functions.iter().map(|id| format!(r#"\"${{{id}}}\""#)).collect();
    let names = names.join(" OR ");
    format!(r#"SEARCH('{{Orders,{dimensions}}} MetricName=\"{metric}\" FunctionName=({names})', 'Sum', 60)"#)
}

fn api(metric: &str, stat: &str) -> String {
    format!(r#"["AWS/ApiGateway", "{metric}", "ApiId", "${{Api}}", {{"stat": "{stat}", "label": "{metric} {stat}"}}]"#)
}

fn mapping(metric: &str, mapping: &str) -> Vec<String> {
    each("AWS/Lambda", metric, "EventSourceMappingUUID", "Sum", &[mapping])
}

/// Consumed capacity of tables.
fn capacity(tables: &[&str]) -> Vec<String> {
    let units = |metric| each("AWS/DynamoDB", metric, "TableName", "Sum", tables);
    [units("ConsumedWriteCapacityUnits"), units("ConsumedReadCapacityUnits")].concat()
}

/// Calls of an operation of the event table, hidden.
fn calls(id: &str, operation: &str) -> String {
    format!(
        r#"["AWS/DynamoDB", "SuccessfulRequestLatency", "TableName", "${{OrderEvents}}", "Operation", "{operation}", {{"stat": "SampleCount", "id": "{id}", "visible": false}}]"#
    )
}

/// Units of the event table, hidden.
fn units(id: &str, metric: &str) -> String {
    format!(
        r#"["AWS/DynamoDB", "{metric}", "TableName", "${{OrderEvents}}", {{"stat": "Sum", "id": "{id}", "visible": false}}]"#
    )
}

fn business() -> Vec<Widget> {
    let statuses: Vec<&str> = orders_core::domain::Status::ALL.iter().map(|status| status.as_str()).collect();
    let rejected = search("FunctionName,Rule", "CommandsRejected", &deciders());
    let reader = "CatchUpReadModels";
    vec![
        widget("Orders created today, by status", [by("OrdersToday", reader, "Status", &statuses)]),
        widget(
            "Amounts of these orders, and today's revenue",
            [by("AmountToday", reader, "Status", &statuses), own("RevenueToday", "Maximum", &[reader])],
        ),
        widget("Commands stored", [own("CommandsStored", "Sum", &deciders())]),
        widget("Commands rejected, by rule", [vec![format!(r#"[{{"expression": "{rejected}"}}]"#)]]),
        widget(
            "Commands not stored for another reason",
            [
                sum("replayed", "CommandsReplayed", &deciders()),
                sum("unchanged", "CommandsUnchanged", &deciders()),
                sum("failed", "CommandsFailed", &deciders()),
            ],
        ),
        widget(
            "Payments deferred, and waiting for settlement",
            [own("PaymentsDeferred", "Sum", &["PayOrder"]), own("PaymentsWaiting", "Maximum", &["SettlePayments"])],
        ),
    ]
}

fn health() -> Vec<Widget> {
    let duration =
        |of| each("AWS/Lambda", "Duration", "FunctionName", "p99", &functions(|function| kind(function) == of));
    let streams = functions(|function| !function.streams.is_empty());
    let queues = [
        "FailedEvents.QueueName",
        "UndeliveredEvents.QueueName",
        "UnrecordedMoney.QueueName",
        "ProtectionChanges.QueueName",
    ];
    let limited = |policy: &'static str, parameter: &str| {
        let setting = &TEMPLATE.parameters[parameter];
        sum(policy, "RequestsLimited", &functions(|function| function.environment.get("RATE_LIMIT") == Some(setting)))
    };
    let transitions = |label, metric| sum(label, metric, &["PayOrder", "SettlePayments"]);
    vec![
        widget("Requests", [vec![api("Count", "Sum"), api("4xx", "Sum"), api("5xx", "Sum")]]),
        widget("Latency, ms", [vec![api("Latency", "p50"), api("Latency", "p99")]]),
        widget("Errors", [each("AWS/Lambda", "Errors", "FunctionName", "Sum", &functions(|_| true))]),
        widget("Duration of commands, p99 ms", [duration(Kind::Command)]),
        widget("Duration of queries, p99 ms", [duration(Kind::Query)]),
        widget(
            "Conflicts, retries, snapshots",
            [
                sum("conflicts", "EventStoreConflicts", &deciders()),
                sum("retries of DynamoDB calls", "DynamoDbRetries", &deciders()),
                sum("loads from a snapshot", "EventStoreSnapshotHits", &deciders()),
            ],
        ),
        widget(
            "Lag of rows and of publication, ms",
            [
                own("ProjectionLag", "p99", &["ProjectOrders"]),
                own("PublicationLag", "p99", &["PublishEvents"]),
                each("AWS/Lambda", "IteratorAge", "FunctionName", "Maximum", &streams),
            ],
        ),
        widget(
            "Parked orders, altered events, failed batches",
            [
                own("OrdersParked", "Sum", &["ProjectOrders", "CatchUpReadModels"]),
                own("ProjectionRefused", "Sum", &["ProjectOrders"]),
                own("ReadModelsBehind", "Maximum", &["CatchUpReadModels"]),
                own("IntegrityViolations", "Sum", &["ProjectOrders"]),
                own("BatchesRetried", "Sum", &streams),
                mapping("OnFailureDestinationDeliveredEventCount", "ProjectOrdersStream"),
                mapping("DroppedEventCount", "ProjectOrdersStream"),
            ],
        ),
        widget(
            "Unpublished events",
            [
                own("EventsUnpublished", "Sum", &["PublishEvents"]),
                mapping("OnFailureDestinationDeliveredEventCount", "PublishEventsStream"),
                mapping("DroppedEventCount", "PublishEventsStream"),
            ],
        ),
        widget(
            "Circuit of the payment provider",
            [
                own("PaymentCircuitOpen", "Maximum", &["SettlePayments"]),
                own("PaymentCircuitForced", "Maximum", &["SettlePayments"]),
                transitions("opened", "CircuitOpened"),
                transitions("half-opened", "CircuitHalfOpened"),
                transitions("closed", "CircuitClosed"),
            ],
        ),
        widget(
            "Requests over a limit, by policy",
            [
                limited("create", "CreateRateLimit"),
                limited("change", "ChangeRateLimit"),
                limited("read", "ReadRateLimit"),
                vec![
                    r#"["Orders/${AWS::StackName}", "RequestsNotCounted", {"stat": "Sum", "label": "not counted"}]"#
                        .into(),
                ],
            ],
        ),
        widget(
            "Incoming events: queues, fields dropped",
            [
                each("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "Maximum", &queues),
                own("EventFieldsDropped", "Sum", &["OnPaymentEvent", "OnShipmentEvent"]),
            ],
        ),
    ]
}

fn cost() -> Vec<Widget> {
    let logs = ["AccessLogs", "FunctionLogs"];
    vec![
        widget(
            "Calls and units of the event table",
            [vec![
                r#"[{"expression": "puts + queries", "label": "calls"}]"#.into(),
                r#"[{"expression": "written / puts", "label": "write units per commit", "yAxis": "right"}]"#.into(),
                r#"[{"expression": "read / queries", "label": "read units per query", "yAxis": "right"}]"#.into(),
                calls("puts", "PutItem"),
                calls("queries", "Query"),
                units("written", "ConsumedWriteCapacityUnits"),
                units("read", "ConsumedReadCapacityUnits"),
            ]],
        ),
        widget("Capacity of the event and order tables", [capacity(&["OrderEvents", "Orders"])]),
        widget("Capacity of the sales tables", [capacity(&["SalesOrders", "SalesTotals"])]),
        widget("Capacity of rate limits and breakers", [capacity(&["RateLimits", "CircuitBreakers"])]),
        widget("Invocations", [each("AWS/Lambda", "Invocations", "FunctionName", "Sum", &functions(|_| true))]),
        widget("Bytes of logs", [each("AWS/Logs", "IncomingBytes", "LogGroupName", "Sum", &logs)]),
    ]
}

/// The dashboard's JSON, indented as in the template.
pub fn body() -> String {
    let (mut widgets, mut y) = (Vec::new(), 0);
    for (heading, section) in [("Business", business()), ("Health", health()), ("Cost", cost())] {
        widgets.push(format!(
            r##"          {{"type": "text", "x": 0, "y": {y}, "width": 24, "height": 1, "properties": {{"markdown": "# {heading}"}}}}"##
        ));
        y += 1;
        for row in section.chunks(PER_ROW) {
            for (place, Widget { title, metrics }) in row.iter().enumerate() {
                let metrics = metrics.join(",\n              ");
                widgets.push(format!(
                    r#"          {{"type": "metric", "x": {}, "y": {y}, "width": {WIDTH}, "height": {HEIGHT}, "properties": {{
            "title": "{title}", "region": "${{AWS::Region}}", "period": 60, "metrics": [
              {metrics}]}}}}"#,
                    place * WIDTH
                ));
            }
            y += HEIGHT;
        }
    }
    format!("        {{\"widgets\": [\n{}\n        ]}}\n", widgets.join(",\n"))
}
