"""Draws every Mermaid diagram of the documents with Mermaid itself, without a browser.

Prints each that Mermaid rejects, and exits with 1 when there is one.
"""

import pathlib
import re
import sys

import mermaidx


def problems(path):
    """The diagrams of a document that Mermaid rejects."""
    for diagram in re.finditer(r"^```mermaid\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        try:
            mermaidx.render(diagram.group(1)).svg()
        except RuntimeError as error:
            line = diagram.string.count("\n", 0, diagram.start()) + 1
            yield f"{path}, the diagram at line {line}: {error}"


def main():
    """Prints what is wrong."""
    lines = [problem for path in sorted(pathlib.Path().glob("docs/**/*.md")) for problem in problems(path)]
    print("\n".join(lines) or "every diagram can be drawn")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
