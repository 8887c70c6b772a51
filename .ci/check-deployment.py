"""Deploys the service with `sam deploy` to an emulator of AWS, and uses each of its functions there.

Usage: check-deployment.py MINISTACK-PROGRAM

The emulator, ministack, shares nothing with the local stack, and runs the state machine, which the local stack does not.
The environment is `prod` of samconfig.toml, with the values that it leaves to its operator, and one that has blanks in it.
Six things differ from a deployment to AWS: the binaries are those of the debug build for this machine, which must be there;
alarms on expressions, the archive, and policies of the bus are left out, since the emulator rejects them; so are conditions on
events; payment provider and issuer run here; and functions are invoked with the requests in `events/`, since the emulator gives
an HTTP API no routes. The smoke test runs as an operator runs it, and once more for each thing that it has to find.

Exits with 1 at the first failure.
"""

import datetime
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import smoke
from deployable import WORK, environment, template_file
from samtranslator.yaml_helper import yaml_parse

TOOLS = pathlib.Path(sys.executable).parent
STACK = "orders"
# For what happens after the response: the table's stream, the bus, the state machine.
PATIENCE_SECONDS = 60


def until(what, found):
    """The result of `found`, once it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := found()):
        if time.monotonic() > deadline:
            sys.exit(f"never: {what}")
        time.sleep(0.1)
    return value


class Deployment:
    """What was deployed, by the names of the template."""

    def __init__(self):
        cloudformation = boto3.client("cloudformation")
        stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
        self.parameters = {given["ParameterKey"]: given["ParameterValue"] for given in stack["Parameters"]}
        resources = cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
        self.ids = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
        functions = (resource for resource in resources if resource["ResourceType"] == "AWS::Lambda::Function")
        self.unused = {function["LogicalResourceId"] for function in functions}
        self.functions, self.dynamodb = boto3.client("lambda"), boto3.client("dynamodb")
        self.bus, self.queues = boto3.client("events"), boto3.client("sqs")
        self.machines, self.secrets = boto3.client("stepfunctions"), boto3.client("secretsmanager")

    def invoke(self, function, payload):
        """The response of a function, which must not fail."""
        self.unused.discard(function)
        answer = self.functions.invoke(FunctionName=self.ids[function], Payload=json.dumps(payload))
        text = answer["Payload"].read()
        if "FunctionError" in answer:
            sys.exit(f"{function} failed: {text}")
        return json.loads(text)

    def request(self, status, function, event):
        """The body of a function's response to a request."""
        answer = self.invoke(function, event)
        if answer["statusCode"] != status:
            sys.exit(f"{function}: {answer['statusCode']} instead of {status}: {answer['body']}")
        return json.loads(answer["body"])

    def row(self, order_id):
        """Status and version of an order's row."""
        row = self.dynamodb.get_item(TableName=self.ids["Orders"], Key={"order_id": {"S": order_id}}).get("Item")
        return row and (row["status"]["S"], int(row["version"]["N"]))

    def waiting(self):
        """How many payments wait to be settled."""
        return self.request(200, "OpsStatus", sample("ops-status"))["deferred_payments"]["waiting"]

    def sold(self, status):
        """How many orders of a status the report of sales has."""
        today = datetime.datetime.now(datetime.UTC).date()
        days = (("2026-11-01", str(today - datetime.timedelta(days=1))), ("2026-11-30", str(today)))
        event = sample("sales-report", first=days[0], last=days[1])
        return self.request(200, "SalesReport", event)["total"]["orders"][status]["count"]

    def publish(self, event):
        """Puts an event on the bus."""
        entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
        answer = self.bus.put_events(Entries=[entry | {"EventBusName": self.ids["EventBus"]}])
        if answer["FailedEntryCount"]:
            sys.exit(f"the bus did not accept {event}: {answer}")

    def subscribe(self):
        """A queue of everything that the service publishes."""
        queue = self.queues.create_queue(QueueName="subscriber")["QueueUrl"]
        arn = self.queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        rule = {"Name": "all", "EventBusName": self.ids["EventBus"]}
        self.bus.put_rule(**rule, EventPattern=json.dumps({"source": ["orders"]}))
        self.bus.put_targets(Rule="all", EventBusName=self.ids["EventBus"], Targets=[{"Id": "queue", "Arn": arn}])
        return queue

    def received(self, queue, events):
        """Adds what the queue holds to `events`: by its id, what happened to which order."""
        for message in self.queues.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            event = json.loads(message["Body"])
            metadata, data = event["detail"]["metadata"], event["detail"]["data"]
            order = metadata.get("order_id") or data["order_id"]
            events[metadata["event_id"]] = (event["detail-type"], order)
            self.queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return set(events.values())

    def kept(self, queue):
        """The events whose rejections are in one of the stack's queues."""
        messages = self.queues.receive_message(QueueUrl=self.ids[queue], VisibilityTimeout=0).get("Messages", [])
        return [json.loads(message["Body"])["detail"]["data"]["event"]["detail"] for message in messages]


