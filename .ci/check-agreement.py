"""Checks that template.yaml, functions/src/bin, events/ and docs/ speak of the same things.

Prints each disagreement, and exits with 1 when there is one.
"""

import json
import pathlib
import re
import sys

import yaml
from samtranslator.yaml_helper import yaml_parse


def scope_names(auth):
    """The scopes of a route without their prefix."""
    return {scope["Fn::Sub"].removeprefix("${ScopePrefix}") for scope in auth["AuthorizationScopes"]}


def functions(template):
    """Binary, routes (method, path, scopes) and streams of every function of the template."""
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        events = resource["Properties"].get("Events", {}).values()
        routes = [
            (event["Properties"]["Method"], event["Properties"]["Path"], scope_names(event["Properties"]["Auth"]))
            for event in events
            if event["Type"] == "HttpApi"
        ]
        streams = [event for event in events if event["Type"] == "DynamoDB"]
        yield name, resource["Metadata"]["BuildProperties"]["Binary"], routes, streams


def event_problems(path, binary, routes, streams):
    """What is wrong with the event in a file, as an event of the function whose binary is named."""
    try:
        event = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        yield f"{path}: {error}"
        return
    if routes:
        keys = [f"{method} {route}" for method, route, _ in routes]
        if event.get("version") != "2.0" or event.get("routeKey") not in keys:
            yield f"{path}: not an HTTP API 2.0 event of {' or '.join(keys)}"
        elif event["requestContext"]["routeKey"] != event["routeKey"]:
            yield f"{path}: requestContext has another routeKey"
        elif not event["requestContext"]["authorizer"]["jwt"]["claims"].get("sub"):
            yield f"{path}: no claims of a caller"
    if streams:
        records = event.get("Records", [])
        if not records or any(record["eventSource"] != "aws:dynamodb" for record in records):
            yield f"{path}: not a batch of a DynamoDB stream, as {binary} takes"


def described(api):
    """The routes (method, path) of the API description, with their scopes without prefix."""
    for path, item in api["paths"].items():
        for method, operation in item.items():
            if method in ("get", "post", "put", "patch", "delete"):
                scopes = [scope for need in operation["security"] for scope in need["jwt"]]
                yield (method.upper(), path), {scope.split(":")[-1] for scope in scopes}


def watched(value):
    """The names of the service's own metrics in a part of the template."""
    if isinstance(value, dict):
        if value.get("Namespace") == "Orders":
            yield value["MetricName"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from watched(part)


def problems():
    """Every disagreement."""
    template = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))
    found = list(functions(template))
    binaries = {binary for _, binary, _, _ in found}
    sources = {path.stem for path in pathlib.Path("functions/src/bin").glob("*.rs")}
    yield from (f"functions/src/bin/{name}.rs is missing; the template names it" for name in binaries - sources)
    yield from (f"template.yaml has no function whose Binary is {name}" for name in sources - binaries)

    unclaimed = set(pathlib.Path("events").glob("*.json"))
    # Longest names first: get-order-at-version belongs to get-order, list-orders-… not to list.
    for _, binary, routes, streams in sorted(found, key=lambda function: -len(function[1])):
        own = {path for path in unclaimed if path.stem == binary or path.stem.startswith(binary + "-")}
        unclaimed -= own
        if not own:
            yield f"events/ has nothing for {binary}"
        for path in sorted(own):
            yield from event_problems(path, binary, routes, streams)
    yield from (f"{path} belongs to no function" for path in sorted(unclaimed))

    operations = pathlib.Path("docs/operations.md").read_text(encoding="utf-8")
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::CloudWatch::Alarm" and f"`{name}`" not in operations:
            yield f"docs/operations.md does not say what to do at the alarm {name}"

    code = "".join(path.read_text(encoding="utf-8") for path in pathlib.Path("functions/src").rglob("*.rs"))
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Logs::MetricFilter":
            for word in re.findall(r'"[^"]+"', resource["Properties"]["FilterPattern"]):
                if word not in code:
                    yield f"template.yaml: {name} looks for {word}, which no function writes"

    filters = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::Logs::MetricFilter"]
    counted = {made["MetricName"] for filter in filters for made in filter["MetricTransformations"]}
    counted |= set(re.findall(r'metrics::(?:counter|histogram)!\("(\w+)"\)', code))
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            for metric in set(watched(resource["Properties"])) - counted:
                yield f"template.yaml: {name} watches the metric {metric}, which no function counts"

    api = yaml.safe_load(pathlib.Path("docs/api/openapi.yaml").read_text(encoding="utf-8"))
    there = {(method, path): scopes for _, _, routes, _ in found for method, path, scopes in routes}
    here = dict(described(api))
    for route in sorted(there.keys() | here.keys()):
        if there.get(route) != here.get(route):
            yield f"{' '.join(route)}: the template has {there.get(route)}, the API description {here.get(route)}"


def main():
    """Prints them."""
    lines = sorted(problems())
    print("\n".join(lines) or "they agree")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
