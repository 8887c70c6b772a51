"""Checks that template.yaml, functions/src/bin, events/ and docs/ speak of the same things.

Prints each disagreement, and exits with 1 when there is one.
"""

import json
import pathlib
import re
import subprocess
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
    """The routes (method, path) of the API description, with their scopes without prefix.

    It says once for all of them that HEAD is answered wherever GET is.
    """
    for path, item in api["paths"].items():
        for method, operation in item.items():
            if method in ("get", "post", "put", "patch", "delete"):
                scopes = [scope for need in operation["security"] for scope in need["jwt"]]
                for name in ("GET", "HEAD") if method == "get" else (method.upper(),):
                    yield (name, path), {scope.split(":")[-1] for scope in scopes}


def alarm_problems(template):
    """Alarms that some level of the log keeps silent, or that another stack of the account sets off."""
    code = "".join(path.read_text(encoding="utf-8") for path in pathlib.Path("functions/src").rglob("*.rs"))
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
            for field, word in re.findall(r'\$\.(\w+) = ("[^"]+")', properties["FilterPattern"]):
                if not (word in errors if field == "message" else f"{field} = " in errors and word in code):
                    yield f"template.yaml: {name} looks for {word}, which no function writes at the level of errors"
            for metric in properties["MetricTransformations"]:
                if metric["MetricNamespace"] != OWN_NAMESPACE and not metric.get("Dimensions"):
                    yield f"template.yaml: {name} counts for all stacks of the account together"
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            queries = (query["MetricStat"]["Metric"] for query in properties.get("Metrics", []) if "MetricStat" in query)
            for metric in [properties] if "MetricName" in properties else queries:
                if not metric.get("Dimensions") and metric["Namespace"] != OWN_NAMESPACE:
                    yield f"template.yaml: {name} watches all stacks of the account together"
                if metric["Namespace"] == "Orders" and f'!("{metric["MetricName"]}")' not in code:
                    yield f"template.yaml: {name} watches {metric['MetricName']}, which no function counts"
            # While its data are late, the newest period of a FILL is what it is filled with.
            filled = any("FILL(" in query.get("Expression", "") for query in properties.get("Metrics", []))
            if filled and not 1 <= properties.get("DatapointsToAlarm", 0) < properties["EvaluationPeriods"]:
                yield f"template.yaml: {name} is on an expression with FILL, and not M of N: late data could keep it silent"


# Of metrics without a dimension.
OWN_NAMESPACE = {"Fn::Sub": "Orders/${AWS::StackName}"}

def blocks(text):
    """Every block of commands of a document, without the line breaks inside commands."""
    for block in re.findall(r"^ *```(?:sh|bash)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        yield re.sub(r"\\\n\s*", "", block)


# The file that the answer goes to is the last word of the command.
ANSWER = r"aws lambda invoke .*? (\S+?)(?=\)? (?:>|\|\||&&)|\)?$)"


def problems_of_commands(path, block):
    """What is wrong with one block of commands."""
    # What a POSIX shell takes, bash and zsh take too.
    shell = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True, check=False)
    if shell.returncode:
        yield f"{path}: sh does not take {block.splitlines()[0].strip()!r}: {shell.stderr.strip()}"
    # zsh does not split what a parameter has.
    for loop in re.findall(r"for \w+ in [^;]*\$\w[^;]*", block):
        yield f"{path}: zsh goes through this loop once: {loop}"
    before = ""
    for command in block.splitlines():
        # Without it, SAM CLI does not know the stack.
        if re.search(r"\bsam deploy\b", command.split("#")[0]) and "--config-env" not in command:
            yield f"{path}: without --config-env: {command.strip()}"
        if "aws lambda invoke" in command:
            # The CLI would give up after a minute, and start a long run a second time.
            if "AWS_MAX_ATTEMPTS=1 aws lambda invoke --cli-read-timeout 0 " not in command:
                yield f"{path}: not with AWS_MAX_ATTEMPTS=1 and --cli-read-timeout 0: {command.strip()}"
            # Where the call fails, the CLI leaves the answer of the one before. An event is not answered.
            answer = re.search(ANSWER, command)
            if "--invocation-type Event" not in command and not (answer and f"rm -f {answer.group(1)}" in before):
                yield f"{path}: takes an old answer for its own where the call fails: {command.strip()}"
        before += command + "\n"


