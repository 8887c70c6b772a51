"""The commands in documents, and the figures in docs/operations.md."""

import pathlib
import re

import shell_blocks


# The response's file is the last word of the command.
ANSWER = r"aws lambda invoke .*? (\S+?)(?=\)? (?:>|\|\||&&)|\)?$)"


def problems_of_commands(path, block):
    """Problems of one block of commands."""
    # zsh does not split the value of a parameter.
    for loop in re.findall(r"for \w+ in [^;]*\$\w[^;]*", block):
        yield f"{path}: zsh goes through this loop once: {loop}"
    before = ""
    for command in block.splitlines():
        # Without it, SAM CLI does not know the stack.
        if re.search(r"\bsam deploy\b", command.split("#")[0]) and "--config-env" not in command:
            yield f"{path}: without --config-env: {command.strip()}"
        if "aws lambda invoke" in command:
            # The CLI would give up after a minute, and start a long run a second time.
            if "AWS_MAX_ATTEMPTS=1 aws lambda invoke --cli-read-timeout 0 " not in command:
                yield f"{path}: not with AWS_MAX_ATTEMPTS=1 and --cli-read-timeout 0: {command.strip()}"
            # If the call fails, the CLI leaves the response of the one before. An event has no response.
            answer = re.search(ANSWER, command)
            if "--invocation-type Event" not in command and not (answer and f"rm -f {answer.group(1)}" in before):
                yield f"{path}: a failed call leaves the response of an earlier one: {command.strip()}"
        before += command + "\n"


def figures(template):
    """The costs without traffic in docs/operations.md, compared with the template."""
    schedules = re.findall(r"'Schedule': 'rate\((\d+) minutes?\)'", str(template["Resources"]))
    yield f"{sum(30 * 24 * 60 // int(minutes) for minutes in schedules):,} runs of the schedules in 30 days"


def retained(template):
    """What stays when the stack is deleted."""
    for name, resource in template["Resources"].items():
        if resource.get("DeletionPolicy", "Delete") != "Delete":
            yield name


def filters(text, code):
    """Log messages that a document filters by, and that nothing logs."""
    for message in re.findall(r'filter message = "([^"]+)"', " ".join(text.split())):
        if f'"{message}"' not in code:
            yield f"a filter for the log message {message!r}, which nothing logs"


# Sections of docs/operations.md that are not the response to a failure.
NO_RESPONSE = {
    "Deploy",
    "A first deployment that failed",
    "After a deployment",
    "Alarms",
    "Concurrency",
    "Logs",
    "Sales",
    "Changing an event",
}


def unused(operations, alarms):
    """Runbooks to which no alarm leads, and alarms that documents name and the template lacks."""
    table = operations.partition("| alarm |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        if not row.split("|")[-2].strip():
            yield f"docs/operations.md: no response to {row.split('|')[1].strip()}"
    for heading, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", operations, re.MULTILINE | re.DOTALL):
        parts = [heading, *re.findall(r"^### (.*)$", text, re.MULTILINE)]
        anchors = {re.sub(r"[^a-z0-9 -]", "", part.lower()).replace(" ", "-") for part in parts}
        if heading not in NO_RESPONSE and "```sh" in text and not any(f"(#{anchor})" in table for anchor in anchors):
            yield f"docs/operations.md: no alarm leads to {heading!r}"
    for path in sorted(pathlib.Path("docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`\s+(?:must\s+)?alarms?\b|alarms?\s+`(\w+)`", text):
            if "".join(name) not in alarms:
                yield f"{path}: there is no alarm {''.join(name)}"


def problems(template):
    """Problems of the commands, filters and figures in docs/."""
    code = "".join(path.read_text(encoding="utf-8") for path in [*pathlib.Path("functions/src").rglob("*.rs"), *pathlib.Path("core").rglob("*.rs")])
    for path in [pathlib.Path("README.md"), *sorted(pathlib.Path("docs").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        for block in shell_blocks.scripts(text):
            # Without the line breaks inside commands.
            yield from problems_of_commands(path, re.sub(r"\\\n\s*", "", block))
        yield from (f"{path}: {problem}" for problem in filters(text, code))
    operations = pathlib.Path("docs/operations.md").read_text(encoding="utf-8")
    alarms = {name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::CloudWatch::Alarm"}
    yield from unused(operations, alarms)
    operations = " ".join(operations.split())
    for figure in figures(template):
        if figure not in operations:
            yield f"docs/operations.md does not say what is paid for without traffic: {figure}"
    found = re.search(r"Deleting the stack leaves ([^:]*):", operations)
    left = set(re.findall(r"`(\w+)`", found.group(1))) if found else set()
    if left != set(retained(template)):
        yield f"docs/operations.md says that {sorted(left)} are left, but {sorted(retained(template))} are retained"
