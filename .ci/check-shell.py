"""Checks every shell line of the documents, and every command of cargo in comments: syntax, commands, options, routes, files and jq programs.

Prints each problem, and exits with 1 when there is one. Needs the binaries that the tests build.
"""

import functools
import os
import pathlib
import re
import sys

import aws_commands
import cargo_commands
import jq
import options
import shell_blocks
import yaml

# Of a POSIX shell, then what else a reader has; `$` is the reader's $EDITOR.
KNOWN = set("[ break cat cd date echo git grep printf return rm sed seq sleep sort tee uniq wait".split())
KNOWN |= {"$", "docker", "java", "npm", "pip", "python", "rustup", "tar"}
# The local stack nests its own routes under /dev.
DEV_ROUTE = re.compile(r'\.route\(\s*"(/[^"]*)"')


@functools.cache
def routes():
    """The routes (method, segments of the path) of the API and of the local stack; a method of None is any."""
    api = yaml.safe_load(pathlib.Path("docs/api/openapi.yaml").read_text(encoding="utf-8"))
    found = [(method.upper(), path) for path, item in api["paths"].items() for method in item]
    for source in pathlib.Path("local/src").rglob("*.rs"):
        found += [(None, f"/dev{path}") for path in DEV_ROUTE.findall(source.read_text(encoding="utf-8"))]
    return [(method, path.strip("/").split("/")) for method, path in found]


def curl_problems(words):
    """A request that no route takes."""
    urls = [word for word in words if re.match(r"(\$|localhost:3000|http://127\.0\.0\.1:3000)/", word)]
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
    for url in urls:
        path = url.split("?")[0].split("/", 1 if "//" not in url else 3)[-1].strip("/").split("/")

        def matches(route):
            same = (mine == his or "{" in his or mine == "$" for mine, his in zip(path, route[1]))
            return route[0] in (None, method) and len(path) == len(route[1]) and all(same)

        if not any(matches(route) for route in routes()):
            yield f"there is no route {method} /{'/'.join(path)}"


def jq_problems(words):
    """A program that jq does not compile."""
    names, program = [], "."
    rest = iter(words[1:])
    for word in rest:
        if word in ("--arg", "--argjson"):
            names += [next(rest), next(rest)][:1]
        elif not word.startswith("-"):
            program = word
            break
    try:
        jq.compile(program, args=dict.fromkeys(names, ""))
    except ValueError as error:
        yield f"jq: {error}"


def file_problems(words):
    """Files of the repository that are not there."""
    for word in words:
        found = re.fullmatch(r"@?((?:events|docs|core|local|tests|functions)/[\w./-]+)", word)
        if found and not pathlib.Path(found.group(1)).exists():
            yield f"there is no file {found.group(1)}"


def problems_of(command, functions):
    """What is wrong with one command."""
    words = command.words
    yield from file_problems(words)
    name = words[0]
    if name == "aws":
        yield from aws_commands.problems(words)
    elif name == "cargo":
        yield from cargo_commands.problems(words)
    elif name == "sam":
        subcommand = [word for word in words[1:3] if not word.startswith("-") and word.islower()]
        yield from options.problems(words[1:], str(pathlib.Path(sys.executable).parent / "sam"), *subcommand)
    elif name == "curl":
        yield from curl_problems(words)
    elif name == "jq":
        yield from jq_problems(words)
    elif name not in functions and name not in KNOWN and not os.access(name, os.X_OK):
        yield f"{name} is neither a known tool nor a function of the documents"


def main():
    """Prints what is wrong."""
    read = [shell_blocks.read(path) for path in shell_blocks.documents()]
    functions = set().union(*(functions for _, functions, _ in read))
    lines = [problem for _, _, problems in read for problem in problems]
    commands = [command for commands, _, _ in read for command in commands]
    lines += [f"{command}: {problem}" for command in commands for problem in problems_of(command, functions)]
    print("\n".join(sorted(set(lines))) or f"{len(commands)} commands can be run")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
