"""Starts the local stack, and holds its answers against docs/api/openapi.yaml.

Each request is sent, and the status, the headers, the content type and every field of the answer must be described.
Prints each difference, and exits with 1 when there is one.
"""

import json
import pathlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import yaml
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PRODUCT = "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11"
ORDER = {"user_id": "ada", "items": [{"product_id": PRODUCT, "quantity": 2, "price": 19.99}]}
PAYMENT = {"payment_id": "pay_1", "amount": 39.98}


class Api:
    """The description, and the stack that it is held against."""

    def __init__(self, description, url):
        self.description, self.url, self.calls, self.differences = description, url, 0, []
        root = Resource(contents=description, specification=DRAFT202012)
        self.registry = Registry().with_resource("urn:api", root)
        with urllib.request.urlopen(f"{url}/dev/stack") as answer:
            self.tokens = json.load(answer)["tokens"]

    def resolve(self, node):
        """What a reference within the description stands for."""
        while isinstance(node.get("$ref"), str):
            target = self.description
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def send(self, method, path, caller, body=None, **headers):
        """Status, headers and body of one answer."""
        request = urllib.request.Request(self.url + path, method=method)
        if caller:
            request.add_header("authorization", f"Bearer {self.tokens[caller]}")
        if body is not None:
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
            request.add_header("content-type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text = answer.read()
            is_json = answer.headers.get_content_subtype().endswith("json")
            return answer.status, answer.headers, (json.loads(text) if is_json else text.decode()) if text else None

    def call(self, status, method, path, caller, body=None, **headers):
        """Sends a request, holds the answer against the description, and gives its body."""
        self.calls += 1
        found, given, answer = self.send(method, path, caller, body, **headers)
        for difference in self.compare(status, method, path.partition("?")[0], found, given, answer):
            self.differences.append(f"{method} {path} as {caller}, {found}: {difference}")
        return answer

    def compare(self, expected, method, path, status, headers, answer):
        """What is not as described in one answer."""
        if status != expected:
            yield f"should be {expected}: {answer}"
        templates = self.description["paths"]
        route = next(t for t in templates if re.fullmatch(re.sub(r"{\w+}", "[^/]+", t), path))
        described = templates[route]["get" if method == "HEAD" else method.lower()]["responses"].get(str(status))
        if described is None:
            yield "the status is not described"
            return
        described = self.resolve(described)
        for name in described.get("headers", {}):
            if name not in headers and name != "Idempotency-Replayed":
                yield f"the header {name} is missing"
        if method == "HEAD" or "content" not in described:
            if answer is not None:
                yield f"there should be no body: {answer}"
            return
        media = described["content"].get(headers.get_content_type())
        if media is None:
            yield f"the content type {headers.get_content_type()} is not described"
            return
        schema = media["schema"]
        absolute = {"$ref": f"urn:api{schema['$ref']}"}
        validator = Draft202012Validator(absolute, registry=self.registry, format_checker=FormatChecker())
        yield from (f"{error.json_path}: {error.message}" for error in validator.iter_errors(answer))
        yield from (f"{place} is not described" for place in self.undescribed(schema, answer))

    def undescribed(self, schema, value, place="$"):
        """The fields of an answer that its schema does not name, where it names any."""
        schema = self.resolve(schema)
        if "allOf" in schema:
            parts = [self.resolve(part) for part in schema["allOf"]]
            schema = {"properties": {name: field for part in parts for name, field in part["properties"].items()}}
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from self.undescribed(schema.get("items", {}), item, f"{place}[{number}]")
        elif isinstance(value, dict) and "properties" in schema:
            for name, member in value.items():
                if name in schema["properties"]:
                    yield from self.undescribed(schema["properties"][name], member, f"{place}.{name}")
                else:
                    yield f"{place}.{name}"


def exercise(api):
    """Every route, with answers of every kind that a working service gives."""
    order = api.call(201, "POST", "/orders", "storefront", ORDER, Idempotency_Key="cart-1")["order_id"]
    api.call(201, "POST", "/orders", "storefront", ORDER, Idempotency_Key="cart-1")
    other = {**ORDER, "items": ORDER["items"] * 2}
    api.call(201, "POST", "/orders", "storefront", other)
    api.call(422, "POST", "/orders", "storefront", other, Idempotency_Key="cart-1")
    free = {"items": [{**ORDER["items"][0], "price": 0}]}
    api.call(422, "POST", "/orders", "storefront", free)
    api.call(400, "POST", "/orders", "storefront", {"items": []})
    api.call(400, "POST", "/orders", "storefront", b"{")
    api.call(401, "POST", "/orders", None, ORDER)
    api.call(403, "POST", "/orders", "customer", ORDER)
    api.call(413, "POST", "/orders", "storefront", b" " * 65 * 1024)
    api.call(415, "POST", "/orders", "storefront", ORDER, Content_Type="text/plain")
    api.call(415, "POST", "/orders", "storefront", ORDER, Content_Encoding="gzip")
    api.call(201, "POST", "/orders", "storefront", ORDER, Content_Type="application/json; charset=UTF8")
    api.call(412, "POST", "/orders", "storefront", ORDER, If_Match="*")
    api.call(422, "POST", "/orders", "storefront", {**ORDER, "user_id": "bob"}, Idempotency_Key="cart-1")
    api.call(400, "POST", "/orders", "storefront", {**ORDER, "user_id": None})

    path = f"/orders/{order}"
    api.call(409, "POST", f"{path}/ship", "fulfilment", {"tracking_number": "T1"})
    api.call(422, "POST", f"{path}/pay", "customer", {**PAYMENT, "amount": 1})
    api.call(404, "POST", f"{path}/pay", "other_customer", PAYMENT)
    api.call(412, "POST", f"{path}/pay", "customer", PAYMENT, If_Match='"7"')
    api.call(412, "POST", f"{path}/pay", "customer", PAYMENT, If_None_Match="*")
    api.call(200, "POST", f"{path}/pay", "customer", PAYMENT, If_Match='"1"')
    api.call(200, "GET", f"{path}?min_version=2", "customer")
    api.call(409, "GET", f"{path}?min_version=9", "customer")
    api.call(200, "GET", f"{path}?at_version=1", "customer")
    api.call(200, "GET", f"{path}?as_of=2999-01-01T00:00:00Z", "fulfilment")
    api.call(400, "GET", f"{path}?as_of=yesterday", "customer")
    api.call(404, "GET", path, "other_customer")
    api.call(200, "HEAD", path, "customer")
    api.call(404, "HEAD", path, "other_customer")
    for method in ("GET", "HEAD"):
        api.call(304, method, f"{path}?at_version=1", "customer", If_None_Match='W/"1"')
        api.call(412, method, f"{path}?at_version=1", "customer", If_Match='"7"')
        api.call(304, method, f"{path}/events", "customer", If_None_Match='"2"')
        api.call(304, method, "/users/ada/orders", "customer", If_None_Match="*")
    api.call(400, "GET", path, "customer", If_None_Match="1")
    api.call(200, "GET", "/orders?status=paid", "fulfilment")
    api.call(400, "GET", "/orders?status=cancelled", "fulfilment")
    api.call(403, "GET", "/orders?status=paid", "customer")
    api.call(400, "POST", f"{path}/ship", "fulfilment", {"tracking_number": "T 1"})
    api.call(200, "POST", f"{path}/ship", "fulfilment", {"tracking_number": "T1"})
    api.call(409, "POST", f"{path}/pay", "customer", {**PAYMENT, "payment_id": "pay_2"})
    api.call(200, "POST", f"{path}/cancel", "customer", {"reason": "Changed my mind"})
    api.call(409, "POST", f"{path}/deliver", "fulfilment")
    api.call(200, "GET", f"{path}?min_version=5", "customer")
    api.call(200, "GET", f"{path}/events?limit=2", "customer")
    api.call(200, "GET", f"{path}/events", "fulfilment")
    api.call(404, "GET", f"{path}/events", "other_customer")
    api.call(200, "GET", "/users/ada/orders?limit=1", "customer")
    api.call(404, "GET", "/users/ada/orders", "other_customer")
    api.call(400, "GET", "/users/ada/orders?cursor=made-up", "customer")

    delivered = api.call(201, "POST", "/orders", "storefront", ORDER)["order_id"]
    api.call(200, "POST", f"/orders/{delivered}/pay", "storefront", PAYMENT)
    api.call(200, "POST", f"/orders/{delivered}/ship", "admin", {"tracking_number": "T2"})
    api.call(200, "POST", f"/orders/{delivered}/deliver", "fulfilment", {})
    api.call(200, "GET", f"/orders/{delivered}?min_version=4", "customer")

    for mode, status in [("declines", 422), ("down", 202), ("ok", 200)]:
        api.send("POST", "/dev/payments", None, {"mode": mode})
        waits = api.call(201, "POST", "/orders", "storefront", ORDER)["order_id"]
        api.call(status, "POST", f"/orders/{waits}/pay", "customer", PAYMENT)
        api.call(200, "GET", "/ops/status", "admin")
    api.call(403, "GET", "/ops/status", "customer")
    override = "/ops/breakers/payments/override"
    for state in ("closed", "open", "none"):
        api.call(200, "PUT", override, "admin", {"state": state, "reason": "A drill"})
        api.call(200, "GET", "/ops/status", "admin")
    api.call(200, "PUT", override, "admin", {"state": "open", "reason": "A drill", "until": "2999-01-01T00:00:00Z"})
    api.call(400, "PUT", override, "admin", {"state": "open", "reason": "A drill", "until": "2020-01-01T00:00:00Z"})
    api.call(403, "PUT", override, "customer", {"state": "open", "reason": "A drill"})
    api.call(404, "PUT", "/ops/breakers/shipping/override", "admin", {"state": "open", "reason": "A drill"})
    api.call(412, "PUT", override, "admin", {"state": "open", "reason": "A drill"}, If_Match='"1"')

    span = "/reports/sales?from=2026-01-01&to=2026-12-31"
    api.call(200, "GET", span, "admin")
    api.call(200, "GET", span, "admin", Accept="text/csv")
    api.call(200, "HEAD", span, "admin", Accept="text/csv")
    api.call(406, "GET", span, "admin", Accept="text/html")
    api.call(400, "GET", "/reports/sales?from=2026-01-01", "admin")
    api.call(403, "GET", span, "fulfilment")
    api.call(304, "GET", span, "admin", If_None_Match="*")
    api.call(412, "GET", span, "admin", If_Match='"1"')


def main():
    """Runs the stack for as long as it takes."""
    description = yaml.safe_load(pathlib.Path("docs/api/openapi.yaml").read_text(encoding="utf-8"))
    command = ["cargo", "run", "--locked", "--quiet", "--", "--port", "0"]
    # What cargo and the functions write would bury what is said here.
    log = pathlib.Path("target/check-answers.log")
    with log.open("w", encoding="utf-8") as errors:
        stack = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        urls = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in stack.stdout)
        url = next((found.group() for found in urls if found), None)
        if url is None:
            print(f"the local stack did not start:\n{log.read_text(encoding='utf-8')}")
            return 1
        api = Api(description, url)
        exercise(api)
    finally:
        stack.send_signal(signal.SIGINT)
        stack.communicate(timeout=60)
    print("\n".join(api.differences) or f"{api.calls} answers are as described")
    return 1 if api.differences else 0


if __name__ == "__main__":
    sys.exit(main())
