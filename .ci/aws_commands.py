"""Checks commands of the AWS CLI against botocore's models of the services."""

import botocore.exceptions
import botocore.session
import jmespath
from botocore import xform_name

SESSION = botocore.session.get_session()

# Options that every command has, and whether a value follows.
GLOBAL = {
    "--query": True,
    "--output": True,
    "--region": True,
    "--profile": True,
    "--cli-read-timeout": True,
    "--cli-binary-format": True,
    "--no-paginate": False,
    "--no-cli-pager": False,
}
# Options that the CLI renames, since `--endpoint` would abbreviate an option of its own.
RENAMED = {("sns", "subscribe"): {"--endpoint": "--notification-endpoint"}}
# Commands that the CLI adds to the service's own.
CUSTOM = {("s3", "ls"): {"--recursive"}, ("s3", "cp"): {"--recursive"}}


def options(words):
    """The options among the words, each with the words that follow it; those before the first under no name."""
    found = {}
    current = found.setdefault("", [])
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            current = found.setdefault(name, [])
            current += [value] if value else []
        else:
            current.append(word)
    return found


def members(shape, renamed):
    """Options that an input shape gives: name to the member's name and shape."""
    result = {}
    for name, member in shape.members.items() if shape else ():
        option = "--" + xform_name(name, "-")
        option = renamed.get(option, option)
        result[option] = (name, member)
        if member.type_name == "boolean":
            result["--no-" + xform_name(name, "-")] = (name, member)
    return result


def shape_problems(shape, renamed, given, positionals):
    """What is wrong with the options of a command whose input has that shape, and that takes so many other words."""
    known = members(shape, renamed)
    others = len(given.pop(""))
    for option, values in given.items():
        if option in GLOBAL:
            takes, enum = int(GLOBAL[option]), None
        elif option in known:
            member = known[option][1]
            takes = {"boolean": 0, "list": max(1, len(values))}.get(member.type_name, 1)
            enum = getattr(member, "enum", None) or getattr(getattr(member, "member", None), "enum", None)
        else:
            yield f"has no option {option}"
            continue
        if len(values) < takes:
            yield f"{option} needs a value"
        wrong = [value for value in values[:takes] if enum and "$" not in value and value not in enum]
        yield from (f"{option} cannot be {value}" for value in wrong)
        others += len(values[takes:])
    if others != positionals:
        yield f"takes {positionals} words that belong to no option, not {others}"
    required = set(shape.required_members if shape else ()) - {known[option][0] for option in given if option in known}
    yield from (f"needs {option}" for option, (name, _) in sorted(known.items()) if name in required)


def problems(words):
    """What is wrong with `aws WORDS`."""
    service, operation, *rest = words[1:3] + [""] * (3 - len(words)) + words[3:]
    given = options(rest)
    for expression in given.get("--query", ())[:1]:
        try:
            jmespath.compile(expression.replace("$", "x"))
        except jmespath.exceptions.JMESPathError as error:
            yield f"--query: {error}"
    if (service, operation) in CUSTOM:
        yield from (f"has no option {option}" for option in given if option not in {"", *GLOBAL, *CUSTOM[service, operation]})
        return
    try:
        model = SESSION.get_service_model(service)
    except botocore.exceptions.UnknownServiceError:
        yield f"there is no service {service}"
        return
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    if operation == "wait":
        waiters = SESSION.get_waiter_model(service)
        names = {xform_name(name, "-"): name for name in waiters.waiter_names}
        waiter = (given[""] or [None]).pop(0)
        if waiter not in names:
            yield f"there is no waiter {waiter}"
            return
        operation = xform_name(waiters.get_waiter(names[waiter]).operation, "-")
    if operation not in operations:
        yield f"{service} has no operation {operation}"
        return
    shape = model.operation_model(operations[operation]).input_shape
    command = (service, operation)
    yield from shape_problems(shape, RENAMED.get(command, {}), given, 1 if command == ("lambda", "invoke") else 0)
