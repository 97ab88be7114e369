"""The registry of benchmarks: each is a command, its options are its settings, and its table is written and read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import ValidationError
from typer.testing import CliRunner

from imgaudit.benchmark.harness.procedure import OnStage, Procedure, record_procedure, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.registry import BENCHMARKS, Benchmark
from imgaudit.benchmark.settings import IndexSettings, LadderSettings, RobustnessSettings, Settings, Tabled
from imgaudit.cli import app
from imgaudit.exceptions import InputError

TABLE = Path(__file__).parent.parent.parent / "examples" / "robustness.json"


class Numbers(Table):
    """A table."""

    title: str
    values: list[int]


class LinedNumbers(Numbers):
    """A table whose values have lines of their own."""

    long_lists = ("values",)


def measure(settings: Tabled, on_stage: OnStage) -> Numbers:
    on_stage("counting", 1, 1)
    return Numbers(title="some", values=[1, 2])


def lines(report: Numbers) -> Iterator[str]:
    yield f"{report.title}: {report.values}"


def test_names_differ_and_every_option_is_described() -> None:
    assert len({one.name for one in BENCHMARKS}) == len(BENCHMARKS) >= 24
    for one in BENCHMARKS:
        assert one.summary.endswith(".")
        for name, field in one.settings.model_fields.items():
            assert field.description, f"{one.name} {name}"


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
def test_every_benchmark_has_a_procedure_and_a_command(benchmark: Benchmark) -> None:
    assert isinstance(benchmark.load(), Procedure)
    group = typer.main.get_group(app).commands["benchmark"]
    options = {one.name for one in group.commands[benchmark.name].params}  # type: ignore[attr-defined]
    assert options == {*benchmark.settings.model_fields, "json_output", "quiet"}


def test_an_option_that_was_renamed_keeps_its_old_name() -> None:
    for name in ("--damaged-runs", "--spoilt"):
        done = CliRunner().invoke(app, ["benchmark", "robustness", "--table", str(TABLE), name, "3"])
        assert done.exit_code == 0 and "ended in one state" in done.stdout
        refused = CliRunner().invoke(app, ["benchmark", "robustness", "--table", str(TABLE), name, "-1"])
        assert refused.exit_code == 2


def test_settings_have_bounds_and_refuse_what_they_do_not_know() -> None:
    assert LadderSettings().model.endswith("report-a") and RobustnessSettings().out is None
    for wrong in ({"words": 0}, {"words": 33}, {"effort": "lazy"}, {"sizes": "1"}):
        with pytest.raises(ValidationError):
            LadderSettings.model_validate(wrong)
    with pytest.raises(ValidationError):
        IndexSettings(threads=0)
    assert not Settings.model_fields


@pytest.mark.parametrize(("kind", "written"), [(Numbers, '{\n  "title"'), (LinedNumbers, '"values": [\n1,\n2\n]')])
def test_a_table_that_is_written_is_read_again(tmp_path: Path, kind: type[Numbers], written: str) -> None:
    procedure = report_procedure(kind, lambda settings, on_stage: kind(**dict(measure(settings, on_stage))), lines)
    told: list[tuple[str, int, int]] = []
    table = procedure.measure(Tabled(), lambda *stage: told.append(stage))
    procedure.write(table, tmp_path / "table.json")
    assert written in (tmp_path / "table.json").read_text()
    assert procedure.read(tmp_path / "table.json") == table and told == [("counting", 1, 1)]
    assert list(procedure.lines(procedure.report(table, Tabled()), Tabled())) == ["some: [1, 2]"]


def test_another_file_is_refused_with_what_differs(tmp_path: Path) -> None:
    procedure = record_procedure(Numbers, measure, lambda table: table, lines)
    (tmp_path / "other.json").write_text('{"title": "x", "values": ["many"]}')
    with pytest.raises(InputError, match="not a Numbers"):
        procedure.read(tmp_path / "other.json")
