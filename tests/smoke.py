"""Checks a deployment within a minute, and says for each thing that is wrong what to do. Stores nothing without --order.

Needs Python 3.11, boto3 and credentials that may read the stack, invoke its functions and simulate its policies.
"""

import argparse
import base64
import concurrent.futures
import datetime
import json
import pathlib
import re
import sys
import time
import tomllib
import urllib.error
import urllib.request
import uuid

import boto3

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The order in the files of events/.
SAMPLE_ORDER = "7fb35858-9b1d-5c20-a5a1-a015e0ccb1e2"
HTTP_SECONDS, PATIENCE_SECONDS = 5, 20


class Deployment:
    """A stack, by the names of its template."""

    def __init__(self, name):
        self.cloudformation, self.iam = boto3.client("cloudformation"), boto3.client("iam")
        self.functions, self.events = boto3.client("lambda"), boto3.client("events")
        self.stack = self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        self.partition, self.region, self.account = (self.stack["StackId"].split(":")[n] for n in (1, 3, 4))
        self.parameters = {it["ParameterKey"]: it["ParameterValue"] for it in self.stack["Parameters"]}
        self.outputs = {it["OutputKey"]: it["OutputValue"] for it in self.stack["Outputs"]}
        pages = self.cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        self.ids = {it["LogicalResourceId"]: it["PhysicalResourceId"] for it in resources}
        self.types = {it["LogicalResourceId"]: it["ResourceType"] for it in resources}
        template = self.cloudformation.get_template(StackName=name, TemplateStage="Processed")["TemplateBody"]
        self.template = (json.loads(template) if isinstance(template, str) else template)["Resources"]

    def of_type(self, kind):
        """The logical ids of the resources of a type."""
        return [name for name, found in self.types.items() if found == kind]

    def invoke(self, function, event):
        """The response of a function and its error, one of which is None."""
        answer = self.functions.invoke(FunctionName=self.ids[function], Payload=json.dumps(event))
        response = json.loads(answer["Payload"].read())
        return (None, response) if "FunctionError" in answer else (response, None)

    def arn(self, resource):
        """The ARN that a policy names, for a table or a bus; None for others."""
        if "Fn::Sub" in resource:
            name, _, rest = resource["Fn::Sub"].removeprefix("${").partition(".Arn}")
        else:
            name, attribute = resource.get("Fn::GetAtt", (None, None))
            name, rest = (name if attribute == "Arn" else None), ""
        path = {"AWS::DynamoDB::Table": "dynamodb:{}:{}:table", "AWS::Events::EventBus": "events:{}:{}:event-bus"}
        kind = path.get(self.types.get(name))
        return kind and f"arn:{self.partition}:{kind.format(self.region, self.account)}/{self.ids[name]}{rest}"


def sample(name, prefix, order_id):
    """A request of events/, for another order, and with the scopes of the deployment."""
    text = (ROOT / "events" / f"{name}.json").read_text(encoding="utf-8")
    event = json.loads(text.replace(SAMPLE_ORDER, order_id))
    claims = event["requestContext"]["authorizer"]["jwt"]["claims"]
    claims["scope"] = claims["scope"].replace("orders:", prefix)
    event["headers"].pop("idempotency-key", None)
    event["headers"].pop("if-match", None)
    return event


