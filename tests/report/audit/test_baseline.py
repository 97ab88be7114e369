"""The page and the charts of an image say what its score is compared with."""

from html import unescape

from imgaudit.report import write_report
from imgaudit.report.audit.charts import Charts
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.baseline import BASELINE_WORDING, Baseline
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.records import ErrorMeasurement
from tests.report.conftest import folder
from tests.support.records import bank, curve

__all__ = ["folder"]


def with_baseline(result: AuditResult, baseline: Baseline) -> AuditResult:
    findings = [
        finding.model_copy(update={"error": finding.error.model_copy(update={"baseline": baseline})})
        if isinstance(finding.error, ErrorMeasurement)
        else finding
        for finding in result.findings
    ]
    return result.model_copy(update={"findings": findings})


def test_the_page_says_what_the_embedding_is_compared_with(folder: RunFolder, result: AuditResult) -> None:
    measured = [finding.id for finding in result.findings if isinstance(finding.error, ErrorMeasurement)]
    for baseline, sentence in BASELINE_WORDING.items():
        write_report(folder, with_baseline(result, baseline))
        for name in measured:
            page = unescape((folder.path / "report" / f"{name}.html").read_text(encoding="utf-8"))
            assert f"with the embedding, {sentence}, by timestep" in page
            chart = (folder.path / "report" / "charts" / f"{name}-error.svg").read_text(encoding="utf-8")
            assert f"log({baseline} error / inverted error)" in chart


def test_the_chart_of_scores_names_the_controls_baseline() -> None:
    null = bank(199)
    start = null.model_copy(
        update={"controls": [one.model_copy(update={"baseline": "start"}) for one in null.controls]}
    )
    assert "log(null error / inverted error)" in Charts(null, 0.05).null_distribution(0.5)
    assert "log(start error / inverted error)" in Charts(start, 0.05).null_distribution(0.5)
    assert "log(null error / inverted error)" in Charts(start, 0.05).error_curve(curve(0.3))
