"""Compares the permissions of the functions with those that the end-to-end tests used.

The local stack denies a function what its policies do not allow, and the tests leave a file in target/permissions-used for
each action on each resource that a function used. Run after the tests: prints each permission that no test used, and exits with
1 when there is one. A permission that nothing needs is one too many; a function that no test calls has none that is used.
target/debug/permissions goes further: it leaves out each permission in turn, and expects a test to fail.
"""

import os
import pathlib
import sys

from agreement.functions import as_list, statements
from samtranslator.yaml_helper import yaml_parse

USED = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "permissions-used"


def unused(template, used):
    """The permissions that no test used."""
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        for number, statement in enumerate(statements(template, resource["Properties"])):
            for of_action, action in enumerate(as_list(statement["Action"])):
                for of_resource, what in enumerate(as_list(statement["Resource"])):
                    if f"{name}.{number}.a{of_action}.r{of_resource}" not in used:
                        yield f"{name}: no test uses {action} on {next(iter(what.values()))}"


def main():
    """Prints them."""
    template = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))
    lines = list(unused(template, {path.name for path in USED.glob("*")}))
    print("\n".join(lines) or "every permission is used")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
