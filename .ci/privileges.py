"""Who may do what in the deployed stack, as the translated template says it: events on the bus, the protection of the event
table, the provider's token, and reserved concurrency.
"""

from agreement.functions import as_list
from translation import deployed, read

ROLE = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/"
FUNCTIONS = ["PublishEventsRole", "RepublishRole", "OnPaymentEventRole", "OnShipmentEventRole"]
# Statements of a role that puts events: for each entry the source must be there, and be the service's own.
OWN_EVENTS = {"ForAllValues:StringEquals": {"events:source": "orders"}, "Null": {"events:source": "false"}}
# Actions that alter or delete stored events, and those that lift what prevents that.
ALTERING = ["UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete"]
ALTERING += ["UpdateTimeToLive", "DeleteTable"]
LIFTING = ["PutResourcePolicy", "DeleteResourcePolicy", "UpdateTable", "UpdateContinuousBackups"]
NEEDED = ["PutItem", "Query", "GetItem", "Scan", "DescribeTable", "RestoreTableToPointInTime"]


def named(principal):
    """A principal as a text, also where it is an attribute of a role in the template."""
    if isinstance(principal, dict):
        (kind, name), *_ = principal.items()
        return ".".join(as_list(name)) if kind == "Fn::GetAtt" else name
    return principal


def denies(statement, action, principal, sources=()):
    """Whether a statement denies it. Conditions of other forms than these are an error."""
    if statement["Effect"] != "Deny" or statement["Principal"] != "*":
        raise ValueError(f"this check does not know the statement {statement}")
    matches = action in as_list(statement["Action"])
    for operator, condition in statement.get("Condition", {}).items():
        (key, values), *_ = condition.items()
        values = [named(value) for value in as_list(values)]
        if (operator, key) == ("ForAnyValue:StringEquals", "events:source"):
            matches = matches and any(source in values for source in sources)
        elif (operator, key) == ("ArnNotEquals", "aws:PrincipalArn"):
            matches = matches and principal not in values
        else:
            raise ValueError(f"this check does not know the condition {operator} of {key}")
    return matches


def statements_of_roles(resources):
    """Name of the role, and statement, for each of the stack's roles."""
    for name, role in resources.items():
        if role["Type"] == "AWS::IAM::Role":
            for policy in role.get("Policies", []):
                for statement in as_list(policy["PolicyDocument"]["Statement"]):
                    yield name, statement


def bus_problems():
    """Sources of events that others than the named principals may use, or that these may not."""
    adapter, carrier, other = (f"arn:aws:iam::123456789012:role/{name}" for name in ("adapter", "a/carrier", "other"))
    functions = [f"{role}.Arn" for role in FUNCTIONS]
    for named_ones in ({}, {"PaymentEventSources": f"{adapter},{other}", "ShippingEventSources": carrier}):
        resources = deployed(**named_ones)
        policies = [it["Statement"] for it in resources.values() if it["Type"] == "AWS::Events::EventBusPolicy"]
        allowed = {"payments": [adapter, other], "shipping": [carrier]} if named_ones else {}
        allowed["orders"] = functions
        everyone = [adapter, carrier, other, *functions]
        for source in ("payments", "shipping", "orders"):
            for principal in everyone:
                # Beside an entry of another source, it is denied as well.
                for sources in ([source], ["elsewhere", source]):
                    denied = any(denies(policy, "events:PutEvents", principal, sources) for policy in policies)
                    if denied == (principal in allowed.get(source, [])):
                        yield f"with {named_ones}: {principal} may {'not ' * denied}put events of {sources}"
        if any(denies(policy, "events:PutEvents", other, ["elsewhere"]) for policy in policies):
            yield "the bus denies other sources than its own three"
        putting = {}
        for role, statement in statements_of_roles(resources):
            actions = as_list(statement["Action"])
            if any(action in ("*", "events:*", "events:PutEvents") or action.startswith("events:Put*") for action in actions):
                putting[role] = statement.get("Condition")
        if putting != dict.fromkeys(FUNCTIONS, OWN_EVENTS):
            yield f"the roles that put events, and their conditions, are {putting}"


def table_problems():
    """Principals that may alter stored events or lift their protection, or that may not work with the table."""
    deploy, glass, other = f"{ROLE}ci/deploy", f"{ROLE}glass-1", f"{ROLE}other"
    for parameters, may_alter, may_lift in (
        ({}, [], [deploy, glass, other]),
        ({"BreakGlassRole": "glass-1"}, [glass], [deploy, glass, other]),
        ({"DeployRole": "ci/deploy"}, [], [deploy]),
        ({"DeployRole": "ci/deploy", "BreakGlassRole": "glass-1"}, [glass], [deploy, glass]),
    ):
        policy = deployed(**parameters)["OrderEvents"]["ResourcePolicy"]["PolicyDocument"]["Statement"]
        for actions, allowed in ((ALTERING, may_alter), (LIFTING, may_lift), (NEEDED, [deploy, glass, other])):
            for action in actions:
                for principal in (deploy, glass, other):
                    denied = any(denies(statement, f"dynamodb:{action}", principal) for statement in policy)
                    if denied == (principal in allowed):
                        yield f"with {parameters}: {principal} may {'not ' * denied}{action} on the event table"


def token_problems():
    """Roles that may read the provider's token, or should and may not."""
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf"
    readers = {"PayOrderRole": arn, "SettlePaymentsRole": arn}
    for given, expected in (("", {}), (arn, readers)):
        reading = {
            role: statement["Resource"]
            for role, statement in statements_of_roles(deployed(PaymentProviderTokenArn=given))
            if any(action == "*" or action.startswith("secretsmanager:") for action in as_list(statement["Action"]))
        }
        if reading != expected:
            yield f"with PaymentProviderTokenArn={given!r} secrets are read by {reading}"


def concurrency_problems():
    """Functions whose reserved concurrency is not that of their parameter. None by default: 0 would stop a function."""
    groups = {"ApiConcurrency": 3, "StreamConcurrency": 20, "EventConcurrency": 2}
    for given in ({}, *({name: value} for name, value in groups.items()), groups):
        for name, function in deployed(**given).items():
            if function["Type"] != "AWS::Lambda::Function":
                continue
            expected = given.get(group(name))
            if function.get("ReservedConcurrentExecutions") != expected:
                yield f"with {given}: {name} reserves {function.get('ReservedConcurrentExecutions')}, not {expected}"


def group(function):
    """The parameter of a function's reserved concurrency: none for those that operators and the state machine invoke."""
    events = [event["Type"] for event in read()["Resources"][function]["Properties"].get("Events", {}).values()]
    of = {"HttpApi": "ApiConcurrency", "DynamoDB": "StreamConcurrency"}
    of |= dict.fromkeys(("EventBridgeRule", "Schedule"), "EventConcurrency")
    return of[events[0]] if events else None


def problems():
    """All of them."""
    yield from bus_problems()
    yield from table_problems()
    yield from token_problems()
    yield from concurrency_problems()
