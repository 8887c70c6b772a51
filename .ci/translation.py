"""template.yaml as SAM translates it, and what CloudFormation makes of that with the values of its parameters."""

import copy
import functools
import os

# The translator asks botocore for the partition and needs a region for that. Nothing is called.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

# Parameters without a default, as an operator would fill them.
PARAMETERS = {
    "JwtIssuer": "https://issuer.example.com",
    "JwtAudience": "orders",
    "PaymentProviderUrl": "https://payments.example.com",
}


@functools.cache
def text():
    """The template as it is written, read once."""
    with open("template.yaml", encoding="utf-8") as file:
        return yaml_parse(file.read())


def read():
    """The template as it is written."""
    return copy.deepcopy(text())


def translate(**parameters):
    """The CloudFormation template that SAM makes of it, with these parameters beside the others."""
    template = read()
    template.setdefault("Globals", {}).setdefault("Function", {})["CodeUri"] = "s3://artifacts/function.zip"
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"].pop("CodeUri", None)
    # Managed policies are written as ARNs in the template, so no map of their names is needed.
    return Translator({}, Parser()).translate(template, PARAMETERS | parameters)


def deployed(**parameters):
    """The properties of each translated resource, with conditions, splits and references to parameters resolved."""
    template = translate(**parameters)
    defaults = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
    values = defaults | PARAMETERS | parameters
    resources = template["Resources"].items()
    return {
        name: {"Type": resource["Type"], **resolved(resource.get("Properties", {}), values, template["Conditions"])}
        for name, resource in resources
    }


def holds(condition, values):
    """Whether a condition of the forms that the template uses is true."""
    (kind, argument), *_ = condition.items()
    if kind == "Fn::Not":
        return not holds(argument[0], values)
    if kind == "Fn::Equals":
        left, right = argument
        return str(values[left["Ref"]]) == str(right)
    raise ValueError(f"this check does not know the condition {condition}")


def resolved(value, values, conditions):
    """A value as CloudFormation resolves it. What it takes from a resource remains as it is written; None is AWS::NoValue."""
    if isinstance(value, list):
        items = (resolved(item, values, conditions) for item in value)
        return [item for item in items if item is not None]
    if not isinstance(value, dict):
        return value
    if list(value) == ["Fn::If"]:
        condition, yes, no = value["Fn::If"]
        return resolved(yes if holds(conditions[condition], values) else no, values, conditions)
    if list(value) == ["Fn::Split"]:
        separator, text = value["Fn::Split"]
        text = resolved(text, values, conditions)
        return text.split(separator) if isinstance(text, str) else value
    if list(value) == ["Fn::Sub"] and isinstance(value["Fn::Sub"], str):
        text = value["Fn::Sub"]
        for name, given in values.items():
            text = text.replace(f"${{{name}}}", str(given))
        return text if "${" not in text else {"Fn::Sub": text}
    if list(value) == ["Ref"]:
        name = value["Ref"]
        return None if name == "AWS::NoValue" else values.get(name, value)
    fields = ((name, resolved(field, values, conditions)) for name, field in value.items())
    return {name: field for name, field in fields if field is not None}
