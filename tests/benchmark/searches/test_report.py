"""Tables of searches: their statistics in closed form, and what is printed of them."""

from pathlib import Path

import pytest

from imgaudit.benchmark.harness.cases import Group
from imgaudit.benchmark.searches.report import format_searches, measure_point, report_searches
from imgaudit.benchmark.searches.table import CAPTION, INVERSION, TEXTS, SearchRow, SearchTable, read_tables
from imgaudit.exceptions import InputError
from imgaudit.schema.protocol import SpanConfig

DORI = "DoRI, best similarity"


def row(number: int, group: Group, use: str, values: dict[str, float]) -> SearchRow:
    # The inversion's score is what complexity explains, and nothing else.
    complexity = number % 7 / 10
    ratios = {name: value + 2 * complexity * (name == INVERSION) for name, value in values.items()}
    return SearchRow.model_validate(
        {"sha256": f"{number:016x}", "group": group, "repeats": 0, "use": use, "complexity": complexity,
         "log_ratios": ratios}
    )  # fmt: skip


def make_table(lab: str = "made-up", prediction_type: str = "flow") -> SearchTable:
    # Distinct in no order: there is nothing that complexity explains.
    spread = [number * 17 % 40 / 1e6 for number in range(40)]
    rows = [
        row(n, Group.HELD_OUT, "fit", {INVERSION: 0.5 + one, TEXTS: one, CAPTION: one}) for n, one in enumerate(spread)
    ]
    rows += [
        row(100 + n, Group.HELD_OUT, "bank", {INVERSION: 0.5, TEXTS: n / 1000, CAPTION: n / 1000, DORI: n / 1000})
        for n in range(240)
    ]
    rows += [
        row(400 + n, Group.MEMORISED, "measured", {INVERSION: 0.5, TEXTS: 1.0, CAPTION: 2.0, DORI: 0.1})
        for n in range(80)
    ]
    rows += [
        row(600 + n, Group.HELD_OUT, "measured", {INVERSION: 0.5, TEXTS: 0.1, CAPTION: 0.1, DORI: 0.05})
        for n in range(200)
    ]
    rows += [row(900, Group.SEEN_ONCE, "measured", {INVERSION: 0.5, TEXTS: 1.0, CAPTION: 0.1})]
    return SearchTable(
        lab=lab, pipeline="StableDiffusion3Pipeline", prediction_type=prediction_type, baseline="null",
        model_fingerprint="f", seed=1, hardware="none", steps=8, draws=8, span=SpanConfig(),
        evaluations={INVERSION: 256, TEXTS: 384, CAPTION: 128, DORI: 1800}, rows=rows,
    )  # fmt: skip


def test_figures_are_those_in_closed_form() -> None:
    table = make_table()
    texts = measure_point(table, TEXTS)
    assert texts.audited and texts.controls == 240 and texts.held_out is not None
    assert texts.held_out.auc == 1.0 and texts.held_out.positives == 80 and texts.held_out.negatives == 200
    assert texts.detected[0.05].hits == texts.detected[0.01].hits == 80 and texts.false[0.05].hits == 0
    assert texts.once[0.05].hits == 1 and texts.once[0.05].n == 1
    # What complexity explains is taken out, and nothing is left that separates.
    inversion = measure_point(table, INVERSION)
    assert not inversion.audited and inversion.held_out is not None
    assert inversion.held_out.auc == pytest.approx(0.5, abs=0.1)


def test_goals_are_met_and_missed() -> None:
    goals = {goal.name: goal.met for goal in report_searches([make_table()]).targets}
    assert goals["made-up, texts: AUC"] and goals["made-up, own caption: AUC"]
    assert goals[f"made-up: texts against {DORI}"] and goals["made-up, texts: held out with p <= 0.05"]
    noise = {goal.name: goal.met for goal in report_searches([make_table(prediction_type="epsilon")]).targets}
    assert not noise["made-up, inversion: AUC"] and not noise["made-up, inversion: memorised with p <= 0.05"]


def test_a_folder_of_tables_is_one_report(tmp_path: Path) -> None:
    for lab in ("b", "a"):
        make_table(lab).write(tmp_path / f"{lab}.json")
    tables = read_tables(tmp_path)
    assert [table.lab for table in tables] == ["a", "b"] and read_tables(tmp_path / "a.json") == tables[:1]
    lines = list(format_searches(report_searches(tables)))
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("* texts") for line in lines) == 4, "in two tables of two labs"
    # A search without controls has no shares, and takes none from the others.
    report = report_searches(tables[:1])
    without = [one if one.audited else one.model_copy(update={"controls": 0}) for one in report.points]
    lines = list(format_searches(report.model_copy(update={"points": without})))
    shares = lines[next(number for number, line in enumerate(lines) if line.startswith("share with p")) :]
    assert [line[:7] for line in shares[1 : shares.index("")]] == ["* texts"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no table"):
        read_tables(tmp_path / "empty")


def test_no_goal_is_judged_where_the_search_was_chosen() -> None:
    report = report_searches([make_table("flow"), make_table("other")])
    assert report.targets and all("flow" not in goal.name.split(":")[0] for goal in report.targets)
    assert "no goal is judged on flow: the search was chosen there" in list(format_searches(report))
    assert report_searches([make_table("v")]).targets == []
