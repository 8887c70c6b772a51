"""Alarms when data are missing: the state in which each ends is the one that docs/operations.md declares.

Models what the alarms use of CloudWatch: an operator with a missing operand has no result, FILL fills, SUM and MAX skip what
is missing, and a missing result counts as TreatMissingData says.
"""

import ast
import operator
import pathlib
import re

LOUD = 10**9

# Metrics that are meant to end an alarm, and alarms that need several metrics, which arrive together.
CALMING = {"invoked"}
TOGETHER = {"RequestsRejected": "API Gateway reports both metrics for each request"}

OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Lt: operator.lt, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.LtE: operator.le,
}  # fmt: skip
BREACHES = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def problems(template):
    """Alarms that end in another state than declared, that one missing metric silences, and functions whose silence is not heard."""
    alarms = {name: resource["Properties"] for name, resource in template["Resources"].items() if resource["Type"] == "AWS::CloudWatch::Alarm"}
    declared = declarations()
    for name, alarm in alarms.items():
        state = evaluate(alarm, {})
        if state != declared.get(name):
            yield f"docs/operations.md: without data {name} is {state}, not {declared.get(name)}"
        yield from silenced(name, alarm, state)
    yield from unheard(template, alarms)


def declarations():
    """The state of each alarm without data, from the table of alarms."""
    table = pathlib.Path("docs/operations.md").read_text(encoding="utf-8").partition("| alarm |")[2].partition("\n\n")[0]
    cells = [row.split("|") for row in table.splitlines()[2:]]
    return {name: row[2].strip() for row in cells for name in re.findall(r"`(\w+)`", row[1])}


def silenced(name, alarm, state):
    """Metrics that cannot raise the alarm while the other ones are missing."""
    ids = list(metrics(alarm))
    if state == "ALARM":
        if "OK" not in {evaluate(alarm, dict.fromkeys(ids, value)) for value in (0, LOUD)}:
            yield f"template.yaml: {name} never ends"
        return
    alone = [each for each in ids if evaluate(alarm, {each: LOUD}) == "ALARM"]
    if name not in TOGETHER and set(ids) - set(alone) - CALMING:
        yield f"template.yaml: missing metrics keep {name} silent: of {ids}, only {alone} raise it alone"
    if name in TOGETHER and evaluate(alarm, dict.fromkeys(ids, LOUD)) != "ALARM":
        yield f"template.yaml: {name} can never be raised"


def unheard(template, alarms):
    """Functions that a schedule or a stream calls, and whose silence is no alarm."""
    heard = set()
    for alarm in alarms.values():
        written = {each: LOUD for each in metrics(alarm) if each not in CALMING}
        silent = {each: metric for each, metric in metrics(alarm).items() if each not in written or evaluate(alarm, {}) == "ALARM"}
        if silent and evaluate(alarm, written if len(silent) < len(metrics(alarm)) else {}) == "ALARM":
            heard |= set(re.findall(r"\{'Ref': '(\w+)'\}", str(list(silent.values()))))
    for name, resource in template["Resources"].items():
        kinds = {event["Type"] for event in resource.get("Properties", {}).get("Events", {}).values()} if "Function" in resource["Type"] else set()
        if kinds & {"Schedule", "DynamoDB"} and name not in heard:
            yield f"template.yaml: no alarm says that {name} is not called any more"


def metrics(alarm):
    """The metrics of an alarm by their ids."""
    if "MetricName" in alarm:
        return {"metric": alarm}
    return {query["Id"]: query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query}


def evaluate(alarm, values):
    """The state of an alarm in all of whose periods the metrics have these values, and others are missing."""
    values = {each: values.get(each) for each in metrics(alarm)}
    expressions = [query["Expression"] for query in alarm.get("Metrics", []) if "Expression" in query]
    result = calculate(expressions[0], values) if expressions else values["metric"]
    if result is None:
        # CloudWatch ignores missing data of DynamoDB whatever the alarm says, and keeps the state.
        ignored = any(metric["Namespace"] == "AWS/DynamoDB" for metric in metrics(alarm).values())
        treatment = "ignore" if ignored else alarm.get("TreatMissingData", "missing")
        return {"breaching": "ALARM", "notBreaching": "OK", "missing": "INSUFFICIENT_DATA", "ignore": "as before"}[treatment]
    return "ALARM" if BREACHES[alarm["ComparisonOperator"]](result, alarm["Threshold"]) else "OK"


def calculate(expression, values):
    """The value of an expression in one period; None if it is missing."""
    return value_of(ast.parse(expression.replace("IF(", "WHEN(").replace(" AND ", " and "), mode="eval").body, values)


def value_of(node, values):
    """The value of a part of an expression: a number, a list for METRICS(), or None."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return values[node.id]
        case ast.Call(func=ast.Name("METRICS")):
            return list(values.values())
        case ast.Call(func=ast.Name(function)):
            return FUNCTIONS[function](*(value_of(argument, values) for argument in node.args))
        case ast.BoolOp(op=ast.And()):
            operands = [value_of(each, values) for each in node.values]
            return None if None in operands else all(operands)
        case ast.BinOp():
            return combine(OPERATORS[type(node.op)], value_of(node.left, values), value_of(node.right, values))
        case ast.Compare():
            return combine(OPERATORS[type(node.ops[0])], value_of(node.left, values), value_of(node.comparators[0], values))
    raise ValueError(f"not supported: {ast.unparse(node)}")


def combine(function, left, right):
    """The result of an operator, which is missing if an operand is."""
    return None if left is None or right is None else function(left, right)


def fill(values, filler):
    """A number, or each of a list, in place of what is missing."""
    return [fill(each, filler) for each in values] if isinstance(values, list) else filler if values is None else values


def over(function):
    """An aggregate of what is there."""
    return lambda values: function([each for each in values if each is not None], default=None)


FUNCTIONS = {
    "FILL": fill,
    "SUM": over(lambda values, default: sum(values) if values else default),
    "MAX": over(max),
    "WHEN": lambda condition, then, otherwise: None if condition is None else then if condition else otherwise,
}
