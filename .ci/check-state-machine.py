"""Walks the state machine of template.yaml, evaluating its expressions, and checks what it gives to its function.

The first walks are with a function that needs several runs for a segment. The last one is with the real function, on
empty tables of the local stack: what the machine gives it must be what it reads, and the machine must find in its answer
what it decides by. From the events that a walk leaves in the execution's history follows how many orders one execution
can rebuild; docs/operations.md must say so. Prints each difference, and exits with 1 when there is one.
"""

import json
import pathlib
import subprocess
import sys

from jsonata import Jsonata
from samtranslator.yaml_helper import yaml_parse


def evaluate(value, **states):
    """A field of a state: an expression between {% and %}, or a structure with such fields, or itself."""
    if isinstance(value, dict):
        return {name: evaluate(field, **states) for name, field in value.items()}
    text = value.strip() if isinstance(value, str) else ""
    if not (text.startswith("{%") and text.endswith("%}")):
        return value
    expression = Jsonata(text[2:-2])
    expression.assign("states", states)
    return expression.evaluate(None)


# Events that a state leaves in an execution's history, and what surrounds it (Step Functions, "HistoryEvent"): of a Map,
# that it is entered, started, succeeded and exited, and of each of its items that it is started and succeeded; of a Task
# that it is entered, scheduled, started, succeeded and exited; of the others that they are entered and exited.
EVENTS = {"Map": 4, "Task": 5, "Choice": 2, "Succeed": 2}
EVENTS_OF_ITEM = EVENTS_OF_EXECUTION = 2
# The most events of an execution (Step Functions, "Quotas related to state machine executions").
MOST_EVENTS = 25_000
# Reserved for failed attempts, three events each.
RESERVE = 1_000
# What the function reserves of its time, in seconds (functions/src/deadline.rs).
OWN_TIME = 40
# Rows a second: of one segment where nothing holds it up, as measured; and of all segments of an execution together where
# the table of rows is new, of 4,000 write units a second and 3.5 a row.
ALONE, THROTTLED = 3_300, 1_140


def walk(machine, data, invoke, count=lambda events: None):
    """What comes out of a machine, of states as this template has them; `invoke` is given the arguments of a task, and
    `count` the events of each state."""
    name = machine["StartAt"]
    while True:
        state = machine["States"][name]
        kind = state["Type"]
        count(EVENTS.get(kind, 0))
        if kind == "Map":
            items = evaluate(state["Items"], input=data)
            count(EVENTS_OF_ITEM * len(items))
            data = [walk(state["ItemProcessor"], item, invoke, count) for item in items]
        elif kind == "Task":
            result = invoke(evaluate(state["Arguments"], input=data))
            data = evaluate(state["Output"], input=data, result=result)
        elif kind == "Choice":
            taken = (choice["Next"] for choice in state["Choices"] if evaluate(choice["Condition"], input=data) is True)
            name = next(taken, state["Default"])
            continue
        elif kind != "Succeed":
            raise ValueError(f"{name}: unknown state type {kind}")
        if kind == "Succeed" or state.get("End"):
            return data
        name = state["Next"]


class Function:
    """A function that needs this many runs for each segment, and records its requests."""

    def __init__(self, needed=3):
        self.runs, self.needed = [], needed

    def __call__(self, arguments):
        run = arguments["Payload"]
        self.runs.append(run)
        streams = (run.get("progress") or {"streams": 0})["streams"] + 1
        return {"StatusCode": 200, "Payload": {**run, "progress": {"streams": streams, "done": streams >= self.needed}}}


def events_of(machine, asked, runs):
    """The events in the history of an execution in which each segment takes this many runs."""
    events = [EVENTS_OF_EXECUTION]
    walk(machine, asked, Function(runs), events.append)
    return sum(events)


def orders_that_fit(machine):
    """Length of a run, segments, and the orders of one execution: on a table that takes all, and on a new one."""
    for seconds in (60, 600, 840):
        for segments in (8, 16):
            asked = {"total_segments": segments, "seconds": seconds}
            once, twice = (events_of(machine, asked, runs) for runs in (1, 2))
            runs = 1 + (MOST_EVENTS - RESERVE - once) // (twice - once)
            yield seconds, segments, runs * segments * seconds * ALONE, runs * seconds * THROTTLED


def capacity_differences(machine, timeout):
    """Rows about the number of orders that docs/operations.md lacks."""
    operations = pathlib.Path("docs/operations.md").read_text(encoding="utf-8")
    for seconds, segments, alone, throttled in orders_that_fit(machine):
        row = f"| {seconds} | {segments} | {throttled // 10**6} million | {alone // 10**6:,} million |"
        if row not in operations:
            yield f"docs/operations.md has no row {row}"
    usual = evaluate(machine["States"]["Segments"]["Items"], input={})[0]["seconds"]
    if usual > timeout - OWN_TIME:
        yield f"a run lasts {usual} seconds, and its function has {timeout}"


def real_function(arguments):
    """The function's binary."""
    command = ["cargo", "run", "--quiet", "--locked", "--", "invoke", "rebuild-orders", "--port", "0", "--event", "-"]
    event = json.dumps(arguments["Payload"])
    done = subprocess.run(command, input=event, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"the function does not accept {event}: {done.stdout}{done.stderr}")
    return {"StatusCode": 200, "Payload": json.loads(done.stdout)}


def differences(machine):
    """Differences from the expected runs."""
    for asked, segments, more in [
        ({}, 8, {"seconds": 600}),
        ({"total_segments": 1, "seconds": 60}, 1, {"seconds": 60}),
        ({"total_segments": 3, "table": "orders-rows-2"}, 3, {"table": "orders-rows-2", "seconds": 600}),
    ]:
        function = Function()
        ends = walk(machine, asked, function)
        firsts = [run for run in function.runs if "progress" not in run]
        expected = [{"segment": segment, "total_segments": segments, **more} for segment in range(segments)]
        if firsts != expected:
            yield f"{asked}: begins with {firsts}"
        if [end["progress"]["streams"] for end in ends] != [3] * segments or len(function.runs) != 3 * segments:
            yield f"{asked}: ends with {ends}"
        later = [{name: run[name] for name in run if name != "progress"} for run in function.runs if "progress" in run]
        if sorted(later, key=json.dumps) != sorted(expected * 2, key=json.dumps):
            yield f"{asked}: continues with {later}"
    ends = walk(machine, {"total_segments": 2}, real_function)
    if [(end["segment"], end["progress"]["done"]) for end in ends] != [(0, True), (1, True)]:
        yield f"the real function: {ends}"


def main():
    """Prints them."""
    template = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))
    machine = template["Resources"]["Rebuild"]["Properties"]["Definition"]
    timeout = template["Resources"]["RebuildOrders"]["Properties"]["Timeout"]
    try:
        lines = [*capacity_differences(machine, timeout), *differences(machine)]
    except ValueError as error:
        lines = [str(error)]
    print("\n".join(lines) or "the state machine drives its function to the end")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
