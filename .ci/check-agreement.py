"""Checks that template.yaml, the code, events/ and docs/ agree: agreement/ has a file for each subject.

Prints each disagreement, and exits with 1 when there is one.
"""

import json
import pathlib
import sys

import yaml
from agreement import alarms, api, documents, functions, permissions, runbooks, settings, silence
from samtranslator.yaml_helper import yaml_parse


def problems():
    """Every disagreement."""
    template = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))
    description = yaml.safe_load(pathlib.Path("docs/api/openapi.yaml").read_text(encoding="utf-8"))
    # What the code says of itself, written by a test.
    vocabulary = json.loads(pathlib.Path("docs/api/vocabulary.json").read_text(encoding="utf-8"))
    for subject in (functions, alarms, silence, permissions, runbooks, settings):
        yield from subject.problems(template)
    yield from api.problems(template, description, vocabulary)
    yield from documents.problems(description)


def main():
    """Prints them."""
    lines = sorted(problems())
    print("\n".join(lines) or "they agree")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
