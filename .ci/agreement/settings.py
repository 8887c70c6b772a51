"""Environment variables: each that the template sets is read, each that the functions read is set, and each that names a
table or a bus comes with a permission on it.
"""

import json
import pathlib
import re

from .functions import as_list, statements

# Resources whose name a function gets in a variable, and on which it needs a permission.
NAMED = ("AWS::DynamoDB::Table", "AWS::Events::EventBus")
# Variables that the AWS SDK reads.
OF_THE_SDK = "AWS_ENDPOINT_URL_"


def functions(template):
    """Name and properties of every function."""
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            yield name, resource["Properties"]


def variables(function):
    """The environment variables of a function, or of all of them."""
    return function.get("Environment", {}).get("Variables") or {}


def problems(template):
    """Variables that only one side knows."""
    source = pathlib.Path("functions/src")
    of_tests = set(re.findall(r"#\[cfg\(test\)\]\nmod (\w+);", (source / "lib.rs").read_text(encoding="utf-8")))
    of_tests.add("tests")
    files = (path for path in source.rglob("*.rs") if not of_tests.intersection(path.with_suffix("").parts))
    code = "".join(path.read_text(encoding="utf-8").partition("#[cfg(test)]\nmod tests")[0] for path in files)
    literals = set(re.findall(r'"([A-Z][A-Z0-9_]{3,})"', code))
    # Lambda and cargo set their own.
    read = {name for name in literals if "_" in name and not name.startswith(("AWS_", "CARGO_"))}
    everywhere = variables(template["Globals"]["Function"])
    there = set(everywhere).union(*(variables(function) for _, function in functions(template)))
    unread = (name for name in there - literals if not name.startswith(OF_THE_SDK))
    yield from (f"template.yaml sets {name}, which no function reads" for name in unread)
    yield from (f"template.yaml does not set {name}, which a function reads" for name in read - there)
    yield from ignored_overrides(template, set(everywhere))
    for name, function in functions(template):
        yield from permissions(template, name, function, everywhere)


def ignored_overrides(template, everywhere):
    """Variables of env-vars.json that the template does not name: `sam local` silently ignores them."""
    known = {name: everywhere | set(variables(function)) for name, function in functions(template)}
    known["Parameters"] = set().union(*known.values())
    for name, values in json.loads(pathlib.Path("env-vars.json").read_text(encoding="utf-8")).items():
        missing = sorted(values.keys() - known.get(name, set()))
        yield from (f"env-vars.json sets {variable} of {name}, which template.yaml does not name" for variable in missing)


def permissions(template, name, function, everywhere):
    """Tables and buses for which a function has a permission but no variable, or the other way round."""

    def resources(values):
        named = {value["Ref"] for value in values if isinstance(value, dict) and "Ref" in value}
        return {it for it in named if template["Resources"].get(it, {}).get("Type") in NAMED}

    own, known = resources(variables(function).values()), resources(everywhere.values())
    if "RATE_LIMIT" in variables(function):
        own.add("RateLimits")
    what = [it for statement in statements(template, function) for it in as_list(statement["Resource"])]
    arns = {it["Fn::GetAtt"][0] for it in what if "Fn::GetAtt" in it}
    arns |= {found for it in what if "Fn::Sub" in it for found in re.findall(r"\$\{(\w+)\.Arn\}", it["Fn::Sub"])}
    may = {it for it in arns if template["Resources"][it]["Type"] in NAMED}
    yield from (f"template.yaml: {name} has a variable for {it}, and no permission on it" for it in own - may)
    named = own | (known - {"RateLimits"})
    yield from (f"template.yaml: {name} has a permission on {it}, and no variable for it" for it in may - named)
