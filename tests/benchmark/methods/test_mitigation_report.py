"""The benchmark of mitigations: its goals from a made-up table, and its lines."""

from typing import Any

import pytest

from imgaudit.benchmark.methods.mask_overlap import MaskOverlap
from imgaudit.benchmark.methods.mitigation_report import format_mitigations, report_mitigations
from imgaudit.benchmark.methods.mitigation_table import (
    ERRORS_PRUNED,
    ERRORS_RANDOM,
    FILTERED,
    INFERENCE,
    LONGER,
    MORE_PRUNED,
    MORE_RANDOM,
    PRUNED,
    RANDOM,
    TUNED,
    MitigationTable,
)
from imgaudit.exceptions import InputError
from imgaudit.mitigation.evaluation import EvaluationSettings, ModelOutcome, PromptOutcome
from imgaudit.mitigation.evaluation_summary import EvaluationTable, Share
from imgaudit.schema.comparison import Retention
from imgaudit.schema.records import Skipped


def _prompt(close: float, error: float | None = None) -> PromptOutcome:
    return PromptOutcome(
        sha256="0", similarity=[close, 0.1], alignment=[0.3, 0.2], retrieved=1, aesthetic=Skipped(skipped="no head"),
        unusable=0, error=error,
    )  # fmt: skip


def _model(name: str, copied: int, error: float = 1.0) -> ModelOutcome:
    return ModelOutcome(
        name=name, fingerprint=name, network_evaluations=1000, seconds=2.0,
        triggers=[_prompt(0.99 if number < 10 * copied else 0.2) for number in range(100)],
        general=[_prompt(0.3, error) for _ in range(5)],
    )  # fmt: skip


def _retention(kept: int) -> Retention:
    return Retention(
        reproduced=100, retained=10 * kept, low=0.0, high=1.0, from_text_before=100, from_text=0,
        by_inversion_only=10 * kept, by_rung=[],
    )  # fmt: skip


def _table(**copied: int) -> MitigationTable:
    counts: dict[str, Any] = {
        "as it is": 10, PRUNED: 1, RANDOM: 9, MORE_PRUNED: 0, MORE_RANDOM: 9, ERRORS_PRUNED: 1, ERRORS_RANDOM: 10,
        TUNED: 0, "descent": 0, LONGER: 0, "random-tokens": 6, "attention": 7,
    } | copied  # fmt: skip
    skipped = Skipped(skipped="no head")
    return MitigationTable(
        lab="m", seed=1, located=10, controls=80, hardware="here", commands=["imgaudit mitigate locate"],
        evaluation=EvaluationTable(
            model="m", settings=EvaluationSettings(images=2), clip="CLIP", aesthetic=skipped, reference=skipped,
            hardware="here",
            models=[_model(name, count, 1.05 if name == PRUNED else 1.0) for name, count in counts.items()],
        ),
        located_reproduced={ERRORS_PRUNED: Share(hits=2, n=10, low=0.025, high=0.556)},
        overlap=MaskOverlap(images=5, retained=20, share=0.03, halves=[0.3, 0.5], untrained=[0.1, 0.1]),
        retention={
            PRUNED: _retention(8), ERRORS_PRUNED: _retention(7), TUNED: _retention(1), LONGER: _retention(3)
        },
    )  # fmt: skip


def test_every_hope_is_judged_by_its_own_row() -> None:
    report = report_mitigations(_table())
    assert all(target.met for target in report.targets), [t for t in report.targets if not t.met]
    for name, count, hope in (
        (PRUNED, 3, "pruned, reproduced"),
        (RANDOM, 7, "random mask of the same"),
        (ERRORS_PRUNED, 2, "pruned by errors"),
        (ERRORS_RANDOM, 9, "random mask of as many"),
        ("descent", 2, "descent as"),
        (LONGER, 2, "descent of"),
    ):
        missed = [target.name for target in report_mitigations(_table(**{name: count})).targets if not target.met]
        assert len(missed) == 1 and missed[0].startswith(hope)
    found = {target.name: target for target in report.targets}
    assert found["pruned, error on clean images"].got.startswith("+5.0%")
    assert found["pruned-by-errors, error on clean images"].wanted.endswith("+5%")


def test_a_pruned_model_that_nothing_brings_back_misses_the_published_order() -> None:
    table = _table()
    table = table.model_copy(update={"retention": table.retention | {PRUNED: _retention(1)}})
    missed = [target.name for target in report_mitigations(table).targets if not target.met]
    assert missed == ["pruned, retained after inversion", "pruned, ordering after inversion"]
    table = table.model_copy(update={"retention": {PRUNED: Skipped(skipped="nothing")}})
    assert "not measured" in report_mitigations(table).targets[-1].got


def test_a_table_without_a_mitigation_is_refused() -> None:
    table = _table()
    models = [one for one in table.evaluation.models if one.name != INFERENCE[0]]
    table = table.model_copy(update={"evaluation": table.evaluation.model_copy(update={"models": models})})
    with pytest.raises(InputError, match="no row 'descent'"):
        report_mitigations(table)


def test_a_model_trained_with_a_filter_is_judged_where_there_is_one() -> None:
    goals = {target.name: target for target in report_mitigations(_table(**{FILTERED: 1})).targets}
    assert goals["filtered, reproduced"].met and goals["filtered, error on clean images"].met
    assert not {name for name in goals if name.startswith("filtered")} & {
        target.name for target in report_mitigations(_table()).targets
    }
    missed = [target.name for target in report_mitigations(_table(**{FILTERED: 3})).targets if not target.met]
    assert missed == ["filtered, reproduced"]


def test_the_table_fits_the_documentation() -> None:
    lines = "\n".join(format_mitigations(report_mitigations(_table()))).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("fine-tuned" in line and "10 of 100" in line for line in lines)
    assert any(line.endswith("40.0% (30.0% to 50.0%)") for line in lines)
    assert any(line.startswith(ERRORS_PRUNED) and line.endswith("2 of 10 (2.5% to 55.6%)") for line in lines)
