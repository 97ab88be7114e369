"""A statement shows outside text as text."""

import re

import pytest
from markdown_it import MarkdownIt
from markupsafe import escape

from imgaudit.report.complaint.blocks import Facts, Paragraph, Section, Statement, Table, render_statement_markdown
from imgaudit.schema.text import printable


@pytest.mark.parametrize(
    "text",
    ["# a", "- a", "1. a", "1) a", "=== a", "<b>a</b>", "[a](http://b.c)", "![a](b.png)", "https://b.c", "www.b.c",
     "a@b.c", "`a`", "*a*", "__a__", "~~a~~", "&lt;a&gt;", "a | b", "    a", "> a", "a\n\n# b", "\\`a`", "+ a"],
)  # fmt: skip
def test_nothing_in_a_statement_is_markup(text: str) -> None:
    blocks = [Paragraph(text), Facts([(text, text)]), Table((text,), [(text,)])]
    written = render_statement_markdown(Statement(text, [Section(text, blocks)]))
    html = MarkdownIt("gfm-like", {"linkify": False}).render(written)
    shown = escape(printable(text).strip()).replace("&#39;", "'").replace("&#34;", "&quot;")
    assert html.count(f">{shown}<") == 6 and html.count(shown) >= 7, html
    assert set(re.findall("<([a-z0-9]+)", html)) == {
        "h1", "h2", "p", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
