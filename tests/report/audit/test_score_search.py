"""Pages, charts and the terminal say which search a score was measured with."""

from html import unescape

import pytest

from imgaudit.cli.terminal import print_result
from imgaudit.report import write_report
from imgaudit.report.audit.charts import Charts
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.baseline import BASELINE_WORDING
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.protocol import Protocol, Search, SpanConfig
from imgaudit.schema.records import ErrorMeasurement
from tests.report.conftest import folder
from tests.support.records import bank
from tests.support.wrapping import unwrap

__all__ = ["folder"]

BETTER = "score: how much better the model predicts an image with "
INVERTED = f"{BETTER}numbers in place of words that a search found for it (inversion) than without text"
SEARCHED = f"{BETTER}a sum of ordinary texts that a search found for it than without text"


def searched(result: AuditResult, predicted: str = "flow") -> AuditResult:
    """The same result as if the model had been measured after the search in the span of texts."""
    model = result.run["model"] | {"prediction_type": predicted}
    protocol = Protocol.model_validate(result.protocol.model_dump() | {"span": SpanConfig().model_dump()})
    return result.model_copy(update={"protocol": protocol, "run": result.run | {"model": model}})


def pages_of(folder: RunFolder, result: AuditResult) -> tuple[str, list[str]]:
    """The index, and the pages of images that have a score."""
    write_report(folder, result)
    measured = [finding.id for finding in result.findings if isinstance(finding.error, ErrorMeasurement)]
    read = [unescape((folder.path / "report" / f"{name}.html").read_text("utf-8")) for name in ["index", *measured]]
    return read[0], read[1:]


def test_a_model_that_predicts_noise_is_recorded_without_the_search(result: AuditResult) -> None:
    assert result.protocol.span is None


def test_pages_of_runs_by_inversion_read_as_before(folder: RunFolder, result: AuditResult) -> None:
    for one in (result, searched(result, "epsilon")):
        index, pages = pages_of(folder, one)
        assert pages and "sums of texts" not in index
        for page in pages:
            assert f"with the embedding, {BASELINE_WORDING['null']}, by timestep, after 4 inversion steps." in page
            assert "; the embedding is better in" in page
            assert "64 paired draws after step 4, " in page
            assert "sum of" not in page


def test_pages_of_searched_models_explain_the_search(folder: RunFolder, result: AuditResult) -> None:
    index, pages = pages_of(folder, searched(result))
    assert "for the score, 128 steps of 1 draw in the search among sums of texts; " in index
    assert pages
    for page in pages:
        assert "a search looked for the sum of ordinary texts with which the model predicts this image best" in page
        assert f"its errors are {BASELINE_WORDING['null']}" in page
        assert f"predicts the image with the sum of texts that the search found, {BASELINE_WORDING['null']}" in page
        assert "by timestep, after 128 steps of that search." in page
        assert "; that sum is better in" in page
        assert "128 steps of 1 draw in the search among sums of texts, 64 paired draws after it, " in page
        assert "draws after step" not in page
    chart = next((folder.path / "report" / "charts").glob("*-error.svg")).read_text("utf-8")
    assert "log(null error / error under a sum of texts)" in chart


def test_the_chart_of_scores_names_the_search() -> None:
    assert "error under a sum of texts)" in Charts(bank(199), 0.05, Search.TEXTS).null_distribution(0.5)


def test_the_terminal_says_which_search_and_baseline_the_scores_have(
    result: AuditResult, capsys: pytest.CaptureFixture[str]
) -> None:
    for one, line in ((result, INVERTED), (searched(result), SEARCHED)):
        print_result(one)
        assert line in unwrap(capsys.readouterr().out)
