"""The actions of AWS that the local stack knows: cfn-lint knows each of them."""

import json
import pathlib

import cfnlint

TABLE = pathlib.Path("local/src/iam/actions.txt")
SOURCE = pathlib.Path(cfnlint.__file__).parent / "data/AdditionalSpecs/Policies.json"


def problems(_template):
    """Actions that do not exist."""
    known, service = {}, None
    for word in TABLE.read_text(encoding="utf-8").split():
        if word.endswith(":"):
            service = word[:-1]
        known.setdefault(service, set()).update([] if word.endswith(":") else [word])
    source = json.loads(SOURCE.read_text(encoding="utf-8"))
    for service, actions in known.items():
        exist = set(source[service]["Actions"])
        yield from (f"{TABLE}: {service}:{action} does not exist" for action in sorted(actions - exist))
