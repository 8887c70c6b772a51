"""Checks that the bill of materials is valid CycloneDX and lists every crate of the functions' binaries, each with its source."""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import sbom

# They have no archive with a checksum.
BUILT_HERE = ("?download_url=", "pkg:generic/rust-std@")


def problems(bill):
    invalid = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))
    if invalid:
        yield f"not valid: {invalid}"
    functions = bill["metadata"]["component"]
    listed = {it["bom-ref"]: it for it in [functions, *bill["components"]]}
    lines = sbom.output(*sbom.TREE, "--prefix", "none").splitlines()
    crates = {"@".join(line.split()[:2]).replace("@v", "@") for line in lines if line}
    yield from (f"{crate} is linked and not listed" for crate in sorted(crates - listed.keys()))
    yield from (f"{it} is listed and not linked" for it in sorted(listed.keys() - crates) if not it.startswith("std@"))
    for name, it in listed.items():
        wanted = {"version", "purl", "licenses"} | (set() if any(mark in it["purl"] for mark in BUILT_HERE) else {"hashes"})
        yield from (f"{name} has no {member}" for member in sorted(wanted) if not it.get(member))
    if not functions["components"]:
        yield "it names no function"


def main():
    bill = sbom.bill()
    found = list(problems(bill))
    excluded = sum(it["scope"] == "excluded" for it in bill["components"])
    print("\n".join(found) or f"{len(bill['components']) - excluded} components are linked, {excluded} only run in the compiler.")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
