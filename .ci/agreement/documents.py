"""Problems and rejections: each that the code knows is described, and no other."""

import pathlib
import re


def names(pattern, *paths):
    """What the first group of the pattern finds in files of code, without their tests."""
    for path in paths:
        code = path.read_text(encoding="utf-8").partition("#[cfg(test)]\nmod tests")[0]
        yield from re.findall(pattern, code)


def problems(api):
    """Problem types and codes of rejections that no description names, and names that no code has."""
    functions = [path for path in pathlib.Path("functions/src").rglob("*.rs") if "test" not in str(path)]
    http = set(names(r'\b(?:new|try_again)\(\s*(?:[\w:]+,\s*)?"([a-z]+(?:-[a-z]+)*)",\s', *functions))
    domain = pathlib.Path("core/orders/src/domain").glob("*.rs")
    decisions = set(names(r'(?:\bSelf::\w+[^=\n]* => |\bcode: )"([a-z]+(?:-[a-z]+)+)"', *domain))
    if len(http) < 10 or len(decisions) < 10:
        yield f"the problem types are not found in the code any more: {sorted(http)} and {sorted(decisions)}"
    responses = str(api["components"]["responses"])
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)*)`", responses)) - set(api["components"]["schemas"]["Problem"]["properties"])
    events = pathlib.Path("docs/events.md").read_text(encoding="utf-8")
    rejections = set(re.findall(r"`([a-z]+(?:-[a-z]+)*)`", events))
    yield from (f"docs/api/openapi.yaml: no response names the problem {name}" for name in http - named)
    yield from (f"docs/api/openapi.yaml: a response names {name}, which is no problem" for name in named - http - decisions)
    for name in decisions - named - rejections:
        yield f"neither docs/api/openapi.yaml nor docs/events.md names the rejection {name}"
