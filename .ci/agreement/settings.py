"""Environment variables: each that the template sets is read, and each that the functions read is set."""

import pathlib
import re


def set_by(template):
    """The environment variables that the template sets."""
    functions = [template["Globals"]["Function"]]
    functions += [it["Properties"] for it in template["Resources"].values() if it["Type"] == "AWS::Serverless::Function"]
    return {name for function in functions for name in function.get("Environment", {}).get("Variables", {})}


def problems(template):
    """Variables that only one side knows."""
    files = (path for path in pathlib.Path("functions/src").rglob("*.rs") if "test" not in str(path))
    code = "".join(path.read_text(encoding="utf-8").partition("#[cfg(test)]\nmod tests")[0] for path in files)
    literals = set(re.findall(r'"([A-Z][A-Z0-9_]{3,})"', code))
    # Lambda and cargo set their own.
    read = {name for name in literals if "_" in name and not name.startswith(("AWS_", "CARGO_"))}
    yield from (f"template.yaml sets {name}, which no function reads" for name in set_by(template) - literals)
    yield from (f"template.yaml does not set {name}, which a function reads" for name in read - set_by(template))
