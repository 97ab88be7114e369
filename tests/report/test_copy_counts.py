"""What is said of copies: with a valid threshold a number, without one that nothing was counted."""

import csv
import io
from dataclasses import replace

import pytest

from imgaudit.decision.copy_thresholds import ABSOLUTE_STANDARD
from imgaudit.report.copy_counts import (
    closest_text,
    copies_text,
    count_copies,
    explain_dashes,
    explain_uncounted,
    rate_text,
)
from imgaudit.report.formats import render_csv, render_markdown
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.records import Rung, Skipped
from imgaudit.schema.replication import Replication
from tests.support.records import rung

NONE = Skipped(skipped="14 controls are too few for level 0.05")


@pytest.fixture
def one(result: AuditResult) -> Replication:
    found = next(finding.replication[0] for finding in result.findings if finding.replication)
    placed = {"similarity": 0.85812, "distance": 0.15311}
    return found.model_copy(
        update={"rung": Rung.EMBEDDING, "hits": 2, "n": 8, "rate": 0.25, "low": 0.03, "high": 0.65, "confidence": 0.95,
                "thresholds": placed}
    )  # fmt: skip


def with_controls(result: AuditResult, controls: int) -> AuditResult:
    return result.model_copy(update={"summary": result.summary.model_copy(update={"controls": controls})})


def test_a_threshold_of_enough_controls_gives_a_number_of_copies(one: Replication, result: AuditResult) -> None:
    count = count_copies(one, with_controls(result, 39))
    assert count == ("2 of 8", "", "similarity > 0.858, worst tile < 0.153")
    assert rate_text(one) == "25.0% (3.0% to 65.0%, 95 %)", "one interval, and no bound of another kind beside it"


def test_a_threshold_of_one_control_is_not_valid_and_counts_no_copies(one: Replication, result: AuditResult) -> None:
    count = count_copies(one, with_controls(result, 38))
    assert count.counted == "2 of 8 pass" and count.note.endswith("not a number of copies")
    assert count.thresholds.startswith("not valid: one control alone set it, and 39 controls are needed")


def test_without_controls_a_text_is_told_by_the_absolute_standard(one: Replication, result: AuditResult) -> None:
    absolute = one.model_copy(update={"thresholds": ABSOLUTE_STANDARD.model_dump()})
    count = count_copies(absolute, with_controls(result, 0))
    assert count.note == "near-identical, by the absolute standard"
    assert count.thresholds.startswith("absolute standard, which no control decides")


def test_without_a_threshold_no_page_and_no_table_has_a_number(one: Replication, result: AuditResult) -> None:
    bare = one.model_copy(update={"thresholds": NONE, "control_rate": NONE})
    assert count_copies(bare, result).counted == "not counted" and rate_text(bare) == "–"
    finding = next(finding for finding in result.findings if finding.replication)
    changed = result.model_copy(update={"findings": [finding.model_copy(update={"replication": [bare]})]})
    assert copies_text(changed.findings[0]) == "embedding not counted"
    assert explain_uncounted(changed) == [f"not counted: there is no valid copy threshold ({NONE.skipped})"]
    assert "embedding not counted" in render_markdown(changed) and "embedding 2" not in render_markdown(changed)
    [row] = csv.DictReader(io.StringIO(render_csv(changed)))
    assert (row["embedding_hits"], row["embedding_low"], row["embedding_n"]) == ("", "", "8")


def test_dashes_are_explained_once_with_their_columns(one: Replication) -> None:
    bare = one.model_copy(update={"thresholds": NONE, "control_rate": NONE, "p_value": 0.5, "q_value": 0.5,
                                  "coincidence_p_value": 0.5})  # fmt: skip
    assert explain_dashes([bare, bare]) == [f"copies and their rate, rate for controls: {NONE.skipped}"]


def test_every_number_that_decides_a_copy_is_named() -> None:
    [pixels] = rung([(0.9312, 0.0812)]).replicas
    assert closest_text(pixels) == "0.931, worst tile 0.081"
    measured = replace(pixels, similarity={"pixel": 0.9312, "sscd": 0.7})
    assert closest_text(measured) == "0.931, worst tile 0.081, copy descriptor 0.700"
    assert closest_text(rung([], invalid=1).replicas[0]) == "not scored"