def fetch(url, token=None):
    """Status and body of a GET."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def stack(service, _):
    """The deployment has ended."""
    status = service.stack["StackStatus"]
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        yield f"the stack is {status}: wait for its end, or see the failed events of describe-stack-events"


def parameters(service, options):
    """The parameters have the values of samconfig.toml and of --expect."""
    for name, value in options.expected.items():
        found = service.parameters.get(name)
        if found != value:
            yield f"{name} is {found!r}, not {value!r}: set it in samconfig.toml under parameter_overrides, and deploy"


def currency(service, options):
    """The functions use the currency of the stack."""
    today = str(datetime.datetime.now(datetime.UTC).date())
    event = sample("sales-report", service.parameters["ScopePrefix"], SAMPLE_ORDER)
    event |= {"rawQueryString": f"from={today}&to={today}", "queryStringParameters": {"from": today, "to": today}}
    response, error = service.invoke("SalesReport", event)
    if error or response["statusCode"] != 200:
        yield f"SalesReport does not respond ({error or response['body']}): see its log lines at level ERROR"
    elif (found := json.loads(response["body"])["currency"]) != service.parameters["Currency"]:
        yield f"amounts are in {found}, and the parameter Currency is {service.parameters['Currency']}: deploy again"


def issuer(service, _):
    """The issuer's OpenID description exists under the exact name, with keys."""
    name = service.parameters["JwtIssuer"]
    url = f"{name.rstrip('/')}/.well-known/openid-configuration"
    advice = "correct JwtIssuer and deploy; every request is 401 until then"
    try:
        status, body = fetch(url)
        described = json.loads(body)
        if status != 200 or described["issuer"] != name:
            yield f"{url} is {status} and names {described.get('issuer')!r}, not {name!r}: {advice}"
            return
        keys = json.loads(fetch(described["jwks_uri"])[1])["keys"]
        if not any(key.get("kty") == "RSA" for key in keys):
            yield f"{described['jwks_uri']} has no RSA key, and API Gateway accepts no other: change the issuer's keys"
    except (OSError, ValueError, KeyError) as error:
        yield f"{url} cannot be read ({error!r}): {advice}"


def api(service, options):
    """The API rejects a request without a token, and accepts the operator's."""
    url = f"{service.outputs['ApiUrl']}/ops/status"
    status, _ = fetch(url)
    if status != 401:
        yield f"GET {url} without a token is {status}, not 401: the API has no authorizer; deploy the template unchanged"
    if not options.token:
        return
    status, body = fetch(url, options.token)
    if status == 200:
        return
    payload = options.token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    audience = claims.get("aud", claims.get("client_id"))
    known, wanted = service.parameters, f"{service.parameters['ScopePrefix']}admin"
    if claims.get("iss") != known["JwtIssuer"]:
        yield f"the token's iss is {claims.get('iss')!r}, and JwtIssuer is {known['JwtIssuer']!r}: they must be equal"
    elif not set([audience] if isinstance(audience, str) else audience or []) & set(known["JwtAudience"].split(",")):
        yield f"the token is for {audience!r}, and JwtAudience is {known['JwtAudience']!r}: add it there, and deploy"
    elif claims.get("exp", 0) < time.time():
        yield "the token has expired: get another one"
    elif wanted not in str(claims.get("scope", claims.get("scp", ""))).split():
        yield f"the token has no scope {wanted}: grant it at the issuer, or correct ScopePrefix"
    else:
        yield f"GET {url} with the token is {status}: {body[:200]!r}"


def requests(service, _):
    """Each function behind a route starts and reads its tables: requests about an order that does not exist."""
    prefix, order_id = service.parameters["ScopePrefix"], str(uuid.uuid4())
    for name in service.of_type("AWS::Lambda::Function"):
        binary = re.sub("(?<!^)(?=[A-Z])", "-", name).lower()
        path = ROOT / "events" / f"{binary}.json"
        if not path.exists() or "routeKey" not in json.loads(path.read_text(encoding="utf-8")):
            continue
        event = sample(binary, prefix, order_id)
        # These two would change something.
        if binary == "create-order":
            event["body"] = '{"items": []}'
        if binary == "override-breaker":
            event |= {"rawPath": "/ops/breakers/none/override", "pathParameters": {"name": "none"}}
        response, error = service.invoke(name, event)
        if error or response["statusCode"] not in (200, 400, 404):
            text = error or f"{response['statusCode']} {response['body']}"
            yield f"{name} responds {text}: see its log lines at level ERROR in {service.outputs['FunctionLogGroup']}"


