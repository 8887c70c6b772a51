"""Starts the local stack, and compares its responses with docs/api/openapi.yaml.

The status, the headers, the content type, the problem type and every field of each response must be described. The other way
round, each operation must have answered with each of its 2xx statuses, each described field must have been in a response, and
each type of event in docs/events in an audit trail. Prints each difference, and exits with 1 when there is one.
"""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import smoke
import yaml
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PRODUCT = "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11"
ORDER = {"user_id": "ada", "items": [{"product_id": PRODUCT, "quantity": 2, "price": 19.99}]}
PAYMENT = {"payment_id": "pay_1", "amount": 39.98}
# Fields of an unreadable event and of a half-open circuit breaker: these checks produce neither.
RARE = (".parked", ".probes", ".probes.succeeded", ".probes.needed")


class Api:
    """The API description, and the stack that is compared with it."""

    def __init__(self, description, url):
        self.description, self.url, self.calls, self.differences = description, url, 0, []
        self.answered, self.fields, self.events = set(), set(), set()
        root = Resource(contents=description, specification=DRAFT202012)
        self.registry = Registry().with_resource("urn:api", root)
        with urllib.request.urlopen(f"{url}/dev/stack") as answer:
            self.tokens = json.load(answer)["tokens"]

    def resolve(self, node):
        """The target of a reference within the description."""
        while isinstance(node.get("$ref"), str):
            target = self.description
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def send(self, method, path, caller, body=None, **headers):
        """Status, headers and body of one response."""
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
        """Sends a request, compares the response with the description, and returns its body."""
        self.calls += 1
        found, given, answer = self.send(method, path, caller, body, **headers)
        for difference in self.compare(status, method, path.partition("?")[0], found, given, answer):
            self.differences.append(f"{method} {path} as {caller}, {found}: {difference}")
        return answer

    def compare(self, expected, method, path, status, headers, answer):
        """Differences of one response from the description."""
        if status != expected:
            yield f"should be {expected}: {answer}"
        templates = self.description["paths"]
        route = next(t for t in templates if re.fullmatch(re.sub(r"{\w+}", "[^/]+", t), path))
        operation = templates[route]["get" if method == "HEAD" else method.lower()]
        self.answered.add((operation["operationId"], str(status)))
        described = operation["responses"].get(str(status))
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
        problem = answer["type"].rpartition(":")[2] if "problem" in headers.get_content_type() else None
        if problem and f"`{problem}`" not in described["description"]:
            yield f"the description of the status does not name {problem}"
        absolute = {"$ref": f"urn:api{schema['$ref']}"}
        validator = Draft202012Validator(absolute, registry=self.registry, format_checker=FormatChecker())
        yield from (f"{error.json_path}: {error.message}" for error in validator.iter_errors(answer))
        place = operation["operationId"] if status < 300 else "problem"
        yield from (f"{field} is not described" for field in self.undescribed(schema, answer, place))
        if operation["operationId"] == "getOrderEvents" and status == 200:
            yield from self.undescribed_events(answer["events"])

    def undescribed(self, schema, value, place):
        """The fields of a response that its schema does not name, if it names any."""
        schema = self.flat(schema)
        if isinstance(value, list):
            for item in value:
                yield from self.undescribed(schema.get("items", {}), item, f"{place}[]")
        elif isinstance(value, dict) and "properties" in schema:
            for name, member in value.items():
                if name in schema["properties"]:
                    self.fields.add(f"{place}.{name}")
                    yield from self.undescribed(schema["properties"][name], member, f"{place}.{name}")
                else:
                    yield f"{place}.{name}"

    def undescribed_events(self, events):
        """Differences of an event's data from docs/events."""
        for event in events:
            self.events.add(event["type"])
            schema = CATALOG[event["type"]]["properties"]["data"]["anyOf"][0]
            for error in Draft202012Validator(schema | {"additionalProperties": False}).iter_errors(event["data"]):
                yield f"{event['type']}: {error.json_path}: {error.message}"

    def flat(self, schema):
        """A schema with its references and its allOf resolved."""
        schema = self.resolve(schema)
        if "allOf" in schema:
            parts = [self.resolve(part) for part in schema["allOf"]]
            schema = {"properties": {name: field for part in parts for name, field in part["properties"].items()}}
        return schema

    def all_fields(self, schema, place):
        """Every field that a schema describes."""
        schema = self.flat(schema)
        if "items" in schema:
            yield from self.all_fields(schema["items"], f"{place}[]")
        for name, field in schema.get("properties", {}).items():
            yield f"{place}.{name}"
            yield from self.all_fields(field, f"{place}.{name}")

    def never_answered(self):
        """What is described, but was in no response."""
        for item in self.description["paths"].values():
            for operation in (it for it in item.values() if isinstance(it, dict)):
                name = operation["operationId"]
                for status, response in operation["responses"].items():
                    if not status.startswith("2"):
                        continue
                    if (name, status) not in self.answered:
                        yield f"{name}: {status} is described, and no response had it"
                    for media in self.resolve(response)["content"].values():
                        fields = set(self.all_fields(media["schema"], name)) - self.fields
                        described = (field for field in sorted(fields) if not field.endswith(RARE))
                        yield from (f"{field} is described, and no response had it" for field in described)
        yield from (f"{name} is in docs/events, and no audit trail had it" for name in sorted(CATALOG.keys() - self.events))


