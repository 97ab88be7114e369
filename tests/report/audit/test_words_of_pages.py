"""What pages say in words: in the order of a reader's questions, once, and without claiming more than was measured."""

import re
from pathlib import Path

from imgaudit.report import write_report
from imgaudit.report.glossary import read_glossary
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult, Verdict


def read_pages(run: RunFolder) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (run.path / "report").glob("*.html")}


def image_pages(run: RunFolder, result: AuditResult) -> list[str]:
    measured = [finding for finding in result.findings if finding.replication]
    return [read_pages(run)[f"{finding.id}.html"] for finding in measured]


def test_the_index_is_in_the_order_of_questions_and_model_checks_are_folded(run: RunFolder) -> None:
    index = read_pages(run)["index.html"]
    order = ["counts", "images", "untested", "rests", "check"]
    assert re.findall(r'<h2 id="(\w+)"', index)[: len(order)] == order
    assert "Repeat" not in index and "Command of this audit" in index and "imgaudit verify RUN" in index
    assert index.count("cannot have been in the training set, as far as the owner knows") == 1


def test_the_axis_of_the_overview_claims_no_more_than_its_caption(run: RunFolder) -> None:
    chart = (run.path / "report" / "charts" / "overview.svg").read_text(encoding="utf-8")
    assert "less like the controls" in chart and "memorised" not in chart and "199 controls that count" in chart


def test_pages_of_images_show_what_decided_and_one_interval_per_cell(run: RunFolder, result: AuditResult) -> None:
    for page in image_pages(run, result):
        assert re.search(r"<td>1\.000, worst tile 0\.\d{3}</td>", page)
        assert "<strong>copy</strong>" in page and re.search(r"<p>\d\.\d{3}, worst tile 0\.\d{3}", page)
        assert not re.search(r"below \d+\.\d% at", page)


def test_a_way_of_asking_that_was_not_chosen_is_told_from_one_that_was_not_possible(
    run: RunFolder, result: AuditResult
) -> None:
    assert "tokens" not in result.protocol.ladder.rungs and "prompt" in result.protocol.ladder.rungs
    for page in image_pages(run, result):
        assert '<strong>tokens</strong></th><td colspan="9">not measured: this audit did not ask in this way' in page
        assert "the protocol has no" not in page


def test_without_controls_the_hint_stands_once_and_nothing_looks_like_a_count(folder: RunFolder) -> None:
    folder.calibration_path.unlink()
    result = conclude(folder)
    write_report(folder, result)
    index = read_pages(folder)["index.html"]
    assert "None, so there are no p-values" in index and index.count("--calibration") == 1
    assert "copies of a part of an image: there are no controls to compare with" in index
    for page in image_pages(folder, result):
        assert page.count("--calibration") == 1
        assert "embedding: not counted (no valid copy threshold)" in page and "none: no controls" in page
        assert "near-identical, by the absolute standard" in page
        assert not re.search(r"absolute standard</small><br><small>\d+ near-identical", page), "said twice"
    assert '["embedding", null, ' in (folder.path / "report" / "data" / "images-0001.js").read_text()


def test_a_file_and_descriptors_that_were_not_measured_are_named_one_by_one(
    folder: RunFolder, result: AuditResult
) -> None:
    counts = result.summary.counts | {Verdict.SKIPPED: 1}
    measures = {"sscd": "skipped: no file", "sscd-int8": "skipped: not installed"}
    update = {
        "summary": result.summary.model_copy(update={"counts": counts}),
        "run": result.run | {"measures": measures},
    }
    changed = result.model_copy(update=update)
    write_report(folder, changed)
    assert "It is listed with the reason, and must not be read as a clean result." in read_pages(folder)["index.html"]
    for page in image_pages(folder, changed):
        assert "copy descriptor</a> sscd was not measured: no file" in page
        assert "copy descriptor</a> sscd-int8 was not measured: not installed" in page


def test_every_word_that_a_page_links_has_an_entry(run: RunFolder) -> None:
    pages, places = read_pages(run), Path("glossary.html")
    ids = set(re.findall(r'<dt id="([^"]+)"', pages[places.name]))
    assert len(ids) == len(read_glossary())
    linked = {anchor for text in pages.values() for anchor in re.findall(r'href="glossary\.html#([^"]+)"', text)}
    assert linked <= ids and {"tile", "deciding-q", "p-against-controls", "q-of-the-text", "seal"} <= linked
