"""The shell commands in the project's documents and comments, parsed by shfmt."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import textwrap

SHFMT = str(pathlib.Path(sys.executable).parent / "shfmt")

# A block with its indentation, its language and its text.
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = {".md": re.compile(r"`((?:aws|cargo|sam|curl) [^`]*)`"), ".rs": re.compile(r"`(cargo [^`]*)`")}
# The beginning of the next line of a comment.
NEXT_LINE = re.compile(r"\n\s*//[/!]?")


@dataclasses.dataclass
class Command:
    """A simple command: its words, in which `$` stands for what only a shell knows."""

    path: pathlib.Path
    words: list[str]

    def __str__(self):
        return f"{self.path}: {' '.join(self.words)}"


def documents():
    """Every Markdown file and every file of Rust that is, or is about to be, part of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "*.rs"], check=True, capture_output=True, text=True
    )
    return [pathlib.Path(line) for line in listed.stdout.splitlines() if pathlib.Path(line).exists()]


def scripts(text):
    """The scripts of a document: its shell blocks, and what stands behind the prompts of recorded sessions."""
    for indent, language, block in BLOCK.findall(text):
        if language in ("sh", "bash"):
            yield textwrap.dedent(block)
        elif language in ("", "console") and f"{indent}$ " in block:
            lines = textwrap.dedent(block).splitlines()
            yield "\n".join(line.removeprefix("$ ") for line in lines if line.startswith("$ ")) + "\n"


def parsed(script):
    """The syntax tree of a script for any POSIX shell, or an error."""
    command = [SHFMT, "-ln", "posix", "--to-json"]
    run = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    return (json.loads(run.stdout), None) if run.returncode == 0 else (None, run.stderr.strip())


def text_of(word):
    """A word without its quotes."""
    return "".join(
        part["Value"] if part["Type"] in ("Lit", "SglQuoted") else text_of(part) if part["Type"] == "DblQuoted" else "$"
        for part in word.get("Parts", [])
    )


def nodes(tree):
    """Every node of a syntax tree."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for child in tree:
            yield from nodes(child)


def read(path):
    """The commands of a document, the functions that it defines, and what is wrong with its scripts."""
    commands, functions, problems = [], set(), []
    text = path.read_text(encoding="utf-8")
    prose = NEXT_LINE.sub(" ", text) if path.suffix == ".rs" else BLOCK.sub("", text)
    inline = [" ".join(span.split()) for span in INLINE[path.suffix].findall(prose)]
    for script, required in [(script, True) for script in scripts(text)] + [(span, False) for span in inline]:
        tree, error = parsed(script)
        if error and required:
            problems.append(f"{path}: {error} in {script.splitlines()[0]!r}")
        for node in nodes(tree):
            if node.get("Type") == "FuncDecl":
                functions.add(node["Name"]["Value"])
            elif node.get("Type") == "CallExpr" and node.get("Args"):
                commands.append(Command(path, [text_of(word) for word in node["Args"]]))
    return commands, functions, problems
