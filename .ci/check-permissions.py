"""Compares the permissions of the functions with those that the end-to-end tests used.

The tests refuse a function what its policies do not allow, and leave a file in target/permissions-used for each action on
each resource that a function used. Run after the tests: prints each permission to DynamoDB that no test used, and exits
with 1 when there is one. A permission that nothing needs is one too many; a function that no test calls has none that is used.
"""

import os
import pathlib
import sys

from agreement.functions import as_list, statements
from samtranslator.yaml_helper import yaml_parse

USED = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "permissions-used"
# Lambda itself reads the stream, as the function's role.
OF_THE_STREAM = {"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"}


def unused(template, used):
    """The permissions that no test used."""
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        for number, statement in enumerate(statements(template, resource["Properties"])):
            for of_action, action in enumerate(as_list(statement["Action"])):
                service, _, operation = action.partition(":")
                if service != "dynamodb" or operation in OF_THE_STREAM:
                    continue
                for of_resource, what in enumerate(as_list(statement["Resource"])):
                    if f"{name}.{number}.{of_action}.{of_resource}" not in used:
                        yield f"{name}: no test uses {action} on {next(iter(what.values()))}"


def main():
    """Prints them."""
    template = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))
    lines = list(unused(template, {path.name for path in USED.glob("*")}))
    print("\n".join(lines) or "every permission to DynamoDB is used")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