class Provider(http.server.BaseHTTPRequestHandler):
    """A payment provider that has captured every payment, and accepts one token."""

    token = "first-token"

    status = 200

    def do_GET(self):  # noqa: N802, the library's name
        if self.headers["authorization"] != f"Bearer {self.token}":
            self.send_error(401)
            return
        address = urllib.parse.urlsplit(self.path)
        claim = {name: values[0] for name, values in urllib.parse.parse_qs(address.query).items()}
        payment = {**claim, "payment_id": address.path.rpartition("/")[2], "amount": float(claim["amount"])}
        body = json.dumps(payment | {"status": "captured"}).encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    @classmethod
    def start(cls, port):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), cls)
        threading.Thread(target=server.serve_forever, daemon=True).start()


def sample(name, **replaced):
    """An event of the folder `events`, with texts in it replaced."""
    text = pathlib.Path(f"events/{name}.json").read_text(encoding="utf-8")
    for old, new in replaced.values():
        text = text.replace(old, new)
    return json.loads(text)


def after_payment():
    """The functions of the commands on a paid order but its cancellation, in the order of the template, with their binaries."""
    template = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))
    for name, resource in template["Resources"].items():
        route = resource.get("Properties", {}).get("Events", {}).get("Http", {}).get("Properties", {})
        on_an_order = route.get("Method") == "POST" and route["Path"].startswith("/orders/{id}/")
        if on_an_order and name not in ("PayOrder", "CancelOrder"):
            yield name, resource["Metadata"]["BuildProperties"]["Binary"]


def use(service, provider_port):
    """Every function, and everything between them."""
    queue, events = service.subscribe(), {}
    # The sample requests name one order, whose id is derived from the idempotency key in the first of them.
    order = service.request(201, "CreateOrder", sample("create-order"))["order_id"]

    def another(key):
        created = sample("create-order", key=("order-2026-11-24-0001", key))
        return service.request(201, "CreateOrder", created)["order_id"]

    # The provider is not running yet.
    late = another("late")
    paid = service.request(202, "PayOrder", sample("pay-order", order=(order, late)))
    if not paid["fallback"]:
        sys.exit(f"a payment that could not be verified: {paid}")
    until("a payment that waits is shown", lambda: service.row(late) == ("pending", 2) and service.waiting() == 1)
    Provider.start(provider_port)
    service.invoke("SettlePayments", sample("settle-payments"))
    until("a payment that waited is settled", lambda: service.row(late) == ("paid", 3) and service.waiting() == 0)

    # The token is rotated: the function reads it again, and verifies this payment with it.
    Provider.token = "second-token"
    service.secrets.put_secret_value(SecretId=service.parameters["PaymentProviderTokenArn"], SecretString=Provider.token)
    service.request(200, "PayOrder", sample("pay-order"))
    until("the row follows the stream", lambda: service.row(order) == ("paid", 2))
    service.request(200, "ListOrders", sample("list-orders"))
    for function, binary in after_payment():
        newest = service.request(200, function, sample(binary))
    service.request(409, "CancelOrder", sample("cancel-order"))
    history = service.request(200, "OrderHistory", sample("order-history"))["events"]
    last = (newest["status"], newest["version"])
    until("the row follows to the end", lambda: service.row(order) == last)
    service.request(200, "GetOrder", sample("get-order"))
    until("its sale is reported", lambda: service.sold(newest["status"]) >= 1)
    service.request(200, "ListUserOrders", sample("list-user-orders"))
    stored = {(event["type"], order) for event in history}
    until("its events are published", lambda: stored <= service.received(queue, events))

    # An order that is moved by events.
    moved = another("moved")
    service.publish(sample("on-payment-event", order=(order, moved)))
    until("a captured payment pays its order", lambda: service.row(moved) == ("paid", 2))
    service.publish(sample("on-shipment-event", order=(order, moved)))
    until("a parcel that left ships its order", lambda: service.row(moved) == ("shipped", 3))
    service.publish(sample("on-shipment-event", order=(order, moved), id=("shp-", "again-")))
    rejected = ("OrderCommandRejected", moved)
    until("a rejection is published", lambda: rejected in service.received(queue, events))

    money = sample("on-payment-event-currency", order=(order, moved))
    service.publish(money)
    until("money that cannot be recorded is kept", lambda: service.kept("UnrecordedMoney") == [money["detail"]])

    # Maintenance.
    service.dynamodb.delete_item(TableName=service.ids["Orders"], Key={"order_id": {"S": order}})
    whole = {"segment": 0, "total_segments": 1}
    damaged = service.invoke("VerifyOrders", whole)["progress"]
    if damaged["different"] != 1:
        sys.exit(f"a row that is missing was not found: {damaged}")
    rebuild = service.machines.start_execution(stateMachineArn=service.ids["Rebuild"], input='{"total_segments": 3}')
    state = {}

    def ended():
        state.update(service.machines.describe_execution(executionArn=rebuild["executionArn"]))
        return state["status"] != "RUNNING"

    until("the rebuild ends", ended)
    if state["status"] != "SUCCEEDED" or service.row(order) != last:
        sys.exit(f"the rebuild did not make the row anew: {state}")
    mended = service.invoke("VerifyOrders", whole)["progress"]
    if mended["different"] != 0 or mended["streams"] != 3:
        sys.exit(f"rows differ after the rebuild: {mended}")
    # A stored event is deleted, and put back from a table that still has it.
    table, restored = service.ids["OrderEvents"], f"{STACK}-restored-1"
    described = service.dynamodb.describe_table(TableName=table)["Table"]
    shape = {name: described[name] for name in ("KeySchema", "AttributeDefinitions")}
    service.dynamodb.create_table(TableName=restored, BillingMode="PAY_PER_REQUEST", **shape)
    stored = service.dynamodb.scan(TableName=table)["Items"]
    for item in stored:
        service.dynamodb.put_item(TableName=restored, Item=item)
    key = {"stream_id": {"S": order}, "version": {"N": "3"}}
    service.dynamodb.delete_item(TableName=table, Key=key)
    copied = service.invoke("RestoreEvents", sample("restore-events", table=("orders-restored-2026-11-28", restored)))
    if copied["progress"]["copied"] != 1 or "Item" in service.dynamodb.get_item(TableName=table, Key=key):
        sys.exit(f"it was only to look for what is missing: {copied}")
    copied = service.invoke("RestoreEvents", {"from_table": restored})["progress"]
    if copied["copied"] != 1 or len(service.dynamodb.scan(TableName=table)["Items"]) != len(stored):
        sys.exit(f"what was missing was not put back: {copied}")
    again = service.invoke("Republish", sample("republish"))
    if again["published"] != newest["version"]:
        sys.exit(f"not published again: {again}")
    service.invoke("ExpireOrders", sample("expire-orders"))
    caught = service.invoke("CatchUpReadModels", sample("catch-up-read-models"))
    if caught["sales"]["left"] != 0:
        sys.exit(f"sales are behind: {caught}")
    sales = service.invoke("VerifyOrders", {"model": "sales", **whole})["progress"]
    if sales["different"] != 0 or sales["streams"] != 3:
        sys.exit(f"what orders add to the sales differs from their events: {sales}")

    # The breaker is forced open, and the override ended.
    override = sample("override-breaker")
    for state in ("open", "none"):
        override["body"] = json.dumps({"state": state, "reason": "A drill"})
        held = service.request(200, "OverrideBreaker", override)["override"]["in_force"]
        if held != (state == "open"):
            sys.exit(f"the override has no effect: {state}")

    # The functions that streams, rules and the state machine invoke were observed by their effects.
    service.unused -= {"ProjectOrders", "PublishEvents", "OnPaymentEvent", "OnShipmentEvent", "RebuildOrders"}
    if service.unused:
        sys.exit(f"never used: {sorted(service.unused)}")


