"""Translates template.yaml as SAM would at a deployment, and validates what comes out.

Usage: check-template.py [PATH-FOR-THE-TRANSLATED-TEMPLATE]

`sam package` would replace CodeUri, a folder, by the address of an upload; the translator takes nothing else, so an
address is put in its place here. The API that comes out is compared with the one that was written: what SAM makes of
CORS, authorizer, scopes and integrations is what is deployed. Likewise who may do what. Exits with 1 when there is a
difference, or a finding of severity WARN or above.
"""

import json
import sys

import privileges
import yaml
from cloudformation_validate import CompositeEngine, ReportStatus, Severity, TemplateContent, ValidateConfig
from samcli.yamlhelper import yaml_dump
from samcli.yamlhelper import yaml_parse as cli_parse
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.yaml_helper import yaml_parse
from translation import PARAMETERS, deployed, read, translate


def unresolved():
    """What CloudFormation does not accept in the template as SAM CLI sends it: anchors, aliases and merge keys."""
    with open("template.yaml", encoding="utf-8") as file:
        sent = yaml_dump(cli_parse(file.read()))
    for token in yaml.scan(sent):
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken) or getattr(token, "value", None) == "<<":
            yield f"SAM CLI does not resolve {token.value}"
    if yaml_parse(sent) != read():
        yield "SAM CLI sends another template than the one that is checked here"


CORS = {
    "AllowOrigins": "allowOrigins",
    "AllowMethods": "allowMethods",
    "AllowHeaders": "allowHeaders",
    "ExposeHeaders": "exposeHeaders",
    "MaxAge": "maxAge",
}


def cors_differences():
    """Differences of the translated CORS settings from the template."""
    written = read()["Resources"]["Api"]["Properties"]["CorsConfiguration"]
    written = written["Fn::If"][1] if "Fn::If" in written else written
    for origins in ["", "*", "https://shop.example.com", "https://shop.example.com,https://admin.example.com"]:
        cors = deployed(CorsOrigins=origins)["Api"]["Body"].get("x-amazon-apigateway-cors")
        expected = {CORS[name]: value for name, value in written.items()} | {"allowOrigins": origins.split(",")}
        if cors != (expected if origins else None):
            yield f"CorsOrigins={origins!r}: the translated API has {cors}"


def routes(template):
    """The routes of the functions: method and path, with the function and the scopes."""
    for name, resource in template["Resources"].items():
        for event in resource["Properties"].get("Events", {}).values():
            if resource["Type"] == "AWS::Serverless::Function" and event["Type"] == "HttpApi":
                route = event["Properties"]
                yield (route["Method"].lower(), route["Path"]), (name, route["Auth"]["AuthorizationScopes"])


def api_differences():
    """Differences of the translated API from the template."""
    body = translate()["Resources"]["Api"]["Properties"]["Body"]
    schemes = body["components"]["securitySchemes"]
    authorizer = {
        "type": "jwt",
        "identitySource": "$request.header.Authorization",
        "jwtConfiguration": {"issuer": {"Ref": "JwtIssuer"}, "audience": {"Ref": "JwtAudience"}},
    }
    if {name: scheme["x-amazon-apigateway-authorizer"] for name, scheme in schemes.items()} != {"Jwt": authorizer}:
        yield f"the authorizers are {schemes}"
    written = dict(routes(read()))
    translated = {(method, path): route for path, item in body["paths"].items() for method, route in item.items()}
    if written.keys() != translated.keys():
        yield f"the routes {sorted(written.keys() ^ translated.keys())} are in one of the two only"
    for key in written.keys() & translated.keys():
        (function, scopes), route = written[key], translated[key]
        if route["security"] != [{"Jwt": scopes}]:
            yield f"{key}: the scopes are {route['security']} instead of {scopes}"
        integration = route["x-amazon-apigateway-integration"]
        target = integration.pop("uri")["Fn::Sub"]
        if f"/functions/${{{function}.Arn}}/invocations" not in target:
            yield f"{key}: calls {target} instead of {function}"
        if integration != {"type": "aws_proxy", "httpMethod": "POST", "payloadFormatVersion": "2.0"}:
            yield f"{key}: is called with {integration}"


def main():
    """Prints each finding; exits with 1 if one of them is a warning or worse."""
    try:
        translated = json.dumps(translate(), indent=2)
        differences = [*cors_differences(), *api_differences(), *privileges.problems(), *unresolved()]
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
    print("".join(f"template.yaml: {difference}\n" for difference in differences), end="")
    if report.status != ReportStatus.OK:
        print(f"the validator did not finish: {report.status.name}")
        return 1
    print(f"template.yaml: {report.metadata.resources_scanned} resources, {len(bad)} findings of WARN or above")
    return 1 if bad or differences else 0


if __name__ == "__main__":
    sys.exit(main())
