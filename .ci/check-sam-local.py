"""Invokes each function with each of its files in events/, as `sam local invoke` does, and checks the responses.

Usage: check-sam-local.py [DIRECTORY-OF-EVENTS]

The SAM CLI itself reads the template, `env-vars.json` and the events, and its Lambda Runtime Interface Emulator runs the
functions. Two things differ from `sam local invoke`: there is no container, so the emulator runs the binaries of the debug
build on this machine; and the addresses in `env-vars.json` are those of a local stack that is started for the check.
Then each route is called through `sam local start-api`, which has no JWT authorizer: each response has to be 401.

Prints each difference, and exits with 1 when there is one. Needs the binaries that the tests build.
"""

import http.client
import io
import json
import logging
import os
import pathlib
import platform
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request

import boto3
import samcli
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from samcli.commands.local.lib.local_lambda import LocalLambdaRunner
from samcli.lib.providers.api_provider import ApiProvider
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from samcli.lib.utils.stream_writer import StreamWriter
from samcli.local.apigw.local_apigw_service import LocalApigwService

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
BINARIES, WORK = TARGET.resolve() / "debug", TARGET / "sam-local"
MACHINE = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
EMULATOR = pathlib.Path(samcli.__file__).parent / "local" / "rapid" / f"aws-lambda-rie-{MACHINE}"
PATIENCE_SECONDS = 30

# The order of the events, whose id follows from the idempotency key in create-order.json.
ORDER = "7fb35858-9b1d-5c20-a5a1-a015e0ccb1e2"
PROCESSED = {"batchItemFailures": []}
UP_TO_DATE = {"done": int, "parked": 0, "failed": 0, "left": int}
SEGMENT = {"segment": 0, "total_segments": 8, "model": "orders"}


def problem(name):
    """The body of an error response."""
    return {"type": f"urn:orders:problem:{name}"}


def at(version, status):
    """The body of a response about the order."""
    return {"order_id": ORDER, "version": version, "status": status}


LISTED = {"orders": [at(2, "paid")], "next_cursor": None}
STORED = ["OrderCreated", "OrderPaid", "OrderShipped", "OrderDelivered", "OrderReturned", "OrderRefundDue"]
STORED += ["OrderRefundDue", "OrderRefunded"]

# What each event has to lead to, in the order in which they are sent. Of an HTTP response: the status and a part of the
# body, whose form is that of the API description; of any other: all of it.
EXPECTED = {
    "create-order": (201, at(1, "pending") | {"total": 44.98}),
    "get-order-at-version": (200, at(1, "pending") | {"user_id": "ada"}),
    "pay-order": (200, at(2, "paid")),
    "get-order": (200, {"order_id": ORDER}),
    "get-order-min-version": (200, at(2, "paid")),
    # The order was created after that time.
    "get-order-as-of": (404, problem("not-found")),
    "list-orders": (200, LISTED),
    "list-user-orders": (200, LISTED),
    "ship-order": (200, at(3, "shipped")),
    "deliver-order": (200, at(4, "delivered")),
    "return-order": (200, at(6, "returned")),
    "cancel-order": (409, problem("order-not-cancellable")),
    # A second payment becomes due for refund, is refunded, and its failure changes nothing. The others are REJECTED.
    "on-payment-event": None,
    "on-payment-event-refund": None,
    "on-payment-event-failed": None,
    "on-payment-event-currency": None,
    "on-shipment-event": None,
    "on-shipment-event-delivered": None,
    "order-history": (200, {"events": [{"version": n, "type": name} for n, name in enumerate(STORED, 1)]}),
    "sales-report": (200, {"from": "2026-11-01", "to": "2026-11-30", "currency": "EUR"}),
    "ops-status": (200, {"deferred_payments": {"waiting": 0}}),
    "override-breaker": (200, {"name": "payments", "state": "open"}),
    "project-orders": PROCESSED,
    "project-orders-altered": PROCESSED,
    "project-orders-poison": PROCESSED,
    "publish-events": PROCESSED,
    "republish": {"published": len(STORED), "unpublished": 0, "done": True},
    "republish-span": {"published": 0, "unpublished": 0, "done": True},
    "rebuild-orders": SEGMENT | {"progress": {"done": True, "unprojectable": 0, ...: ...}},
    "verify-orders": SEGMENT | {"progress": {"done": True, "different": 0, ...: ...}},
    "restore-events": {"dry_run": True, "progress": {"done": True, "copied": 0, "damaged": 0, ...: ...}, ...: ...},
    "catch-up-read-models": {"orders": UP_TO_DATE, "sales": UP_TO_DATE},
    "expire-orders": {"cancelled": 0, "left": 0, "failed": 0},
    "settle-payments": {"waiting": 0, "failed": 0, "circuit_open": False, ...: ...},
    "settle-payments-check": {"provider": "trusted", "detail": None},
}
# The ids of the events that have to be published as rejected.
REJECTED = {"evt_9c4d1e", "shp-771-1", "shp-771-2"}
# What may be logged at level ERROR, by function: the events that show what goes wrong.
ERRORS = {"ProjectOrders": {"a stored event was modified", "stream parked"}}


