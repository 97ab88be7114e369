"""Print the committed tables into the documentation again, so that no figure is typed by hand, and copy the glossary.

    python examples/refresh_tables.py

A block that follows a comment like

    <!-- printed by: imgaudit benchmark detection --table examples/labs/report-a/detection.json -->

is replaced by what that command prints, and the table of pipelines by what the package knows of them. The tests fail
when a page differs.
"""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.models.families.refused import REFUSED
from imgaudit.models.families.registry import FAMILIES

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "imgaudit" / "report" / "templates" / "glossary.md"
PIPELINES = ROOT / "docs" / "reference" / "pipelines.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- printed by: imgaudit (?P<command>[^\n]*?) -->\n+```text\n)(?P<text>.*?)(```)", re.DOTALL)


def printed(command: str) -> str:
    """Run an imgaudit command at the root of the repository and return its output. Raises RuntimeError if it fails."""
    words = [str(ROOT / word) if (ROOT / word).exists() else word for word in shlex.split(command)]
    result = CliRunner().invoke(app, words)
    if result.exit_code != 0:
        raise RuntimeError(f"imgaudit {command} failed: {result.output}")
    return result.stdout


def refreshed(page: str) -> str:
    """Return a page with every printed block as its command prints it now."""
    return BLOCK.sub(lambda block: f"{block[1]}{printed(block['command'])}```", page)


def list_pipelines() -> str:
    """Return the rows of the table of pipelines: those that are audited, and the others with the reason."""
    audited = {name: f"audited as {family.title}" for name, family in FAMILIES.items()}
    return "".join(f"| `{name}` | {said} |\n" for name, said in sorted({**REFUSED, **audited}.items()))


def main() -> None:
    head, start, _ = PIPELINES.read_text(encoding="utf-8").partition("| --- | --- |\n")
    PIPELINES.write_text(head + start + list_pipelines(), encoding="utf-8")
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} changed")
    # Reports bring the glossary with them, so the package has the source.
    (ROOT / "docs" / "concepts" / "glossary.md").write_bytes(GLOSSARY.read_bytes())


if __name__ == "__main__":
    main()
