"""A statement: sections of paragraphs, facts, tables and pictures, the same in Markdown and on a page to print."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from imgaudit.report.pages import page_environment
from imgaudit.schema.text import printable


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str
    emphasis: str = ""
    """A word before it in bold, such as Limit."""
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Facts:
    """Terms with what they are."""

    rows: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Table:
    """Rows under headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class PictureBlock:
    """A picture beside the statement."""

    file: str
    """Relative to the statement, of letters that need no escape."""
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side."""

    pictures: Sequence[PictureBlock]
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Code:
    """Something to type or to compare letter by letter."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Blank:
    """Something that people write in."""

    label: str
    kind: ClassVar[str] = "blank"


_LINE_START = re.compile(r"^(\s*\d*)([#+\-=.)])")

Block = Paragraph | Facts | Table | Pictures | Code | Blank


@dataclass(frozen=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: Sequence[Block]
    kind: str = ""
    """Kind of section for the stylesheet; empty for an ordinary one."""


@dataclass(frozen=True)
class Statement:
    """A document. Every text in it may come from outside: both renderings show it as text."""

    title: str
    sections: Sequence[Section] = field(default_factory=tuple)


def list_texts(section: Section) -> Iterator[str]:
    """Yield what a section says, without pictures."""
    yield section.title
    for block in section.blocks:
        if isinstance(block, Paragraph | Code):
            yield block.text
        elif isinstance(block, Facts | Table):
            yield from (" ".join(row) for row in block.rows)


def render_statement_html(statement: Statement) -> str:
    """Return the statement as a page; complaint.css belongs beside it."""
    return page_environment().get_template("complaint.html.jinja").render(statement=statement)


def render_statement_markdown(statement: Statement) -> str:
    """Return the statement as CommonMark with tables, in which nothing from outside is markup.

    >>> print(render_statement_markdown(Statement("On *one* work", [Section("Facts", [Facts([("a", "<b>")])])])))
    # On \\*one\\* work
    <BLANKLINE>
    ## Facts
    <BLANKLINE>
    - **a**: \\<b\\>
    <BLANKLINE>
    """
    lines = [f"# {_plain(statement.title)}", ""]
    for section in statement.sections:
        lines += [f"## {_plain(section.title)}", ""]
        for block in section.blocks:
            lines += [*_markdown(block), ""]
    return "\n".join(lines)


def _markdown(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield (f"**{_plain(block.emphasis)}.** " if block.emphasis else "") + _plain(block.text)
    elif isinstance(block, Facts):
        yield from (f"- **{_plain(term)}**: {_plain(text)}" for term, text in block.rows)
    elif isinstance(block, Table):
        yield f"| {' | '.join(map(_plain, block.headings))} |"
        yield f"| {' | '.join('---' for _ in block.headings)} |"
        yield from (f"| {' | '.join(map(_plain, row))} |" for row in block.rows)
    elif isinstance(block, Pictures):
        for picture in block.pictures:
            yield f"- ![{_plain(picture.caption)}]({picture.file})  "
            yield f"  {_plain(picture.caption)}"
    elif isinstance(block, Code):
        yield f"    {printable(block.text)}"
    else:
        yield f"{_plain(block.label)}: \\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_\\_"


def _plain(text: str) -> str:
    """Escape outside text for running Markdown: markup, addresses that readers turn into links, and list markers.

    Fewer characters than `markdown_text` escapes, so that the statement can be read as it is.
    """
    escaped = "".join("\\" + c if c in "\\`*_[]<>|~&!@" else c for c in printable(text).strip())
    escaped = escaped.replace("://", ":\\/\\/").replace("www.", "www\\.")
    return _LINE_START.sub(r"\1\\\2", escaped)
