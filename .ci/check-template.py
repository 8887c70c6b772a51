"""Translates template.yaml as SAM would at a deployment, and validates what comes out.

Usage: check-template.py [PATH-FOR-THE-TRANSLATED-TEMPLATE]

`sam package` would replace CodeUri, a folder, by the address of an upload; the translator takes nothing else, so an
address is put in its place here. Exits with 1 when there is a finding of severity WARN or above.
"""

import json
import os
import sys

# The translator asks botocore for the partition and needs a region for that. Nothing is called.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

from cloudformation_validate import CompositeEngine, ReportStatus, Severity, TemplateContent, ValidateConfig
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

# Parameters without a default, as an operator would fill them.
PARAMETERS = {
    "JwtIssuer": "https://issuer.example.com",
    "JwtAudience": "orders",
    "PaymentProviderUrl": "https://payments.example.com",
}


def translate(path):
    """The CloudFormation template that SAM makes of the one at `path`."""
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    template.setdefault("Globals", {}).setdefault("Function", {})["CodeUri"] = "s3://artifacts/function.zip"
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"].pop("CodeUri", None)
    # Managed policies are written as ARNs in the template, so no map of their names is needed.
    return Translator({}, Parser()).translate(template, dict(PARAMETERS))


def main():
    """Prints each finding; the exit code says whether one of them is too much."""
    try:
        translated = json.dumps(translate("template.yaml"), indent=2)
    except InvalidDocumentException as error:
        for cause in error.causes:
            print(f"template.yaml: {cause.message}")
        return 1
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(translated)
    report = CompositeEngine().validate_template(
        TemplateContent(translated, "translated.json"), ValidateConfig(parameter_overrides=PARAMETERS)
    )
    rank = [Severity.DEBUG, Severity.INFO, Severity.WARN, Severity.ERROR, Severity.FATAL].index
    bad = [finding for finding in report.diagnostics if rank(finding.severity) >= rank(Severity.WARN)]
    for finding in bad:
        where = finding.entity.logical_id if finding.entity else "template"
        print(f"{finding.severity.name} {finding.rule_id} {where} {finding.property_path or ''}: {finding.message}")
    if report.status != ReportStatus.OK:
        print(f"the validator did not finish: {report.status.name}")
        return 1
    print(f"template.yaml: {report.metadata.resources_scanned} resources, {len(bad)} findings of WARN or above")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
