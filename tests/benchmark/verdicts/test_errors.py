"""Realised errors and the ladder on score tables with chosen numbers: closed forms, and the audit's own verdicts."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.harness.score_table import ControlRow, ControlTable, ScoreRow, ScoreTable
from imgaudit.benchmark.harness.scoring import control_rows, score_rows
from imgaudit.benchmark.verdicts.bank import bank_of
from imgaudit.benchmark.verdicts.decided_again import decide_again
from imgaudit.benchmark.verdicts.errors import PROMISED, compare_bank, error_rows, report_errors
from imgaudit.benchmark.verdicts.images import Images
from imgaudit.benchmark.verdicts.ladder import ladder_protocol, lowest_rung, report_ladder
from imgaudit.benchmark.verdicts.never_trained import is_searched, never_trained_kinds
from imgaudit.benchmark.verdicts.portfolios import (
    Bank,
    Judged,
    decide_portfolios,
    false_discovery_proportions,
    judge,
    rank_images,
    select_discoveries,
)
from imgaudit.benchmark.verdicts.power import BACK, power_by_repeats
from imgaudit.cli import app
from imgaudit.decision.joint_test import JointTest
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.schema.findings import Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import SpanConfig
from imgaudit.schema.records import Measurement, Rung
from imgaudit.statistics import conformal_p_value, conformal_p_values, q_values
from tests.conftest import tiny_recipe
from tests.support.records import PROTOCOL, bank, digest, measurement, rung

ROOT = Path(__file__).parents[3]
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


@pytest.mark.parametrize("captions", [True, False])
@pytest.mark.parametrize("scored", [True, False])
def test_portfolios_are_decided_as_the_audit_decides(lab: LabDescription, captions: bool, scored: bool) -> None:
    """The arithmetic over many portfolios against the audit's own code, on one portfolio of all images."""
    made = with_caption_scores(table_of(lab)) if scored else table_of(lab)
    table = decide_again(made, captions=captions)
    images, bank = Images.of(made.rows), bank_by_table(table)
    judged = judge(images, bank, Policy(level=table.level), captions=captions)
    claims = decide_portfolios(judged.at(np.arange(len(images))[None]), table.level)
    found = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION)
    assert claims.copies[0].tolist() == [row.verdict in found for row in table.rows]
    assert claims.findings[0].tolist() == [row.verdict in (*found, Verdict.ATYPICAL) for row in table.rows]
    assert claims.copies[0].sum() == 10


def with_caption_scores(table: ScoreTable) -> ScoreTable:
    """Return the table with scores under captions, which one image in five lacks."""
    draw = np.random.default_rng(5)
    rows = [
        row.model_copy(update={"caption_log_ratio": float(draw.normal()) if n % 5 else None})
        for n, row in enumerate(table.rows)
    ]
    controls = [one.model_copy(update={"caption_log_ratio": float(draw.normal())}) for one in table.controls]
    return table.model_copy(update={"rows": rows, "controls": controls})


@pytest.mark.parametrize("span", [None, SpanConfig()])
def test_scores_under_captions_are_ranked_as_the_audit_ranks_them(lab: LabDescription, span: SpanConfig | None) -> None:
    table = with_caption_scores(table_of(lab))
    table = table.model_copy(update={"protocol": table.protocol.model_copy(update={"span": span})})
    kept_out = [one.model_copy(update={"kept_out": n < 60}) for n, one in enumerate(table.controls)]
    table = table.model_copy(update={"controls": kept_out})
    bank = bank_by_table(table)
    p_values = rank_images(Images.of(table.rows), bank, captions=True)
    withheld = rank_images(Images.of(table.rows), bank, captions=False)
    test = JointTest(bank_of(table, table.controls), Policy())
    for row, p_value, plain in zip(table.rows, p_values, withheld, strict=True):
        [own] = bank_of(table, [as_control(row)]).controls
        assert test.design(own).caption == (row.caption_log_ratio is not None)
        assert test.p_value(own) == pytest.approx(p_value)
        alone = own.model_copy(update={"caption_log_ratio": None, "rungs": {Rung.EMBEDDING: own.rungs[Rung.EMBEDDING]}})
        assert test.p_value(alone) == pytest.approx(plain)


def as_control(row: ScoreRow) -> ControlRow:
    return ControlRow(
        sha256=row.sha256, kept_out=False, text="", complexity=row.complexity, log_ratio=row.log_ratio,
        caption_log_ratio=row.caption_log_ratio, features={},
        rungs={rung: score.seeds for rung, score in row.rungs.items()},
    )  # fmt: skip


