"""Alarms: each can ring, is on this stack alone, and has a row in docs/operations.md."""

import pathlib
import re

# Of metrics without a dimension.
OWN_NAMESPACE = {"Fn::Sub": "Orders/${AWS::StackName}"}

# Messages at the level of errors that the alarm on all other errors leaves out, with the alarm that reports each.
REPORTED = {
    "not counted": "RequestsNotCounted",
    "stream parked": "OrdersParked",
    "stream not projected: DynamoDB rejects it": "ProjectionRefused",
    "an event is not published": "EventsUnpublished",
    "event not processed": "EventFunctionErrors",
    "the invocation failed": "EventFunctionErrors",
}


def problems(template):
    """All of it."""
    yield from silent(template)
    yield from undocumented(template)


def silent(template):
    """Alarms that depend on the log level, or that another stack of the account can trigger."""
    sources = [*pathlib.Path("functions/src").rglob("*.rs"), *pathlib.Path("core").rglob("src/**/*.rs")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    # An event of the level of errors is written at every level that a deployment may have.
    errors = "".join(re.findall(r"tracing::error!\((?:[^()]|\([^()]*\))*\)", code))
    level = template["Globals"]["Function"]["LoggingConfig"]["ApplicationLogLevel"]
    # Metrics that functions count are lines without a level, which Lambda takes for INFO.
    if level not in ("TRACE", "DEBUG", "INFO"):
        yield f"template.yaml: ApplicationLogLevel is {level}: Lambda would drop the metrics of the functions"
    for name, resource in template["Resources"].items():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::Serverless::Function" and "LoggingConfig" in properties:
            yield f"template.yaml: {name} has a LoggingConfig of its own"
        if resource["Type"] == "AWS::Logs::MetricFilter":
            for field, word in re.findall(r'\$\.(\w+) !?= ("[^"]+")', properties["FilterPattern"]):
                written = {"message": word in errors, "level": word == '"ERROR"'}
                if not written.get(field, f"{field} = " in errors and word in code):
                    yield f"template.yaml: {name} looks for {word}, which no function writes at the level of errors"
            for message in re.findall(r'\$\.message != "([^"]+)"', properties["FilterPattern"]):
                if REPORTED.get(message) not in template["Resources"]:
                    yield f"template.yaml: {name} leaves out {message!r}, which no alarm reports"
            for metric in properties["MetricTransformations"]:
                if metric["MetricNamespace"] != OWN_NAMESPACE and not metric.get("Dimensions"):
                    yield f"template.yaml: {name} counts for all stacks of the account together"
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            queries = (query["MetricStat"]["Metric"] for query in properties.get("Metrics", []) if "MetricStat" in query)
            for metric in [properties] if "MetricName" in properties else queries:
                if not metric.get("Dimensions") and metric["Namespace"] != OWN_NAMESPACE:
                    yield f"template.yaml: {name} watches all stacks of the account together"
                if metric["Namespace"] == "Orders" and f'"{metric["MetricName"]}"' not in code:
                    yield f"template.yaml: {name} watches {metric['MetricName']}, which no function counts"
            # While its data are late, the newest period of a FILL is what it is filled with.
            filled = any("FILL(" in query.get("Expression", "") for query in properties.get("Metrics", []))
            if filled and not 1 <= properties.get("DatapointsToAlarm", 0) < properties["EvaluationPeriods"]:
                yield f"template.yaml: {name} is on an expression with FILL, and not M of N: late data could keep it silent"


def undocumented(template):
    """Alarms without a row in the table of alarms, and rows without an alarm."""
    operations = pathlib.Path("docs/operations.md").read_text(encoding="utf-8")
    table = operations[operations.index("| alarm |") :].partition("\n\n")[0].splitlines()[2:]
    rows = {name for row in table for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    alarms = {name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::CloudWatch::Alarm"}
    yield from (f"docs/operations.md has no row for the alarm {name}" for name in alarms - rows)
    yield from (f"docs/operations.md has a row for {name}, which is no alarm" for name in rows - alarms)