def permissions(service, _):
    """The role of each function has the permissions on tables and buses that the template gives it."""

    def simulated(name):
        given = service.template[name]["Properties"]["Role"]["Fn::GetAtt"][0]
        policies = service.template[given]["Properties"].get("Policies", [])
        role = service.functions.get_function_configuration(FunctionName=service.ids[name])["Role"]
        lines = []
        for statement in (one for policy in policies for one in policy["PolicyDocument"]["Statement"]):
            # Of a condition, the statement that holds when it is true; it is about no table and no bus.
            statement = statement.get("Fn::If", [None, statement])[1]
            actions, named = statement["Action"], statement["Resource"]
            actions = actions if isinstance(actions, list) else [actions]
            arns = [service.arn(it) for it in (named if isinstance(named, list) else [named]) if isinstance(it, dict)]
            context = [
                {"ContextKeyName": key, "ContextKeyValues": value if isinstance(value, list) else [value], "ContextKeyType": "string"}
                for operator, condition in statement.get("Condition", {}).items()
                if operator != "Null"
                for key, value in condition.items()
            ]
            for arn in filter(None, arns if statement["Effect"] == "Allow" else []):
                question = {"PolicySourceArn": role, "ActionNames": actions, "ResourceArns": [arn], "ContextEntries": context}
                for result in service.iam.simulate_principal_policy(**question)["EvaluationResults"]:
                    if result["EvalDecision"] != "allowed":
                        lines.append(f"{name} may not {result['EvalActionName']} on {arn} ({result['EvalDecision']})")
        return lines

    advice = "deploy again; if that does not help, look for a changed role, a permissions boundary or a service control policy"
    with concurrent.futures.ThreadPoolExecutor(8) as workers:
        for lines in workers.map(simulated, service.of_type("AWS::Lambda::Function")):
            yield from (f"{line}: {advice}" for line in lines)


def provider(service, _):
    """The payment provider responds to the function that settles payments."""
    response, error = service.invoke("SettlePayments", {"check_provider": f"deployment-check-{uuid.uuid4()}"})
    url = service.parameters["PaymentProviderUrl"]
    if error:
        yield f"SettlePayments does not start ({error}): set PaymentProviderUrl or TrustCallerPayments, and deploy"
    elif response["provider"] == "fails":
        yield f"{response['detail']}: check PaymentProviderUrl ({url}), the provider's token, and what the provider logged"
    elif (response["provider"] == "trusted") != (service.parameters["TrustCallerPayments"] == "true"):
        yield f"payments are {response['provider']}, which the parameters do not say: deploy again"


def streams(service, _):
    """The streams' mappings are enabled, and do not fail."""
    for name in service.of_type("AWS::Lambda::EventSourceMapping"):
        mapping = service.functions.get_event_source_mapping(UUID=service.ids[name])
        if mapping["State"] != "Enabled":
            yield f"{name} is {mapping['State']}: enable it with update-event-source-mapping, or wait while it is being created"
        elif mapping.get("LastProcessingResult", "").startswith(("PROBLEM", "FAILED")):
            yield f"{name}: {mapping['LastProcessingResult']}: see the alarms of its function"


def rules(service, _):
    """The rules of the schedules and of the bus are enabled."""
    for name in service.of_type("AWS::Events::Rule"):
        properties = service.template[name]["Properties"]
        # The id of a rule on a bus is BUS|RULE.
        bus = {"EventBusName": service.ids["EventBus"]} if "EventBusName" in properties else {}
        state = service.events.describe_rule(Name=service.ids[name].rpartition("|")[2], **bus)["State"]
        never = name == "ExpireOrdersClock" and service.parameters["ExpireUnpaidAfterHours"] == "0"
        if state != "ENABLED" and not never:
            yield f"the rule {name} is {state}: enable it with `aws events enable-rule`"


def sources(service, _):
    """Roles are named that may put events of payments, and of shipping, on the bus."""
    for source, name in (("payments", "PaymentEventSources"), ("shipping", "ShippingEventSources")):
        if not service.parameters[name]:
            yield f"nobody may put events of {source} on the bus: set {name} to the ARNs of their senders' roles, and deploy"