def bank_by_table(table: ScoreTable) -> Bank:
    kept_out = Images.of([one for one in table.controls if one.kept_out])
    return Bank(kept_out, Images.of(table.bank), is_searched(table))


def test_a_table_decided_again_keeps_the_verdicts_of_its_run(lab: LabDescription) -> None:
    table = table_of(lab)
    assert [row.verdict for row in decide_again(table).rows] == [row.verdict for row in table.rows]
    assert [row.q_value for row in decide_again(table).rows] == [row.q_value for row in table.rows]


def test_captions_that_a_bank_lacks_are_compared_with_its_embeddings(lab: LabDescription) -> None:
    table = table_of(lab)
    without = [c.model_copy(update={"rungs": {Rung.EMBEDDING: c.rungs[Rung.EMBEDDING]}}) for c in table.controls]
    table = table.model_copy(update={"controls": without})
    p_values = rank_images(Images.of(table.rows), bank_by_table(table), captions=True)
    test = JointTest(bank_of(table, table.controls), Policy())
    controls = control_rows(bank_of(table, table.controls), {})
    assert not bank_by_table(table).captioned and len(controls) == 199
    for row, p_value in zip(table.rows, p_values, strict=True):
        [own] = bank_of(table, [as_control(row)]).controls
        assert test.p_value(own) == pytest.approx(p_value)


def test_an_image_whose_p_value_was_taken_away_does_not_stand_out(lab: LabDescription) -> None:
    table = table_of(lab)
    rows = [row.model_copy(update={"p_value": None}) for row in table.of(Group.MEMORISED)]
    judged = judge(Images.of(rows), bank_by_table(table), Policy(), captions=True)
    assert judged.p_values.tolist() == [1.0] * 10 and judged.returned.sum() == 9


def test_a_table_of_another_version_is_refused_with_what_differs(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"schema_version": 1, "lab": "x"}')
    with pytest.raises(InputError, match="not a ScoreTable of this version"):
        ScoreTable.read(tmp_path / "old.json")


def test_false_discovery_has_its_closed_form_where_every_image_never_trained_on_is_claimed() -> None:
    everything = Judged(np.zeros((1, 50)), np.ones((1, 50), bool), np.ones((1, 50)), np.zeros((1, 50), bool))
    claims = decide_portfolios(everything, 0.05)
    assert claims.copies.all()
    assert false_discovery_proportions(claims.copies, 40).tolist() == [0.8]
    assert false_discovery_proportions(claims.copies & False, 40).tolist() == [0.0]


def test_kinds_of_images_never_trained_on_are_told_apart(lab: LabDescription) -> None:
    table = table_of(lab)
    other = ControlTable(
        note="elsewhere", model_fingerprint="f", protocol=PROTOCOL, seed=2, controls=table.controls[:99]
    )
    kinds = {kind.name: kind for kind in never_trained_kinds(table, other)}
    assert list(kinds) == [
        "never trained on", "no near copy was trained on", "whole series", "four copies of each",
        "four copies grouped", "bank of elsewhere", "seen once (not a null)",
    ]  # fmt: skip
    assert [len(kind.images) for kind in kinds.values()] == [259, 258, 259, 259, 259, 60, 8]
    draw = np.random.default_rng(0)
    copies = kinds["four copies of each"].draw(np.arange(60), draw, 3)
    assert copies.shape == (3, 40) and all(len(set(row)) <= 10 for row in copies.tolist())
    series = kinds["whole series"]
    [split] = series.splits(draw, 1)
    for chosen in series.draw(split.places, draw, 3).tolist():
        families = [series.families[place] for place in chosen]
        for complete in set(families) - {families[-1]}:
            assert {int(n) for n in split.places if series.families[n] == complete} <= set(chosen)
    [split] = kinds["bank of elsewhere"].splits(draw, 1)
    assert len(split.bank.controls) == 99 and len(split.places) == 60


@pytest.mark.parametrize("bootstrap", [True, False])
def test_no_image_is_judged_by_itself(lab: LabDescription, bootstrap: bool) -> None:
    kind = never_trained_kinds(table_of(lab))[0]
    pool = replace(kind.images, log_ratios=np.arange(float(len(kind.images))))
    for split in replace(kind, images=pool).splits(np.random.default_rng(0), 20, bootstrap=bootstrap):
        judging = {*split.bank.controls.log_ratios.tolist(), *split.bank.kept_out.log_ratios.tolist()}
        assert len(split.places) and not judging & set(pool.log_ratios[split.places].tolist())


