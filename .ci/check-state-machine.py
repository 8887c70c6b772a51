"""Walks the state machine of template.yaml, evaluating its expressions, and checks what it gives to its function.

The first walks are with a function that needs several runs for a segment. The last one is with the real function, on
empty tables of the local stack: what the machine gives it must be what it reads, and the machine must find in its answer
what it decides by. Prints each difference, and exits with 1 when there is one.
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


def walk(machine, data, invoke):
    """What comes out of a machine, of states as this template has them; `invoke` is given the arguments of a task."""
    name = machine["StartAt"]
    while True:
        state = machine["States"][name]
        kind = state["Type"]
        if kind == "Map":
            items = evaluate(state["Items"], input=data)
            data = [walk(state["ItemProcessor"], item, invoke) for item in items]
        elif kind == "Task":
            result = invoke(evaluate(state["Arguments"], input=data))
            data = evaluate(state["Output"], input=data, result=result)
        elif kind == "Choice":
            taken = (choice["Next"] for choice in state["Choices"] if evaluate(choice["Condition"], input=data) is True)
            name = next(taken, state["Default"])
            continue
        elif kind != "Succeed":
            raise ValueError(f"{name}: a state of type {kind} is not known here")
        if kind == "Succeed" or state.get("End"):
            return data
        name = state["Next"]


class Function:
    """Needs three runs for each segment, and keeps what it was given."""

    def __init__(self):
        self.runs = []

    def __call__(self, arguments):
        run = arguments["Payload"]
        self.runs.append(run)
        orders = (run.get("progress") or {"orders": 0})["orders"] + 1
        return {"StatusCode": 200, "Payload": {**run, "progress": {"orders": orders, "done": orders == 3}}}


def real_function(arguments):
    """The function's binary."""
    command = ["cargo", "run", "--quiet", "--locked", "--", "invoke", "rebuild-orders", "--port", "0", "--event", "-"]
    event = json.dumps(arguments["Payload"])
    done = subprocess.run(command, input=event, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"the function does not take {event}: {done.stdout}{done.stderr}")
    return {"StatusCode": 200, "Payload": json.loads(done.stdout)}


def differences(machine):
    """What is not as it should be."""
    for asked, segments, more in [
        ({}, 8, {}),
        ({"total_segments": 1}, 1, {}),
        ({"total_segments": 3, "table": "orders-rows-2"}, 3, {"table": "orders-rows-2"}),
    ]:
        function = Function()
        ends = walk(machine, asked, function)
        firsts = [run for run in function.runs if "progress" not in run]
        expected = [{"segment": segment, "total_segments": segments, **more} for segment in range(segments)]
        if firsts != expected:
            yield f"{asked}: begins with {firsts}"
        if [end["progress"]["orders"] for end in ends] != [3] * segments or len(function.runs) != 3 * segments:
            yield f"{asked}: ends with {ends}"
        later = [{name: run[name] for name in run if name != "progress"} for run in function.runs if "progress" in run]
        if sorted(later, key=json.dumps) != sorted(expected * 2, key=json.dumps):
            yield f"{asked}: goes on with {later}"
    ends = walk(machine, {"total_segments": 2}, real_function)
    if [(end["segment"], end["progress"]["done"]) for end in ends] != [(0, True), (1, True)]:
        yield f"the real function: {ends}"


def main():
    """Prints them."""
    template = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))
    try:
        lines = list(differences(template["Resources"]["Rebuild"]["Properties"]["Definition"]))
    except ValueError as error:
        lines = [str(error)]
    print("\n".join(lines) or "the state machine drives its function to the end")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
