"""Writes the bill of materials of the functions' binaries, CycloneDX 1.6: `python3 .ci/sbom.py > sbom.json`.

It lists what `cargo tree` says is linked for the deployed platform: no dependency of tests, of the local stack or of build
scripts. Procedural macros only run in the compiler, and have the scope "excluded". Needs cargo and git, and no package. The
same commit gives the same file.
"""

import json
import pathlib
import re
import subprocess
import tomllib
import uuid

PACKAGE = "orders-functions"
# The architecture of the template.
PLATFORM = "aarch64-unknown-linux-gnu"
TREE = ("cargo", "tree", "--locked", "--package", PACKAGE, "--edges", "normal", "--target", PLATFORM)
LINE = re.compile(r"(?P<depth>\d*)(?P<name>\S+) v(?P<version>\S+)(?P<macro> \(proc-macro\))?")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tree():
    """Which crate depends on which, and which of them are procedural macros."""
    dependencies, macros, above = {}, set(), []
    for line in output(*TREE, "--prefix", "depth").splitlines():
        found = LINE.match(line)
        crate = (found["name"], found["version"])
        above[int(found["depth"]) :] = [crate]
        dependencies.setdefault(crate, set())
        if len(above) > 1:
            dependencies[above[-2]].add(crate)
        if found["macro"]:
            macros.add(crate)
    return dependencies, macros


def linked(dependencies, macros, root):
    """The crates that are in the binaries: those that are not only needed by procedural macros."""
    found, pending = set(), [root]
    while pending:
        crate = pending.pop()
        if crate not in found and crate not in macros:
            found.add(crate)
            pending += dependencies[crate]
    return found


def component(package, checksum, top):
    """A crate. One of this repository is named by its folder, as nothing is published under its name."""
    name, version = package["name"], package["version"]
    folder = pathlib.Path(package["manifest_path"]).parent
    own = "" if package["source"] else f"?download_url=file:%2F%2F.#{folder.relative_to(top).as_posix()}"
    described = {
        "type": "library",
        "bom-ref": f"{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:cargo/{name}@{version}{own}",
        "licenses": [{"expression": package["license"].replace("/", " OR ")}],
    }
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return described


def bill():
    metadata = json.loads(output("cargo", "metadata", "--locked", "--format-version", "1"))
    lock = tomllib.loads(pathlib.Path("Cargo.lock").read_text(encoding="utf-8"))
    checksums = {(it["name"], it["version"]): it.get("checksum") for it in lock["package"]}
    packages = {(it["name"], it["version"]): it for it in metadata["packages"]}
    dependencies, macros = tree()
    root = next(crate for crate in dependencies if crate[0] == PACKAGE)
    required = linked(dependencies, macros, root)
    top = metadata["workspace_root"]
    components = []
    for crate in sorted(dependencies.keys() - {root}):
        scope = {"scope": "required" if crate in required else "excluded"}
        components.append(component(packages[crate], checksums[crate], top) | scope)
    rust = tomllib.loads(pathlib.Path("rust-toolchain.toml").read_text(encoding="utf-8"))["toolchain"]["channel"]
    library = {"type": "library", "bom-ref": f"std@{rust}", "name": "std", "version": rust, "scope": "required"}
    library |= {"purl": f"pkg:generic/rust-std@{rust}", "licenses": [{"expression": "MIT OR Apache-2.0"}]}
    binaries = sorted(it["name"] for it in packages[root]["targets"] if it["kind"] == ["bin"])
    commit, time = output("git", "log", "-1", "--format=%H %cI").split()
    functions = component(packages[root], None, top) | {
        "type": "application",
        "components": [{"type": "application", "bom-ref": name, "name": name} for name in binaries],
        "properties": [{"name": "git:commit", "value": commit}, {"name": "cargo:target", "value": PLATFORM}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, commit)}",
        "version": 1,
        "metadata": {"timestamp": time, "component": functions},
        "components": [library, *components],
        "dependencies": [
            {"ref": "@".join(crate), "dependsOn": sorted("@".join(it) for it in needed)}
            for crate, needed in sorted(dependencies.items())
        ],
    }


if __name__ == "__main__":
    print(json.dumps(bill(), indent=2))
