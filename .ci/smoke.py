"""Runs the smoke test of a deployment, and runs it again for each thing that it has to find."""

import base64
import contextlib
import http.server
import importlib.util
import json
import pathlib
import subprocess
import sys
import threading
import types

import boto3

PROGRAM = pathlib.Path(__file__).resolve().parent.parent / "tests" / "smoke.py"
TOPIC = "alerts"


class Issuer(http.server.BaseHTTPRequestHandler):
    """An OpenID issuer with one key."""

    name = None

    def do_GET(self):  # noqa: N802, the library's name
        keys = {"keys": [{"kty": "RSA", "kid": "1"}]}
        found = keys if self.path == "/keys" else {"issuer": self.name, "jwks_uri": f"http://{self.headers['host']}/keys"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_):
        pass

    @classmethod
    def start(cls):
        """Its name, which is its address."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), cls)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cls.name = f"http://127.0.0.1:{server.server_address[1]}"
        return cls.name


def notify():
    """The topic of the alarms, which somebody has subscribed to."""
    topic = boto3.client("sns").create_topic(Name=TOPIC)["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="alerts")["QueueUrl"]
    arn = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)


@contextlib.contextmanager
def attribute(holder, name, value):
    """Another value of an attribute for the duration of the block."""
    before = getattr(holder, name)
    setattr(holder, name, value)
    yield
    setattr(holder, name, before)


@contextlib.contextmanager
def variable(service, function, name, value):
    """Another value of an environment variable of a function."""
    function = service.ids[function]
    variables = service.functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    for values in (variables | {name: value}, variables):
        service.functions.update_function_configuration(FunctionName=function, Environment={"Variables": values})
        if values is not variables:
            yield


@contextlib.contextmanager
def without_policy(service, function):
    """A role without its policies."""
    iam, role = boto3.client("iam"), service.ids[f"{function}Role"]
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policies = {name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names}
    for name in policies:
        iam.delete_role_policy(RoleName=role, PolicyName=name)
    yield
    for name, document in policies.items():
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


@contextlib.contextmanager
def disabled(service, function):
    """A function whose mapping of the stream is disabled."""
    mapping = service.functions.list_event_source_mappings(FunctionName=service.ids[function])["EventSourceMappings"][0]
    for enabled in (False, True):
        service.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
        if not enabled:
            yield


@contextlib.contextmanager
def disabled_rule(service, name):
    """A rule of a schedule that is disabled."""
    service.bus.disable_rule(Name=service.ids[name])
    yield
    service.bus.enable_rule(Name=service.ids[name])


@contextlib.contextmanager
def without_subscribers():
    """The topic of the alarms, to which nobody has subscribed."""
    sns = boto3.client("sns")
    for subscription in sns.list_subscriptions()["Subscriptions"]:
        sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    yield
    notify()


def check(service, provider, stack, config):
    """Ends the program if the smoke test fails, or does not find what is wrong."""
    # The emulator gives an HTTP API no routes: problems_of_tokens checks that on the local stack.
    command = [sys.executable, PROGRAM, stack, "--skip", "api", "--config-env", "prod", "--config-file", config]

    def failed(*options):
        run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if run.stderr:
            sys.exit(run.stderr)
        lines = [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
        return [line.split(" ")[1].rstrip(":") for line in lines], run.stdout

    if (found := failed("--order"))[0]:
        sys.exit(f"the smoke test of a deployment that works:\n{found[1]}")
    wrong = {
        "currency": variable(service, "SalesReport", "CURRENCY", "USD"),
        "issuer": attribute(Issuer, "name", "https://issuer.example.com/"),
        "provider": attribute(provider, "status", 401),
        "permissions": without_policy(service, "ShipOrder"),
        "streams": disabled(service, "ProjectOrders"),
        "rules": disabled_rule(service, "SettlePaymentsClock"),
        "alarms": without_subscribers(),
        "requests": variable(service, "GetOrder", "ORDERS_TABLE", "none"),
    }
    for name, broken in wrong.items():
        with broken:
            names, text = failed()
        if names != [name]:
            sys.exit(f"the smoke test did not find that {name} is wrong, or more than that:\n{text}")
    names, text = failed("--expect", "Currency=JPY")
    if names != ["parameters"]:
        sys.exit(f"the smoke test did not find another currency:\n{text}")
    nobody = types.SimpleNamespace(parameters={"PaymentEventSources": "arn:aws:iam::123456789012:role/a", "ShippingEventSources": ""})
    lines = list(program().sources(nobody, None))
    if len(lines) != 1 or "set ShippingEventSources" not in lines[0]:
        sys.exit(f"the smoke test did not find that nobody may put events of shipping: {lines}")


def program():
    """The smoke test as a module."""
    spec = importlib.util.spec_from_file_location("program", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def forged(token, **changed):
    """A token with other claims, so that its signature is wrong."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims |= changed
    return ".".join([header, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), signature]), claims


def problems_of_tokens(url, tokens):
    """What the smoke test does not say about a token, in front of the API at that address."""
    api = program().api
    claims = forged(tokens["admin"])[1]
    audience = claims["aud"] if isinstance(claims["aud"], str) else ",".join(claims["aud"])
    parameters = {"JwtIssuer": claims["iss"], "JwtAudience": audience, "ScopePrefix": "orders:"}
    expected = [
        (tokens["admin"], None),
        (tokens["customer"], "the token has no scope orders:admin"),
        (forged(tokens["admin"], iss="https://other.example.com")[0], "the token's iss is 'https://other.example.com'"),
        (forged(tokens["admin"], aud="shop")[0], "the token is for 'shop'"),
        (forged(tokens["admin"], exp=1)[0], "the token has expired"),
    ]
    for token, message in expected:
        service = types.SimpleNamespace(outputs={"ApiUrl": url}, parameters=parameters)
        lines = list(api(service, types.SimpleNamespace(token=token)))
        if len(lines) != (message is not None) or not all(line.startswith(message) for line in lines):
            yield f"the smoke test says {lines}, not {message!r}"
    open_to_all = types.SimpleNamespace(outputs={"ApiUrl": f"{url}/dev/tokens/admin?"}, parameters=parameters)
    if not any("without a token is 200" in line for line in api(open_to_all, types.SimpleNamespace(token=None))):
        yield "the smoke test does not find that an API needs no token"
