"""Checks docs/api/asyncapi.json against the official JSON Schema of AsyncAPI 3.0.0, and that its references lead somewhere.

Prints each error, and exits with 1 when there is one.
"""

import json
import pathlib
import sys

from jsonschema import Draft7Validator

DOCUMENT = pathlib.Path("docs/api/asyncapi.json")
SCHEMA = pathlib.Path(__file__).with_name("asyncapi-3.0.0.schema.json")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def references(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def is_found(document, reference):
    file, _, pointer = reference.partition("#")
    if file:
        return (DOCUMENT.parent / file).is_file()
    for name in pointer.strip("/").split("/"):
        document = document.get(name) if isinstance(document, dict) else None
    return document is not None


def problems(document):
    for error in Draft7Validator(read(SCHEMA)).iter_errors(document):
        yield f"{error.json_path}: {error.message[:200]}"
    yield from (f"{reference} leads nowhere" for reference in references(document) if not is_found(document, reference))


def main():
    found = list(problems(read(DOCUMENT)))
    print("\n".join(found) or f"{DOCUMENT} is valid.")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
