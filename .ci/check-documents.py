"""Checks that the index of decisions names every decision, that each claim and each bound names a test that exists, that
the README of each library asks for the library's own version, and that docs/local-stack.md lists the routes below `/dev`.

Prints each problem, and exits with 1 when there is one.
"""

import collections
import difflib
import pathlib
import re
import sys
import tomllib

DECISIONS = pathlib.Path("docs/decisions")
CODE = ("core", "functions", "local", "tests")


def file_name(title):
    """The name of a decision's file, which follows from its title."""
    plain = re.sub(r"[`'’]", "", title.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") + ".md"


def problems_of_decisions():
    """Decisions without title or date or under another name, and differences between them and the index."""
    titles = {}
    for path in sorted(DECISIONS.glob("*.md")):
        if path.name == "README.md":
            continue
        title = re.match(r"# (.+)\n\n\d{4}-\d\d-\d\d\n\n\S", path.read_text(encoding="utf-8"))
        if not title:
            yield f"{path} does not begin with title, date and text"
            continue
        titles[path.name] = title.group(1)
        if path.name != file_name(title.group(1)):
            yield f"{path} should be named {file_name(title.group(1))}"
    index = re.findall(r"^- \[(.+)\]\(([^)]+)\)$", (DECISIONS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    times = collections.Counter(name for _, name in index)
    yield from (f"the index names {name} {times[name]} times" for name in titles | dict(index) if times[name] > 1)
    yield from (f"the index does not name {name}" for name in sorted(titles.keys() - times.keys()))
    for title, name in index:
        if titles.get(name) != title:
            yield f"the index calls {name} {title!r}, its title is {titles.get(name)!r}"


def tests():
    """The file of every test function, by name."""
    found = collections.defaultdict(set)
    # Attributes may stand between the mark of a test and its name.
    test = re.compile(r"#\[(?:tokio::)?test\b[^\n]*\]\s*(?:#\[[^\n]*\]\s*)*(?:async )?fn (\w+)")
    for path in (path for folder in CODE for path in pathlib.Path(folder).rglob("*.rs")):
        for name in test.findall(path.read_text(encoding="utf-8")):
            found[name].add(str(path))
    return found


def problems_of_claims():
    """Claims without a test, or whose test is not where they say."""
    existing = tests()
    for line in pathlib.Path("docs/claims.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("| ") or line.startswith("| claim"):
            continue
        named = re.search(r"\| `([\w./-]+)::(\w+)` \|$", line)
        if not named:
            yield f"docs/claims.md names no test: {line}"
        elif named.group(1) not in existing.get(named.group(2), ()):
            others = difflib.get_close_matches(named.group(2), existing, 1, 0.5)
            hint = "".join(f"; perhaps {path}::{name}" for name in others for path in sorted(existing[name]))
            yield f"docs/claims.md: there is no test {named.group(1)}::{named.group(2)}{hint}"


def problems_of_bounds():
    """Bounds whose test does not exist."""
    # A macro makes tests of the functions that specify every store.
    code = "".join(path.read_text(encoding="utf-8") for folder in CODE for path in pathlib.Path(folder).rglob("*.rs"))
    for name in re.findall(r"\| `(\w+)` \|$", pathlib.Path("docs/bounds.md").read_text(encoding="utf-8"), re.MULTILINE):
        if f"fn {name}(" not in code:
            yield f"docs/bounds.md: there is no test {name}"


def problems_of_libraries():
    """Libraries whose README does not say how to depend on their present version."""
    workspace = tomllib.loads(pathlib.Path("Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]
    for readme in pathlib.Path("core").glob("*/README.md"):
        package = tomllib.loads(readme.with_name("Cargo.toml").read_text(encoding="utf-8"))["package"]
        version = workspace["version"] if package["version"] == {"workspace": True} else package["version"]
        if f'\n{package["name"]} = "{version}"\n' not in readme.read_text(encoding="utf-8"):
            yield f'{readme} does not have the dependency {package["name"]} = "{version}"'


def problems_of_dev_routes():
    """Routes of the local stack's own that only one of code and document has."""
    code = "".join(path.read_text(encoding="utf-8") for path in pathlib.Path("local/src").rglob("*.rs"))
    there = set()
    # Of the functions that return the routers that the stack nests below /dev.
    for router in re.findall(r"^pub\(crate\) fn router\(.*?^}", code, re.MULTILINE | re.DOTALL):
        for part in router.split(".route(")[1:]:
            path, handlers = re.match(r'\s*"([^"]*)",(.*)', part.split("\n        .")[0], re.DOTALL).groups()
            there |= {(method.upper(), f"/dev{path}") for method in re.findall(r"(?<!\w)(get|post|put|delete)\(", handlers)}
    text = pathlib.Path("docs/local-stack.md").read_text(encoding="utf-8")
    here = set(re.findall(r"^\| `(\w+) (/dev/[^`]*)` \|", text, re.MULTILINE))
    yield from (f"docs/local-stack.md does not list {' '.join(route)}" for route in sorted(there - here))
    yield from (f"docs/local-stack.md lists {' '.join(route)}, which does not exist" for route in sorted(here - there))


def main():
    """Prints what is wrong."""
    lines = [*problems_of_decisions(), *problems_of_claims(), *problems_of_bounds(), *problems_of_libraries(), *problems_of_dev_routes()]
    print("\n".join(lines) or "they agree")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
