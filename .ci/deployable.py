"""What check-deployment.py deploys: the template without what the emulator lacks, and its environment, as files."""

import json
import os
import pathlib
import platform
import re
import subprocess

import smoke
from samtranslator.yaml_helper import yaml_parse

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
WORK = TARGET.resolve() / "deployment"


def without_conditions(value):
    """Removes the conditions on events from policies: the emulator simulates permissions without their keys."""
    if isinstance(value, dict) and value.get("Action") == "events:PutEvents":
        value.pop("Condition", None)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        without_conditions(part)


def template_file():
    """The template with the built binaries, as a file for `sam deploy`."""
    template = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    template["Globals"]["Function"]["Architectures"] = [machine]
    template["Globals"]["Function"].pop("CodeUri", None)
    for name in ("PaymentProviderUrl", "JwtIssuer"):
        template["Parameters"][name]["AllowedPattern"] = r"^http://127\.0\.0\.1:[0-9]+$"
    for name, resource in list(template["Resources"].items()):
        if resource["Type"] == "AWS::Serverless::Function":
            binary = resource.pop("Metadata")["BuildProperties"]["Binary"]
            code = WORK / binary
            code.mkdir(parents=True)
            subprocess.run(["strip", "-o", code / "bootstrap", TARGET / "debug" / binary], check=True)
            resource["Properties"]["CodeUri"] = str(code)
        elif resource["Type"] in {"AWS::Events::Archive", "AWS::Events::EventBusPolicy"}:
            del template["Resources"][name]
        elif resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]:
            del template["Resources"][name]
    del template["Outputs"]["EventArchiveArn"]
    without_conditions(template["Resources"])
    path = WORK / "template.json"
    path.write_text(json.dumps(template), encoding="utf-8")
    return path


def environment(provider_port, issuer, token_arn):
    """samconfig.toml as an operator fills it in, and the value in it that has blanks."""
    config = pathlib.Path("samconfig.toml").read_text(encoding="utf-8")
    breaker = "failures=4; ratio=50%; window=20s"
    operator = {
        "JwtIssuer": issuer,
        "JwtAudience": "orders",
        "PaymentProviderUrl": f"http://127.0.0.1:{provider_port}",
        "AlarmTopic": smoke.TOPIC,
        "PaymentProviderTokenArn": token_arn,
        "PaymentEventSources": "arn:aws:iam::123456789012:role/payment-adapter",
        "ShippingEventSources": "arn:aws:iam::123456789012:role/carrier",
    }
    for name, value in operator.items():
        config = re.sub(rf"^# {name} = .*$", f'{name} = "{value}"', config, flags=re.MULTILINE)
    path = WORK / "samconfig.toml"
    # The table of the environment prod is the last one.
    path.write_text(f'{config}PaymentBreaker = "{breaker}"\n', encoding="utf-8")
    return path, breaker