def alarms(service, _):
    """The alarms exist and notify a topic that somebody has subscribed to."""
    names = {service.ids[name] for name in service.of_type("AWS::CloudWatch::Alarm")}
    pages = boto3.client("cloudwatch").get_paginator("describe_alarms").paginate()
    found = {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"] if alarm["AlarmName"] in names}
    yield from (f"the alarm {name} does not exist: deploy again" for name in sorted(names - found.keys()))
    topic = service.parameters["AlarmTopic"]
    if not topic:
        yield "nobody is notified of alarms: set AlarmTopic to the name of an SNS topic, and deploy"
        return
    yield from (f"the alarm {name} notifies nobody: deploy again" for name, it in found.items() if not it["AlarmActions"])
    arn = f"arn:{service.partition}:sns:{service.region}:{service.account}:{topic}"
    subscriptions = boto3.client("sns").list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    if all(it["SubscriptionArn"] == "PendingConfirmation" for it in subscriptions):
        yield f"the topic {topic} has no confirmed subscription: add one with `aws sns subscribe`, and confirm it"


def order(service, options):
    """An order can be created, is projected, and can be cancelled: with --order, which stores it."""
    if not options.order:
        return
    prefix, user = service.parameters["ScopePrefix"], f"smoke-test-{uuid.uuid4()}"
    event = sample("create-order", prefix, SAMPLE_ORDER)
    event["body"] = json.dumps(json.loads(event["body"]) | {"user_id": user})
    response, error = service.invoke("CreateOrder", event)
    if error or response["statusCode"] != 201:
        yield f"CreateOrder responds {error or response['body']}: see its log lines at level ERROR"
        return
    order_id = json.loads(response["body"])["order_id"]
    listing = sample("list-user-orders", prefix, SAMPLE_ORDER) | {"rawQueryString": "", "queryStringParameters": {}}
    listing |= {"pathParameters": {"user_id": user}, "rawPath": f"/users/{user}/orders"}
    listing["requestContext"]["authorizer"]["jwt"]["claims"] |= {"sub": user}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        response, error = service.invoke("ListUserOrders", listing)
        if error or response["statusCode"] != 200:
            yield f"ListUserOrders responds {error or response['body']}: see its log lines at level ERROR"
            break
        if json.loads(response["body"])["orders"]:
            break
        if time.monotonic() > deadline:
            yield f"the order {order_id} was stored, and no row follows: see the alarms of ProjectOrders"
            break
        time.sleep(0.5)
    cancel = sample("cancel-order", prefix, order_id)
    cancel["requestContext"]["authorizer"]["jwt"]["claims"] |= {"sub": user}
    response, error = service.invoke("CancelOrder", cancel)
    if error or response["statusCode"] != 200:
        yield f"CancelOrder responds {error or response['body']}: cancel the order {order_id} by hand"


CHECKS = [stack, parameters, currency, issuer, api, requests, permissions, provider, streams, rules, sources, alarms, order]


def expected(options):
    """The parameters as samconfig.toml and --expect name them."""
    values = {}
    if options.config_env:
        config = tomllib.loads(pathlib.Path(options.config_file).read_text(encoding="utf-8"))
        given = config[options.config_env]["deploy"]["parameters"]["parameter_overrides"]
        values = {name: str(value) for name, value in given.items()}
    return values | dict(pair.split("=", 1) for pair in options.expect)


def main():
    """Runs the checks side by side, and prints what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stack", help="the stack's name")
    parser.add_argument("--config-env", help="compare the parameters with this environment of samconfig.toml")
    parser.add_argument("--config-file", default=ROOT / "samconfig.toml", help="another samconfig.toml")
    parser.add_argument("--expect", action="append", default=[], metavar="NAME=VALUE", help="a parameter's value")
    parser.add_argument("--token-file", type=pathlib.Path, help="a file with an access token of an administrator")
    parser.add_argument("--order", action="store_true", help="also create and cancel an order, which remains stored")
    parser.add_argument("--skip", action="append", default=[], choices=[check.__name__ for check in CHECKS])
    options = parser.parse_args()
    options.expected = expected(options)
    options.token = options.token_file.read_text(encoding="utf-8").strip() if options.token_file else None
    service = Deployment(options.stack)

    def run(check):
        try:
            return list(check(service, options))
        except Exception as error:  # noqa: BLE001, one check that fails must not hide the others
            return [f"could not be checked: {error!r}"]

    checks = [check for check in CHECKS if check.__name__ not in options.skip]
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(len(checks)) as workers:
        for check, lines in zip(checks, workers.map(run, checks)):
            print(f"{'FAIL' if lines else 'ok  '} {check.__name__}: {check.__doc__.partition('. ')[0]}")
            print("".join(f"     - {line}\n" for line in lines), end="")
            failures += bool(lines)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
