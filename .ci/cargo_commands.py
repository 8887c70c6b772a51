"""Commands of cargo: options, packages, targets and tests, and the arguments of the local stack."""

import functools
import json
import pathlib
import re
import subprocess

import options

# Installed by those who need them.
EXTENSIONS = {"auditable", "deny", "lambda", "mutants", "semver-checks"}
TARGET = ("-p", "--test", "--example", "--bin")


@functools.cache
def metadata():
    """What cargo knows of the workspace."""
    command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


@functools.cache
def code(package):
    """The code of a package. The name of a module selects tests too."""
    folder = pathlib.Path(package).parent
    return "".join(f"fn {file.stem}\n{file.read_text(encoding='utf-8')}" for file in folder.rglob("*.rs"))


def problems(words):
    """What is wrong with `cargo …`."""
    own, _, rest = " ".join(words[1:]).partition(" -- ")
    subcommand, *own = own.removesuffix(" --").split() or [""]
    if subcommand in EXTENSIONS:
        return
    yield from options.problems(own, "cargo", subcommand)
    named = {(option, name) for option, name in zip(own, own[1:]) if option in TARGET}
    of = {name for option, name in named if option == "-p"}
    default = metadata()["workspace_members" if "--workspace" in own else "workspace_default_members"]
    packages = [it for it in metadata()["packages"] if (it["name"] in of if of else it["id"] in default)]
    there = {("-p", package["name"]) for package in packages}
    there |= {(f"--{target['kind'][0]}", target["name"]) for it in packages for target in it["targets"]}
    yield from (f"there is no {' '.join(option)}" for option in sorted(named - there))
    if subcommand == "test":
        filters = [word for before, word in zip(["", *own], own) if not word.startswith("-") and before not in TARGET]
        everything = "".join(code(package["manifest_path"]) for package in packages)
        yield from (f"there is no test {test}" for test in filters if not re.search(rf"fn \w*{test}", everything))
    if subcommand == "run" and not own and rest:
        yield from problems_of_stack(rest.split())


def problems_of_stack(words):
    """What is wrong with the arguments of the local stack."""
    program = ("cargo", "run", "--locked", "--quiet", "--")
    takes_value = {"--port", "--data", "--dynamodb", "--binaries", "--template", "--parameter"}
    places = [n for n, word in enumerate(words) if not word.startswith("-") and (n == 0 or words[n - 1] not in takes_value)]
    names = [words[place] for place in places[:1]]
    yield from options.problems([word for word in words if word.startswith("-")], *program, *names)
    if names == ["invoke"] and len(words) > places[0] + 1:
        function = words[places[0] + 1]
        if not pathlib.Path(f"functions/src/bin/{function}.rs").exists() and function.islower():
            yield f"there is no function {function}"
