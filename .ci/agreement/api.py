"""docs/api/openapi.yaml: routes and scopes, the responses of each kind of operation, statuses, and the fields of orders."""

import pathlib
import re
import sys

from .functions import functions

METHODS = ("get", "post", "put", "patch", "delete")


def problems(template, api):
    """All of it."""
    yield from routes(template, api)
    yield from responses(api)
    yield from statuses(api)
    yield from views(api)


def operations(api):
    """Method, path and description of every operation."""
    for path, item in api["paths"].items():
        yield from ((method, path, operation) for method, operation in item.items() if method in METHODS)


def described(api):
    """The routes (method, path) of the API description, with their scopes without prefix.

    It says once for all of them that HEAD is answered wherever GET is.
    """
    for method, path, operation in operations(api):
        scopes = [scope for need in operation["security"] for scope in need["jwt"]]
        for name in ("GET", "HEAD") if method == "get" else (method.upper(),):
            yield (name, path), {scope.split(":")[-1] for scope in scopes}


def routes(template, api):
    """Routes that only one of the two has, or that differ in their scopes."""
    there = {(method, path): scopes for _, _, routes, _ in functions(template) for method, path, scopes in routes}
    here = dict(described(api))
    for route in sorted(there.keys() | here.keys()):
        if there.get(route) != here.get(route):
            yield f"{' '.join(route)}: the template has {there.get(route)}, the API description {here.get(route)}"


def expected_responses(method, path, operation):
    """The statuses of errors that every operation of this kind has."""
    yield from ("400", "401", "403", "412", "429", "500", "503")
    if method == "get":
        yield "304"
    else:
        yield from ("413", "415")
    if "{" in path:
        yield "404"
    if "commands" in operation["tags"]:
        yield from ("409", "422")


def responses(api):
    """Responses that an operation lacks, though all of its kind have them."""
    for method, path, operation in operations(api):
        missing = set(expected_responses(method, path, operation)) - operation["responses"].keys()
        yield from (f"docs/api/openapi.yaml: {method.upper()} {path} has no response {status}" for status in sorted(missing))


def statuses_of_the_code():
    """The variants of the enum Status, as they are written on the wire."""
    folder = pathlib.Path("core/orders/src/domain")
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.rs"))
    variants = re.search(r"^pub enum Status \{\n(.*?)^\}", code, re.MULTILINE | re.DOTALL)
    if not variants:
        sys.exit("core/orders/src/domain has no `pub enum Status`, which the statuses are read from")
    return [name.lower() for name in re.findall(r"^    (\w+),$", variants.group(1), re.MULTILINE)]


def statuses(api):
    """Lists of statuses that lack one: in the API description, and in the prose of all documents."""
    every = statuses_of_the_code()
    schemas, opened = api["components"]["schemas"], api["components"]["parameters"]["OpenStatus"]["schema"]["enum"]
    orders = schemas["SalesFigures"]["properties"]["orders"]
    for where, listed in [
        ("the schema Status", schemas["Status"]["enum"]),
        ("the properties of orders in SalesFigures", list(orders["properties"])),
        ("the required properties of orders in SalesFigures", orders["required"]),
    ]:
        if sorted(listed) != sorted(every):
            yield f"docs/api/openapi.yaml: {where} has {listed}, the code has {every}"
    one = f"[`*]*(?:{'|'.join(every)})[`*]*"
    texts = [pathlib.Path("README.md"), pathlib.Path("template.yaml"), pathlib.Path("docs/api/openapi.yaml")]
    for path in [*texts, *pathlib.Path("docs").glob("*.md")]:
        text = " ".join(path.read_text(encoding="utf-8").split())
        for found in re.findall(rf"{one}(?:(?:, and |, or |, | and | or | · ){one}){{2,}}", text):
            listed = re.findall("|".join(every), found)
            if sorted(listed) not in (sorted(every), sorted(opened)):
                yield f"{path} lists neither all statuses nor the open ones: {found}"


def views(api):
    """Fields of orders that only one of the code and the API description has, or that only one says are always there."""
    code = pathlib.Path("core/orders/src/read_model/view.rs").read_text(encoding="utf-8")
    schemas = api["components"]["schemas"]
    refund = schemas["Order"]["properties"]["refunds"]["items"]
    shown = {"OrderView": schemas["Order"], "ItemView": schemas["Item"], "RefundView": refund}
    for name, schema in [*shown.items(), ("OrderSummary", schemas["OrderSummary"])]:
        struct = re.search(rf"^pub struct {name}\b.*?{{\n(.*?)^}}", code, re.MULTILINE | re.DOTALL)
        if not struct:
            yield f"core/orders/src/read_model/view.rs has no {name}, which the fields of orders are read from"
            continue
        fields = re.findall(r"((?:#\[serde\(.*\)\]\n    )?)pub (\w+):", struct.group(1))
        always = {field for serde, field in fields if "skip_serializing_if" not in serde}
        for different, what in [
            ({field for _, field in fields} ^ set(schema["properties"]), "are"),
            (always ^ set(schema["required"]), "are always"),
        ]:
            if different:
                yield f"docs/api/openapi.yaml: {sorted(different)} {what} in one of the schema and {name} only"
