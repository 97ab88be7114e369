"""Realised errors and the ladder on score tables with chosen numbers: closed forms, and the audit's own verdicts."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ControlTable, ScoreTable
from imgaudit.benchmark.harness.scoring import control_rows, score_rows
from imgaudit.benchmark.verdicts.errors import compare_bank, error_rows, report_errors
from imgaudit.benchmark.verdicts.ladder import ladder_protocol, lowest_rung, report_ladder
from imgaudit.benchmark.verdicts.never_trained import never_trained_kinds, series_of
from imgaudit.benchmark.verdicts.portfolios import (
    Judged,
    bank_of,
    decide_portfolios,
    false_discovery_proportions,
    judge,
    select_discoveries,
)
from imgaudit.benchmark.verdicts.power import power_by_bank, power_by_repeats
from imgaudit.cli import app
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.schema.findings import Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Measurement, Rung
from imgaudit.statistics import conformal_p_value, conformal_p_values, q_values
from tests.conftest import tiny_recipe
from tests.support.records import PROTOCOL, bank, digest, measurement, rung

COPY, MISS = (0.99, 0.05), (0.4, 0.4)


def image(name: str, role: str, repeats: int = 0, reproduced: int = 0) -> LabImage:
    return LabImage(
        file_name=name, sha256=digest(name), text=f"{name}, series {digest(name)[0]}", role=role, repeats=repeats,  # type: ignore[arg-type]
        exposures=0, exact_exposures=0, nearest_training_image="", nearest_similarity=0.95 if name == "h0" else 0.2,
        reproduced=reproduced, truth_seeds=64,
    )  # fmt: skip


def measured(name: str, *, tokens: bool) -> Measurement:
    memorised = name[0] == "m"
    score = 3.0 if memorised else float(np.random.default_rng(int(digest(name)[:8], 16)).uniform())
    copies = [COPY] * 8 if memorised else [MISS] * 8
    one = measurement(name, score, copies, [MISS] * 8 if name == "m0" else copies)
    if not tokens:
        return one
    searched = rung([COPY] * 8 if name in ("m0", "m1") else [MISS] * 8, "two words").model_copy(update={"bits": 20.0})
    return one.model_copy(update={"rungs": one.rungs | {Rung.TOKENS: searched}})


@pytest.fixture
def lab() -> LabDescription:
    images = [image(f"m{n}", "planted", 100, 60) for n in range(10)]
    images += [image(f"s{n}", "seen_once", 1) for n in range(8)]
    images += [image(f"h{n}", "held_out") for n in range(60)]
    return LabDescription(recipe=tiny_recipe(), background_images=0, images=images)


def table_of(lab: LabDescription, *, tokens: bool = False) -> ScoreTable:
    null = bank(199)
    measurements = [measured(one.file_name, tokens=tokens) for one in lab.images]
    findings = decide(measurements, Evidence(null, PROTOCOL, Policy()))
    return ScoreTable(
        lab="tiny", model_fingerprint="f", protocol=PROTOCOL, seed=1, level=0.05, hardware="none",
        controls=control_rows(null, {}), rows=score_rows(findings, measurements, null, lab),
    )  # fmt: skip


def test_many_p_values_at_once_are_the_audits() -> None:
    generator = np.random.default_rng(0)
    controls, scores = generator.normal(size=30).round(1), generator.normal(size=50).round(1)
    assert conformal_p_values(scores, controls).tolist() == [conformal_p_value(s, controls.tolist()) for s in scores]
    p_values = generator.uniform(size=(4, 9)) ** 3
    assert [[q <= 0.05 for q in q_values(row)] for row in p_values.tolist()] == select_discoveries(
        p_values, 0.05
    ).tolist()


def test_a_table_decided_again_as_one_portfolio_gives_the_verdicts_it_holds(lab: LabDescription) -> None:
    table = table_of(lab)
    rows = table.rows
    judged = judge(rows, bank_of(table, table.controls), Policy(level=table.level))
    claims = decide_portfolios(judged.at(np.arange(len(rows))[None]), table.level)
    found = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION)
    assert claims.replicated[0].tolist() == [row.verdict in found for row in rows]
    assert claims.score[0].tolist() == [row.q_value is not None and row.q_value <= table.level for row in rows]
    assert judged.score_p.tolist() == [row.p_value for row in rows]


def test_an_image_whose_p_value_was_taken_away_is_not_claimed_by_its_score(lab: LabDescription) -> None:
    table = table_of(lab)
    rows = [row.model_copy(update={"p_value": None}) for row in table.of(Group.MEMORISED)]
    assert judge(rows, bank_of(table, table.controls), Policy()).score_p.tolist() == [1.0] * 10


def test_a_table_of_another_version_is_refused_with_what_differs(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"schema_version": 1, "lab": "x"}')
    with pytest.raises(InputError, match="not a ScoreTable of this version"):
        ScoreTable.read(tmp_path / "old.json")


def test_false_discovery_has_its_closed_form_where_every_image_never_trained_on_is_claimed() -> None:
    everything = Judged(np.zeros((1, 50)), np.ones((1, 50)), np.ones((1, 50), bool), np.zeros((1, 50), bool))
    claims = decide_portfolios(everything, 0.05)
    assert claims.replicated.all()
    assert false_discovery_proportions(claims.replicated, 40).tolist() == [0.8]
    assert false_discovery_proportions(claims.replicated & False, 40).tolist() == [0.0]


def test_kinds_of_images_never_trained_on_are_told_apart(lab: LabDescription) -> None:
    table = table_of(lab)
    other = ControlTable(
        note="elsewhere", model_fingerprint="f", protocol=PROTOCOL, seed=2, controls=table.controls[:99]
    )
    kinds = {kind.name: kind for kind in never_trained_kinds(table, other)}
    assert list(kinds) == [
        "held out", "held out, no near copy was trained on", "held out, whole series", "held out, four copies of each",
        "held out, four copies grouped", "held out; bank of elsewhere", "seen once (not a null)",
    ]  # fmt: skip
    assert [len(kind.rows) for kind in kinds.values()] == [60, 59, 60, 60, 60, 60, 8]
    draw = np.random.default_rng(0)
    copies = kinds["held out, four copies of each"].draw(np.arange(60), draw, 3)
    assert copies.shape == (3, 40) and all(len(set(row)) <= 10 for row in copies.tolist())
    whole = kinds["held out, whole series"].draw(np.arange(60), draw, 3)
    rows = kinds["held out, whole series"].rows
    for chosen in whole.tolist():
        families = [series_of(rows[place].text) for place in chosen]
        for complete in set(families) - {families[-1]}:
            assert {n for n, row in enumerate(rows) if series_of(row.text) == complete} <= set(chosen)
    assert len(kinds["held out; bank of elsewhere"].bank) == 99


def test_a_report_has_denominators_and_an_honest_bank_is_met(
    lab: LabDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("errors", "power"):
        monkeypatch.setattr(f"imgaudit.benchmark.verdicts.{name}.RESAMPLES", 20)
    monkeypatch.setattr("imgaudit.benchmark.verdicts.power.BANK_SIZES", (10, 199))
    table = table_of(lab)
    report = report_errors(table)
    for row in report.errors:
        assert 0 <= row.low <= row.high <= 1 and 0 <= row.proportion <= row.any_false <= 1
        assert row.memorised == 10 and row.per_portfolio in (10, 40)
    verdicts = [row for row in report.errors if row.claim == "verdict"]
    assert all(row.any_false == 0 for row in verdicts)
    assert {one.name: one.replicated for one in report.by_repeats} == {"100 repeats": 1.0}
    few, many = report.by_bank
    assert few.score < many.score == 1.0 and many.images == 10
    assert [one.images for one in report.banks] == [60, 8]
    table.write(tmp_path / "t.json")
    result = CliRunner().invoke(app, ["benchmark", "errors", "--table", str(tmp_path / "t.json")])
    assert result.exit_code == 0 and "held out, four copies of each" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 130
    assert report_errors(table) == report


def test_a_bank_of_easier_images_is_told_and_claims_too_much(lab: LabDescription) -> None:
    table = table_of(lab)
    low = [c.model_copy(update={"log_ratio": c.log_ratio / 3}) for c in table.controls]
    other = ControlTable(note="easier", model_fingerprint="f", protocol=PROTOCOL, seed=2, controls=low)
    by_name = {one.fresh: one for one in compare_bank(table, other)}
    assert by_name["held out"].p_value > 0.05 > by_name["held out; bank of easier"].p_value
    [kind] = [one for one in never_trained_kinds(table, other) if "easier" in one.name]
    score = next(row for row in error_rows(table, kind, 1) if row.claim == "score")
    assert score.low > 0.3
    stranger = other.model_copy(update={"model_fingerprint": "another"})
    with pytest.raises(InputError, match="another model or protocol"):
        report_errors(table, stranger)


def test_power_of_images_that_nothing_finds_is_nought(lab: LabDescription) -> None:
    table = table_of(lab)
    rows = [row.model_copy(update={"log_ratio": 0.1}) if row.group is Group.MEMORISED else row for row in table.rows]
    quiet = table.model_copy(update={"rows": rows})
    assert [one.score for one in power_by_repeats(quiet, 1)] == [0.0]
    assert all(one.score == 0.0 for one in power_by_bank(quiet, 1))


def test_the_ladder_names_the_lowest_rung_with_and_without_captions(lab: LabDescription, tmp_path: Path) -> None:
    table = table_of(lab, tokens=True)
    by_hash = {row.sha256: row for row in table.rows}
    lowest = {
        name: (lowest_rung(by_hash[digest(name)], captions=True), lowest_rung(by_hash[digest(name)], captions=False))
        for name in ("m0", "m1", "m2", "h1")
    }
    assert lowest == {
        "m0": (Rung.TOKENS, Rung.TOKENS),
        "m1": (Rung.CAPTION, Rung.TOKENS),
        "m2": (Rung.CAPTION, Rung.EMBEDDING),
        "h1": (None, None),
    }
    report = report_ladder(table)
    found = {(one.name, one.group): one.hits for one in report.lowest}
    assert found["with captions: caption", Group.MEMORISED] == 9
    assert found["captions withheld: tokens", Group.MEMORISED] == 2
    assert found["captions withheld: embedding", Group.MEMORISED] == 8
    assert found["captions withheld: no rung", Group.HELD_OUT] == 60
    assert report.bits == {Rung.TOKENS: 20.0}
    met = {one.name: one.met for one in report.targets}
    assert not met["memorised images come out for their captions"], "9 of 10 do not show 90 %"
    assert not met["captions withheld, memorised images come out for a searched prompt"]
    table.write(tmp_path / "t.json")
    result = CliRunner().invoke(app, ["benchmark", "ladder", "--table", str(tmp_path / "t.json")])
    assert result.exit_code == 0 and "MISSED captions withheld" in result.stdout
    protocol = ladder_protocol(PROTOCOL, 3, 500)
    with pytest.raises(InputError, match="one iteration takes 136"):
        ladder_protocol(PROTOCOL, 3, 50)
    assert protocol.ladder.rungs == ("caption", "paraphrase", "tokens", "embedding") and protocol.tokens.words == 3