def free_port():
    """An unused port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def difference(expected, found, place="response"):
    """The first difference of a value from what is expected, if there is one. In an object, `...` allows other fields."""
    if isinstance(expected, type):
        return None if isinstance(found, expected) else f"{place} is {found!r}"
    if isinstance(expected, dict) and isinstance(found, dict):
        if missing := [name for name in expected if name is not ... and name not in found]:
            return f"{place} has no {missing[0]}"
        if ... not in expected and (more := sorted(found.keys() - expected.keys())):
            return f"{place} has {more[0]}, which was not expected"
        parts = ((expected[name], found[name], f"{place}.{name}") for name in expected if name is not ...)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        parts = ((one, other, f"{place}[{n}]") for n, (one, other) in enumerate(zip(expected, found)))
    else:
        return None if expected == found else f"{place} is {found!r}, not {expected!r}"
    return next((text for part in parts if (text := difference(*part))), None)


def part_of(value):
    """The same, with other fields allowed in every object."""
    if isinstance(value, dict):
        return {name: part_of(field) for name, field in value.items()} | {...: ...}
    return [part_of(item) for item in value] if isinstance(value, list) else value


class Description:
    """The API description."""

    def __init__(self):
        self.text = yaml.safe_load(pathlib.Path("docs/api/openapi.yaml").read_text(encoding="utf-8"))
        self.registry = Registry().with_resource("urn:api", Resource(contents=self.text, specification=DRAFT202012))

    def differences(self, route, response):
        """Differences of a response from the description of its route."""
        method, path = route.split(" ")
        described = self.text["paths"][path][method.lower()]["responses"].get(str(response["statusCode"]))
        if described is None:
            return [f"the status {response['statusCode']} is not described"]
        if "$ref" in described:
            described = self.text["components"]["responses"][described["$ref"].rpartition("/")[2]]
        media = described["content"].get(response["headers"]["content-type"])
        if media is None:
            return [f"the content type {response['headers']['content-type']} is not described"]
        validator = Draft202012Validator({"$ref": f"urn:api{media['schema']['$ref']}"}, registry=self.registry)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(json.loads(response["body"]))]


class Emulators:
    """A Lambda Runtime Interface Emulator for each function, where the SAM CLI has its containers."""

    def __init__(self, binaries):
        self.binaries, self.ports, self.processes = binaries, {}, []

    def start(self, config):
        """Starts the emulator of a function, and returns its port."""
        port = free_port()
        command = [EMULATOR, "--log-level", "error", "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
        command += ["--runtime-api-address", f"127.0.0.1:{free_port()}", BINARIES / self.binaries[config.name]]
        with (WORK / f"{config.name}.log").open("w", encoding="utf-8") as log:
            # The access key names the role, whose events the policy of the bus accepts.
            env = config.env_vars.resolve() | {"AWS_ACCESS_KEY_ID": f"{config.name}Role"}
            self.processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
        return port

    def invoke(self, config, event, *_, stdout, **__):
        """Sends an event to a function, and writes its response: what the SAM CLI calls."""
        if config.name not in self.ports:
            self.ports[config.name] = self.start(config)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[config.name], timeout=PATIENCE_SECONDS)
            try:
                connection.request("POST", "/2015-03-31/functions/function/invocations", body=event)
                stdout.write_str(connection.getresponse().read().decode())
                return
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    sys.exit(f"the emulator of {config.name} did not start")
                time.sleep(0.02)
            finally:
                connection.close()

    def stop(self):
        """Ends all of them."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=10)


class Stack:
    """The local stack: the tables and the bus."""

    def __enter__(self):
        command = [BINARIES / "orders-local", "--binaries", BINARIES, "--port", "0"]
        with (WORK / "stack.log").open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        urls = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in self.process.stdout)
        url = next((found.group() for found in urls if found), None)
        if url is None:
            sys.exit(f"the local stack did not start:\n{(WORK / 'stack.log').read_text(encoding='utf-8')}")
        self.url, self.about = url, self.get(f"{url}/dev/stack")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)

    @staticmethod
    def get(url):
        """The JSON at an address."""
        with urllib.request.urlopen(url) as response:
            return json.load(response)

    def env_vars(self):
        """The file that samconfig.toml names, with the addresses of this stack."""
        config = tomllib.loads(pathlib.Path("samconfig.toml").read_text(encoding="utf-8"))
        path = config["default"]["local_invoke"]["parameters"]["env_vars"]
        variables = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        for service in ("dynamodb", "eventbridge"):
            variables["Parameters"][f"AWS_ENDPOINT_URL_{service.upper()}"] = self.about[service]
        return variables

    def restored_table(self, name):
        """An empty table of the form of the event table."""
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        dynamodb = boto3.client("dynamodb", endpoint_url=self.about["dynamodb"], region_name="eu-central-1", **keys)
        table = dynamodb.describe_table(TableName="OrderEvents")["Table"]
        shape = {member: table[member] for member in ("KeySchema", "AttributeDefinitions")}
        dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **shape)

    def rejected(self):
        """The ids of the events that were published as rejected."""
        entries = [entry["event"] for entry in self.get(f"{self.url}/dev/events")["entries"] if "event" in entry]
        rejections = [event["detail"]["data"] for event in entries if event["detail-type"] == "OrderCommandRejected"]
        return {data["event_id"] for data in rejections}