def catalog():
    """The newest schema of each event of an order."""
    schemas = {}
    for path in pathlib.Path("docs/events").glob("*.json"):
        name, _, number = path.stem.partition(".v")
        if name != "OrderCommandRejected" and int(number) >= schemas.get(name, (0,))[0]:
            schemas[name] = (int(number), json.loads(path.read_text(encoding="utf-8")))
    return {name: schema for name, (_, schema) in schemas.items()}


CATALOG = catalog()


def exercise(api):
    """Every route, with every kind of response of a working service."""
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
    components = api.description["components"]
    for status in components["schemas"]["Status"]["enum"]:
        opened = status in components["parameters"]["OpenStatus"]["schema"]["enum"]
        api.call(200 if opened else 400, "GET", f"/orders?status={status}", "fulfilment")
        api.call(200, "GET", f"/users/ada/orders?status={status}", "customer")
    api.call(403, "GET", "/orders?status=paid", "customer")
    api.call(400, "POST", f"{path}/ship", "fulfilment", {"tracking_number": "T 1"})
    api.call(200, "POST", f"{path}/ship", "fulfilment", {"tracking_number": "T1"})
    api.call(409, "POST", f"{path}/pay", "customer", {**PAYMENT, "payment_id": "pay_2"})
    api.call(200, "POST", f"{path}/cancel", "customer", {"reason": "Changed my mind"})
    api.call(409, "POST", f"{path}/deliver", "fulfilment")
    refund = {"order_id": order, "payment_id": "pay_1", "refund_id": "re_1", "amount": 39.98}
    event = {"source": "payments", "detail-type": "RefundCompleted", "detail": {"metadata": {}, "data": refund}}
    api.send("POST", "/dev/events", None, event)
    until(lambda: api.send("GET", f"{path}?min_version=6", "customer")[0] == 200)
    api.call(200, "GET", f"{path}?min_version=6", "customer")
    api.call(200, "GET", f"{path}/events?limit=2", "customer")
    api.call(200, "GET", f"{path}/events", "fulfilment")
    api.call(404, "GET", f"{path}/events", "other_customer")
    api.call(200, "GET", "/users/ada/orders?limit=1", "customer")
    api.call(404, "GET", "/users/ada/orders", "other_customer")
    api.call(400, "GET", "/users/ada/orders?cursor=made-up", "customer")

    live(api)

    for mode, status in [("declines", 422), ("down", 202), ("ok", 200)]:
        api.send("POST", "/dev/payments", None, {"mode": mode})
        waits = api.call(201, "POST", "/orders", "storefront", ORDER)["order_id"]
        api.call(status, "POST", f"/orders/{waits}/pay", "customer", PAYMENT)
        api.call(200, "GET", "/ops/status", "admin")
        api.call(200, "GET", f"/orders/{waits}/events", "customer")
        api.call(200, "GET", f"/orders/{waits}?min_version=2", "customer")
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


def live(api):
    """Sends each command of the description to one order, in their order, with their examples. Cancelling it is too late."""
    order = api.call(201, "POST", "/orders", "storefront", ORDER)["order_id"]
    version = 1
    for route, item in api.description["paths"].items():
        if not route.startswith("/orders/{id}/") or "post" not in item:
            continue
        example = item["post"]["requestBody"]["content"]["application/json"]["example"]
        too_late = item["post"]["operationId"] == "cancelOrder"
        answer = api.call(409 if too_late else 200, "POST", route.replace("{id}", order), "admin", example)
        version = answer.get("version", version)
    api.call(200, "GET", f"/orders/{order}?min_version={version}", "customer")
    api.call(200, "GET", f"/orders/{order}/events", "customer")


def until(holds):
    """Waits until it holds, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)


def main():
    """Runs the stack for the duration of the block."""
    description = yaml.safe_load(pathlib.Path("docs/api/openapi.yaml").read_text(encoding="utf-8"))
    command = ["cargo", "run", "--locked", "--quiet", "--", "--port", "0"]
    # The output of cargo and of the functions would hide the findings.
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
        api.differences += smoke.problems_of_tokens(url, api.tokens)
    finally:
        stack.send_signal(signal.SIGINT)
        stack.communicate(timeout=60)
    api.differences += api.never_answered()
    print("\n".join(api.differences) or f"{api.calls} answers are as described")
    return 1 if api.differences else 0


if __name__ == "__main__":
    sys.exit(main())
