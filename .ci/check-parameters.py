"""Checks that no parameter of template.yaml can be deployed with half of its value, and that samconfig.toml can be deployed.

SAM CLI reads `Name=value` up to the first blank, and drops the rest without a word. Here its own code reads the values of
the parameters that have blanks in them, as a list, quoted, and from a table: the first must be refused by the parameter's
pattern, the others must come through whole. Prints what is not so, and exits with 1 then.
"""

import pathlib
import re
import sys
import tomllib

import samcli
from samcli.cli.types import CfnParameterOverridesType
from samtranslator.yaml_helper import yaml_parse

ROLE = "arn:aws:iam::123456789012:role/"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
# Values with blanks, of every parameter that may have them, as documents write them.
WITH_BLANKS = {
    "JwtAudience": ["orders, orders-admin"],
    "CreateRateLimit": ["token-bucket; rate=100/s; burst=200; by=user", "token-bucket;rate=100/s;burst=200;by=user; name=c"],
    "ChangeRateLimit": ["sliding-window;limit=100;window=60s; by=ip"],
    "ReadRateLimit": ["sliding-window; limit=100; window=60s; by=ip; name=search; on_error=allow"],
    "PaymentBreaker": ["failures=10; window=1m", "failures=10;ratio=50%; window=1m"],
    "CorsOrigins": ["https://shop.example.com, https://admin.example.com"],
}
# Values that would deploy, and then reject every caller, send payments in the clear, show a secret, or name too many.
REFUSED = {
    "JwtIssuer": ["", "issuer.example.com", "http://issuer.example.com"],
    "PaymentProviderUrl": ["http://payments.example.com", "http://127.0.0.1:8080", "payments.example.com"],
    "PaymentProviderTokenArn": ["s3cret", "orders/payment-provider", f"{SECRET}payment-provider"],
    "PaymentEventSources": ["*", "123456789012", f"{ROLE}*", f"{ROLE}a, {ROLE}b", "arn:aws:iam::123456789012:root"],
    "BreakGlassRole": ["*", "a role", f"{ROLE}a"],
}
ACCEPTED = {
    "PaymentProviderTokenArn": [f"{SECRET}orders/payment-provider-AbC123"],
    "PaymentEventSources": [f"{ROLE}a", f"{ROLE}a,{ROLE}path/b"],
    "ShippingEventSources": [f"{ROLE}a"],
    "BreakGlassRole": ["path/role"],
    "DeployRole": ["path/role"],
}


def allowed(parameter, value):
    """Whether CloudFormation accepts the value."""
    values = [part.strip() for part in value.split(",")] if parameter["Type"] == "CommaDelimitedList" else [value]
    if "AllowedValues" in parameter:
        return all(value in map(str, parameter["AllowedValues"]) for value in values)
    return all(re.fullmatch(parameter.get("AllowedPattern", ".*"), value) for value in values)


def read(overrides):
    """What SAM CLI makes of parameter_overrides."""
    return CfnParameterOverridesType().convert(overrides, None, None)


def blanks(parameters):
    """Values that are accepted although they are cut, or that are not passed on whole."""
    for name, parameter in parameters.items():
        if " " in str(parameter.get("Default", "")) and name not in WITH_BLANKS:
            yield f"{name}: its default has blanks, and this check knows no value of it"
    for name, values in WITH_BLANKS.items():
        for value in values:
            cut = read([f"{name}={value}"])[name]
            if cut == value:
                yield f"{name}: SAM CLI does not cut {value!r} any more, and the documents say that it does"
            if allowed(parameters[name], cut):
                yield f"{name}: {value!r} would be deployed as {cut!r}"
            for form in ([f'{name}="{value}"'], {name: value}):
                if read(form) != {name: value}:
                    yield f"{name}: of {form} SAM CLI makes {read(form)}"
            if name != "CorsOrigins" and not allowed(parameters[name], value):
                yield f"{name}: {value!r} is rejected"


def environments(parameters):
    """Settings of samconfig.toml that cannot be deployed, or would deploy and reject every caller."""
    config = tomllib.loads(pathlib.Path("samconfig.toml").read_text(encoding="utf-8"))
    for environment in ("dev", "prod"):
        overrides = config[environment]["deploy"]["parameters"]["parameter_overrides"]
        for name, value in read(overrides).items():
            if name not in parameters:
                yield f"samconfig.toml: {environment} sets {name}, which the template does not have"
            elif not allowed(parameters[name], value):
                yield f"samconfig.toml: {environment} sets {name} to {value!r}, which the template rejects"
            elif "Default" not in parameters[name]:
                yield f"samconfig.toml: {environment} has a value for {name}, which only its operator knows"
    if config["dev"]["deploy"]["parameters"]["stack_name"] == config["prod"]["deploy"]["parameters"]["stack_name"]:
        yield "samconfig.toml: dev and prod are one stack"


def versions():
    """Whether the documents name the version that these checks run with, and one older as the least."""
    files = ["samconfig.toml", "README.md", "docs/operations.md"]
    stated = {
        path: set(re.findall(r"SAM CLI\s+(\d+\.\d+\.\d+)", pathlib.Path(path).read_text(encoding="utf-8")))
        for path in files
    }
    for path in files[1:]:
        if samcli.__version__ not in stated[path]:
            yield f"{path} does not say that SAM CLI {samcli.__version__} is the one that is tested"
    stated = {path: versions - {samcli.__version__} for path, versions in stated.items()}
    least = set().union(*stated.values())
    if len(least) != 1 or not all(stated.values()):
        yield f"the least version of SAM CLI is not one: {stated}"
    elif tuple(map(int, least.pop().split("."))) > tuple(map(int, samcli.__version__.split("."))):
        yield f"this is SAM CLI {samcli.__version__}, older than the documents ask for"


def main():
    """Prints them."""
    parameters = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))["Parameters"]
    taken = [
        f"{name}: {value!r} is taken"
        for name, values in REFUSED.items()
        for value in values
        if (value or "Default" not in parameters[name]) and allowed(parameters[name], value)
    ]
    rejected = [
        f"{name}: {value!r} is rejected"
        for name, values in ACCEPTED.items()
        for value in values
        if not allowed(parameters[name], value)
    ]
    lines = [*blanks(parameters), *taken, *rejected, *environments(parameters), *versions()]
    print("\n".join(lines) or "no value is cut, and both environments can be deployed")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