def responses(runner, binaries, directory):
    """Each event with what its function has responded to it."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    for name in [*EXPECTED, *sorted(texts.keys() - EXPECTED.keys())]:
        # Longest names first, as the events are assigned to the functions.
        owners = [function for function, binary in binaries.items() if f"{name}-".startswith(f"{binary}-")]
        function, response = max(owners, key=lambda owner: len(binaries[owner])), io.StringIO()
        runner.invoke(function, texts[name], stdout=StreamWriter(response))
        try:
            yield name, json.loads(texts[name]), json.loads(response.getvalue())
        except ValueError:
            sys.exit(f"{function} did not start for {name}: {(WORK / f'{function}.log').read_text(encoding='utf-8')}")


def problems_of_events(runner, binaries, directory):
    """Responses that are not as expected."""
    description = Description()
    for name, event, response in responses(runner, binaries, directory):
        expected = EXPECTED.get(name, "not in this check: add it to EXPECTED")
        if "routeKey" in event and isinstance(expected, tuple) and "statusCode" in response:
            yield from (f"{name}: {text}" for text in description.differences(event["routeKey"], response))
            expected = part_of(dict(zip(("status", "body"), expected)))
            response = {"status": response["statusCode"], "body": json.loads(response["body"])}
        if text := difference(expected, response):
            yield f"{name}: {text} in {json.dumps(response)}"


def problems_of_routes(runner, stacks):
    """Routes that respond to a request without claims."""
    api = ApiProvider(stacks, cwd=".").api
    service = LocalApigwService(api, runner, port=0, host="127.0.0.1")
    service.create()
    requests = service._app.test_client()  # noqa: SLF001, the part of it that binds no port
    for route in api.routes:
        path = re.sub(r"\{\w+\}", ORDER, route.path)
        for method in set(route.methods) - {"OPTIONS"}:
            status = requests.open(path, method=method, headers={"authorization": "Bearer any"}).status_code
            if status != 401:
                yield f"start-api: {method} {path} is {status} without claims"


def problems_of_logs():
    """Panics and errors in the output of the functions."""
    for path in sorted(WORK.glob("[A-Z]*.log")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("{"):
                logged = json.loads(line)
                wrong = logged.get("level") == "ERROR" and logged["message"] not in ERRORS.get(path.stem, ())
            else:
                wrong = not re.match(r"(START|END|REPORT) RequestId: |$", line)
            if wrong:
                yield f"{path.stem} logged {line}"


def main():
    """Prints what is wrong."""
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "events")
    WORK.mkdir(parents=True, exist_ok=True)
    for log in WORK.glob("*.log"):
        log.unlink()
    os.environ["AWS_DEFAULT_REGION"] = "eu-central-1"
    # It would report for each route that there is no JWT authorizer.
    logging.getLogger("samcli").setLevel(logging.ERROR)
    stacks, _ = SamLocalStackProvider.get_stacks("template.yaml")
    functions = SamFunctionProvider(stacks, use_raw_codeuri=True, ignore_code_extraction_warnings=True)
    binaries = {function.name: function.metadata["BuildProperties"]["Binary"] for function in functions.get_all()}
    emulators = Emulators(binaries)
    with Stack() as stack:
        stack.restored_table("orders-restored-2026-11-28")
        runner = LocalLambdaRunner(emulators, functions, ".", ".", env_vars_values=stack.env_vars())
        try:
            lines = [*problems_of_events(runner, binaries, directory), *problems_of_routes(runner, stacks)]
        finally:
            emulators.stop()
        if REJECTED != (rejected := stack.rejected()):
            lines.append(f"published as rejected: {sorted(rejected)}")
    lines += problems_of_logs()
    lines += [f"no event invoked {function}" for function in sorted(binaries.keys() - emulators.ports.keys())]
    print("\n".join(lines) or f"{len(EXPECTED)} events led to what they should, in {len(binaries)} functions")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
