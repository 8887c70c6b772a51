"""Checks that each package is tested with the features that the whole workspace turns on, so that dependencies are built once.

Prints each dependency that `cargo test -p PACKAGE` would build with fewer features than `cargo test --workspace`.
The features missing are to be added to core/workspace-hack/Cargo.toml.
"""

import json
import subprocess
import sys

# Their few dependencies are built in seconds, and with the union they would build the whole workspace's.
SMALL = {"policy-text", "service-clock", "strict-json"}


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


def members():
    packages = json.loads(cargo("metadata", "--locked", "--no-deps", "--format-version", "1"))["packages"]
    return {package["name"] for package in packages}


def features(*selection):
    """The features of every crate that tests of these packages are built with, by name and version."""
    lines = cargo("tree", "--locked", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}|{f}", *selection)
    found = {}
    for line in lines.splitlines():
        crate, _, names = line.removesuffix(" (*)").partition("|")
        found.setdefault(" ".join(crate.split()[:2]), set()).update(filter(None, names.split(",")))
    return found


def problems():
    everything = features("--workspace")
    packages = members()
    for package in sorted(packages - SMALL - {"workspace-hack"}):
        for crate, names in features("--package", package).items():
            missing = everything[crate] - names
            if missing and crate.split()[0] not in packages:
                yield f"{package}: {crate} lacks {', '.join(sorted(missing))}"


def main():
    found = list(problems())
    print("\n".join(found) or "Every package is tested with the workspace's features.")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