def figures(template):
    """What docs/operations.md says of costs without traffic, as the template has it."""
    schedules = re.findall(r"'Schedule': 'rate\((\d+) minutes?\)'", str(template["Resources"]))
    yield f"{sum(30 * 24 * 60 // int(minutes) for minutes in schedules):,} runs of the schedules in 30 days"


def retained(template):
    """What stays when the stack is deleted."""
    for name, resource in template["Resources"].items():
        if resource.get("DeletionPolicy", "Delete") != "Delete":
            yield name


def problems_of_runbooks(template):
    """What is wrong with the commands and the figures in docs/."""
    for path in [pathlib.Path("README.md"), *sorted(pathlib.Path("docs").glob("*.md"))]:
        for block in blocks(path.read_text(encoding="utf-8")):
            yield from problems_of_commands(path, block)
    operations = " ".join(pathlib.Path("docs/operations.md").read_text(encoding="utf-8").split())
    for figure in figures(template):
        if figure not in operations:
            yield f"docs/operations.md does not say what is paid for without traffic: {figure}"
    found = re.search(r"Deleting the stack leaves ([^:]*):", operations)
    left = set(re.findall(r"`(\w+)`", found.group(1))) if found else set()
    if left != set(retained(template)):
        yield f"docs/operations.md says that {sorted(left)} are left, but {sorted(retained(template))} are retained"


def problems_of_bounds():
    """Bounds whose test is not there."""
    code = "".join(path.read_text(encoding="utf-8") for folder in CODE for path in pathlib.Path(folder).rglob("*.rs"))
    for line in pathlib.Path("docs/bounds.md").read_text(encoding="utf-8").splitlines():
        for test in re.findall(r"\| `(\w+)` \|$", line):
            if f"fn {test}(" not in code:
                yield f"docs/bounds.md names the test {test}, which is not there"


CODE = ("core", "functions", "local", "tests")


def problems_of_cargo():
    """Commands of cargo in documents and comments whose package, target or test is not there."""
    command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    texts = [*pathlib.Path().glob("*.md"), *pathlib.Path("docs").glob("*.md")]
    texts += [path for folder in CODE for end in ("md", "rs") for path in pathlib.Path(folder).rglob(f"*.{end}")]
    for path in texts:
        for command in re.findall(r"`(cargo (?:run|test)[^`]*)`", path.read_text(encoding="utf-8")):
            words, _, _ = f"{command} ".partition(" -- ")
            options = set(re.findall(OPTION, words))
            named = {name for option, name in options if option == "-p"}
            default = metadata["workspace_members" if "--workspace" in words else "workspace_default_members"]
            packages = [
                package
                for package in metadata["packages"]
                if (package["name"] in named if named else package["id"] in default)
            ]
            there = {("-p", package["name"]) for package in packages}
            there |= {(f"--{target['kind'][0]}", target["name"]) for it in packages for target in it["targets"]}
            yield from (f"{path}: {command}: there is no {' '.join(option)}" for option in sorted(options - there))
            folders = [pathlib.Path(package["manifest_path"]).parent for package in packages]
            files = [file for folder in folders for file in folder.rglob("*.rs")]
            # The name of a module selects tests too.
            code = "".join(f"fn {file.stem}\n{file.read_text(encoding='utf-8')}" for file in files)
            for test in re.sub(OPTION, "", words).split()[2:] if words.startswith("cargo test") else ():
                if not test.startswith("--") and not re.search(rf"fn \w*{test}", code):
                    yield f"{path}: {command}: there is no test {test}"


OPTION = r"(-p|--test|--example|--bin) (\S+)"

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

    yield from alarm_problems(template)
    yield from problems_of_runbooks(template)
    yield from problems_of_bounds()
    yield from problems_of_cargo()

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