def test_a_report_has_denominators_and_bounds(
    lab: LabDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("BANKS", 4), ("RESAMPLES", 3), ("BANKS_EACH", 2)):
        monkeypatch.setattr(f"imgaudit.benchmark.verdicts.errors.{name}", value)
    for name, value in (("BANKS", 3), ("KEPT_OUT", 0), ("BANK", 100)):
        monkeypatch.setattr(f"imgaudit.benchmark.verdicts.power.{name}", value)
    monkeypatch.setattr("imgaudit.benchmark.verdicts.power.BANK_SIZES", (10, 199))
    table = table_of(lab)
    report = report_errors(table)
    for row in report.errors:
        assert 0 <= row.copies <= row.findings <= row.any_false <= 1 and row.findings <= row.worst_bank + 1e-12
        assert row.memorised == 10 and row.per_portfolio in (10, 40)
        assert (row.low is None) is (row.kind not in PROMISED)
        assert row.low is None or row.high is None or 0 <= row.low <= row.findings <= row.high <= 1
    by_name = {one.name: one for one in report.by_repeats}
    assert by_name["100 repeats"].now.found == by_name[BACK].withheld.found == 1.0
    assert by_name[BACK].images == 10 and by_name[BACK].withheld.low < 0.8
    few, many = report.by_bank
    assert few.withheld.found < many.withheld.found == 1.0 and many.images == 10
    assert [one.images for one in report.banks] == [60, 8]
    # The lower end of 10 of 10 is 69 %: every memorised image was found, and the goal is missed all the same.
    [power] = [one for one in report.targets if one.name == f"captions withheld, {BACK}"]
    assert not power.met and "100.0%" in power.got
    table.write(tmp_path / "t.json")
    result = CliRunner().invoke(app, ["benchmark", "errors", "--table", str(tmp_path / "t.json")])
    assert result.exit_code == 0 and "four copies of each" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 140
    assert report_errors(table) == report


def test_a_bank_of_easier_images_is_told_and_claims_too_much(
    lab: LabDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgaudit.benchmark.verdicts.errors.BANKS", 4)
    table = table_of(lab)
    low = [c.model_copy(update={"log_ratio": c.log_ratio / 3}) for c in table.controls]
    other = ControlTable(note="easier", model_fingerprint="f", protocol=PROTOCOL, seed=2, controls=low)
    by_name = {one.fresh: one for one in compare_bank(table, other)}
    assert by_name["held out"].p_value > 0.05 > by_name["held out; bank of easier"].p_value
    [kind] = [one for one in never_trained_kinds(table, other) if "easier" in one.name]
    assert all(row.findings > 0.3 for row in error_rows(table, kind, 1))
    stranger = other.model_copy(update={"model_fingerprint": "another"})
    with pytest.raises(InputError, match="another model or protocol"):
        report_errors(table, stranger)


def test_power_of_images_that_nothing_returns_is_nought(lab: LabDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgaudit.benchmark.verdicts.power.BANKS", 3)
    table = table_of(lab)
    quiet = []
    for row in table.rows:
        missed = {
            rung: score.model_copy(update={"seeds": table.controls[0].rungs[Rung.EMBEDDING]})
            for rung, score in row.rungs.items()
        }
        quiet.append(row.model_copy(update={"rungs": missed}) if row.group is Group.MEMORISED else row)
    rows = power_by_repeats(table.model_copy(update={"rows": quiet}), 1)
    assert rows and all(one.now.found == one.withheld.found == one.before.found == 0.0 for one in rows)


@pytest.mark.slow
@pytest.mark.parametrize("lab_name", ["report-a", "report-b", "v", "sdxl"])
def test_one_level_holds_for_all_verdicts_together_on_committed_tables(lab_name: str) -> None:
    """Over random banks, the false share of all findings stays below 7.5 % where 5 % is asked; `errors` prints more."""
    root = Path(__file__).resolve().parents[3]
    table = ScoreTable.read(root / "examples" / "labs" / lab_name / "detection.json")
    for row in error_rows(table, never_trained_kinds(table)[0], 1):
        if row.level == 0.05:
            assert row.high is not None and row.high <= 0.075, row


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


def test_a_saved_table_is_printed_without_the_libraries_of_models() -> None:
    """They take longer to import than the table takes to be computed."""
    table = ROOT / "examples" / "labs" / "report-b" / "detection.json"
    program = (
        "import sys\n"
        "from imgaudit.cli import main\n"
        f"sys.argv = ['imgaudit', 'benchmark', 'errors', '--table', {str(table)!r}]\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'diffusers', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and done.stdout.splitlines()[-1] == "[]", done.stderr