def free_port():
    """An unused port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(url):
    """Whether the port accepts connections."""
    try:
        urllib.request.urlopen(url).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def main():
    """Runs the emulator for the duration of the block."""
    shutil.rmtree(WORK, ignore_errors=True)
    temporary = WORK / "tmp"
    temporary.mkdir(parents=True)
    port, provider_port = free_port(), free_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "SAM_CLI_TELEMETRY": "0",
    }
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LAMBDA_EXECUTOR": "local", "TMPDIR": str(temporary)}
    with (WORK / "emulator.log").open("w", encoding="utf-8") as log:
        emulator = subprocess.Popen([sys.argv[1]], env=os.environ | settings, stdout=log, stderr=log)
    try:
        until("the emulator listens", lambda: answers(os.environ["AWS_ENDPOINT_URL"]))
        issuer = smoke.Issuer.start()
        smoke.notify()
        token = boto3.client("secretsmanager").create_secret(Name="payment-provider", SecretString=Provider.token)
        config, breaker = environment(provider_port, issuer, token["ARN"])
        deploy = [TOOLS / "sam", "deploy", "--template-file", template_file(), "--no-confirm-changeset", "--no-progressbar"]
        deploy += ["--config-file", config, "--config-env", "prod"]
        with (WORK / "deploy.log").open("w", encoding="utf-8") as log:
            deployed = subprocess.run(deploy, stdout=log, stderr=log, check=False)
        if deployed.returncode:
            sys.exit((WORK / "deploy.log").read_text(encoding="utf-8"))
        service = Deployment()
        if service.parameters["PaymentBreaker"] != breaker:
            sys.exit(f"PaymentBreaker was deployed as {service.parameters['PaymentBreaker']!r}")
        use(service, provider_port)
        smoke.check(service, Provider, STACK, config)
        print(f"{len(service.ids)} resources were deployed, and every function did its work")
    finally:
        emulator.terminate()
        emulator.wait(timeout=30)
        for code in WORK.glob("*/bootstrap"):
            code.unlink()
        shutil.rmtree(temporary)


if __name__ == "__main__":
    main()
