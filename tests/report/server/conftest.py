"""A run with pages that have the decision form, and its server."""

import threading
from collections.abc import Iterator
from typing import Any

import jinja2
import pytest

from imgaudit.report.pages import page_environment, write_assets
from imgaudit.report.review import read_reviewed_run
from imgaudit.report.review.context import review_context
from imgaudit.report.server import ReviewServer
from imgaudit.report.wording import WORDING
from imgaudit.runs.folder import RunFolder

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self'; style-src 'self'; \
img-src 'self' data:; base-uri 'none'; form-action 'none'">
<meta name="imgaudit-run-id" content="{{ review.run_id }}">
<meta name="imgaudit-result-sha256" content="{{ review.result_sha256 }}">
<title>An image</title><link rel="stylesheet" href="assets/style.css">
<link rel="stylesheet" href="assets/decisions.css"></head>
<body><main><h1>An image</h1>{% include "decision_form.html.jinja" %}</main>
<script src="assets/decisions.js"></script></body></html>"""

INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>All images</title>
<meta name="imgaudit-run-id" content="{{ review.run_id }}">
<meta name="imgaudit-result-sha256" content="{{ review.result_sha256 }}"></head>
<body><p data-decision-status></p><button data-save-decisions>Save decisions.json</button>
{% for one in findings %}<p data-image-id="{{ one.id }}" data-sha256="{{ one.sha256 }}"
data-verdict="{{ one.verdict.value }}"></p>{% endfor %}
<script src="assets/decisions.js"></script></body></html>"""


@pytest.fixture
def pages(folder: RunFolder) -> RunFolder:
    """The run with a page of each kind that has the form or the script."""
    reviewed = read_reviewed_run(folder.path)
    environment = page_environment().overlay()
    environment.loader = jinja2.ChoiceLoader([jinja2.DictLoader({"page": PAGE, "index": INDEX}), environment.loader])  # type: ignore[list-item]
    write_assets(folder.path / "report", ["decisions.js", "decisions.css"])
    shared: dict[str, Any] = {"review": review_context(folder), "wording": WORDING}
    for finding in reviewed.images.values():
        page = environment.get_template("page").render(**shared, finding=finding)
        (folder.path / "report" / f"decide-{finding.id}.html").write_text(page)
    index = environment.get_template("index").render(**shared, findings=list(reviewed.images.values()))
    (folder.path / "report" / "all.html").write_text(index)
    return folder


@pytest.fixture
def server(pages: RunFolder) -> Iterator[ReviewServer]:
    with ReviewServer(pages) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join(10)
