"""The commands of cargo and the tests that documents and comments name."""

import json
import pathlib
import re
import subprocess

CODE = ("core", "functions", "local", "tests")
OPTION = r"(-p|--test|--example|--bin) (\S+)"


def problems():
    """All of it."""
    yield from problems_of_bounds()
    yield from problems_of_cargo()


def problems_of_bounds():
    """Bounds whose test is not there."""
    code = "".join(path.read_text(encoding="utf-8") for folder in CODE for path in pathlib.Path(folder).rglob("*.rs"))
    for line in pathlib.Path("docs/bounds.md").read_text(encoding="utf-8").splitlines():
        for test in re.findall(r"\| `(\w+)` \|$", line):
            if f"fn {test}(" not in code:
                yield f"docs/bounds.md names the test {test}, which is not there"


def problems_of_cargo():
    """Commands of cargo in documents and comments whose package, target or test is not there."""
    command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    texts = [*pathlib.Path().glob("*.md"), *pathlib.Path("docs").glob("*.md")]
    texts += [path for folder in CODE for end in ("md", "rs") for path in pathlib.Path(folder).rglob(f"*.{end}")]
    for path in texts:
        for command in re.findall(r"`(cargo (?:run|test)[^`]*)`", path.read_text(encoding="utf-8")):
            words, _, _ = f"{command} ".partition(" -- ")
            options = set(re.findall(OPTION, words))
            named = {name for option, name in options if option == "-p"}
            default = metadata["workspace_members" if "--workspace" in words else "workspace_default_members"]
            packages = [
                package
                for package in metadata["packages"]
                if (package["name"] in named if named else package["id"] in default)
            ]
            there = {("-p", package["name"]) for package in packages}
            there |= {(f"--{target['kind'][0]}", target["name"]) for it in packages for target in it["targets"]}
            yield from (f"{path}: {command}: there is no {' '.join(option)}" for option in sorted(options - there))
            folders = [pathlib.Path(package["manifest_path"]).parent for package in packages]
            files = [file for folder in folders for file in folder.rglob("*.rs")]
            # The name of a module selects tests too.
            code = "".join(f"fn {file.stem}\n{file.read_text(encoding='utf-8')}" for file in files)
            for test in re.sub(OPTION, "", words).split()[2:] if words.startswith("cargo test") else ():
                if not test.startswith("--") and not re.search(rf"fn \w*{test}", code):
                    yield f"{path}: {command}: there is no test {test}"
