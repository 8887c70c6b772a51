"""Functions: a binary and events for each, and no others."""

import json
import pathlib


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


def as_list(value):
    """One or more, as a list."""
    return value if isinstance(value, list) else [value]


def statements(template, function):
    """The statements of a function's policies, or of its role, those of a condition among them."""
    if "Role" in function:
        role = template["Resources"][function["Role"]["Fn::GetAtt"][0]]["Properties"]
        documents = [policy["PolicyDocument"] for policy in role["Policies"]]
    else:
        documents = function.get("Policies", [])
    written = [statement for document in documents for statement in document["Statement"]]
    return [statement["Fn::If"][1] if "Fn::If" in statement else statement for statement in written]


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


def problems(template):
    """Binaries and events that are missing, or that belong to no function."""
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
