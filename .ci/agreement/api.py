"""docs/api/openapi.yaml: routes and scopes, the responses of each kind of operation, statuses, and the fields of orders."""

import pathlib
import re

from .functions import functions

METHODS = ("get", "post", "put", "patch", "delete")


def problems(template, api, vocabulary):
    """All of it."""
    yield from routes(template, api)
    yield from responses(api)
    yield from statuses(api, vocabulary)
    yield from views(api, vocabulary)


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


def statuses(api, vocabulary):
    """Lists of statuses that lack one: in the API description, and in the prose of all documents."""
    every, opened = vocabulary["statuses"], vocabulary["open_statuses"]
    schemas, parameters = api["components"]["schemas"], api["components"]["parameters"]
    figures = schemas["SalesFigures"]["properties"]
    listed_in = {
        "the schema Status": (schemas["Status"]["enum"], every),
        "the parameter OpenStatus": (parameters["OpenStatus"]["schema"]["enum"], opened),
        "the orders in SalesFigures": (list(figures["orders"]["properties"]), every),
        "the required orders in SalesFigures": (figures["orders"]["required"], every),
        "SalesFigures": (figures.keys() - {"orders", "revenue"}, set(vocabulary["sales_figures"]) - set(every)),
    }
    for where, (listed, expected) in listed_in.items():
        if sorted(listed) != sorted(expected):
            yield f"docs/api/openapi.yaml: {where} has {sorted(listed)}, the code has {sorted(expected)}"
    one = f"[`*]*(?:{'|'.join(every)})[`*]*"
    texts = [pathlib.Path("README.md"), pathlib.Path("template.yaml"), pathlib.Path("docs/api/openapi.yaml")]
    for path in [*texts, *pathlib.Path("docs").glob("*.md")]:
        text = " ".join(path.read_text(encoding="utf-8").split())
        for found in re.findall(rf"{one}(?:(?:, and |, or |, | and | or | · ){one}){{2,}}", text):
            listed = re.findall("|".join(every), found)
            if sorted(listed) not in (sorted(every), sorted(opened)):
                yield f"{path} lists neither all statuses nor the open ones: {found}"


def views(api, vocabulary):
    """Fields of orders that only one of the code and the API description has, or that only one says are always there."""
    for name, view in [("Order", vocabulary["order"]), ("OrderSummary", vocabulary["order_summary"])]:
        yield from different(api, api["components"]["schemas"][name], view, name)


def different(api, schema, view, place):
    """Where a schema of the API description has other fields than that of the code."""
    while "$ref" in schema:
        schema = api["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    view = next((choice for choice in view.get("anyOf", []) if choice.get("type") != "null"), view)
    if "items" in view:
        yield from different(api, schema.get("items", {}), view["items"], f"{place}[]")
    here, there = schema.get("properties", {}), view.get("properties", {})
    for name in sorted(here.keys() ^ there.keys()):
        yield f"docs/api/openapi.yaml: {place}.{name} is {'not in the code' if name in here else 'not described'}"
    for name in sorted(set(schema.get("required", [])) ^ set(view.get("required", []))):
        yield f"docs/api/openapi.yaml: {place}.{name} is required in one of the description and the code only"
    for name in sorted(here.keys() & there.keys()):
        yield from different(api, here[name], there[name], f"{place}.{name}")
