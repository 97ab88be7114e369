"""Goals: met only by the end of the interval that could fall short."""

import ast
import subprocess
from pathlib import Path

import numpy as np
import pytest

import imgaudit.benchmark
from imgaudit.benchmark.harness.figures import Goal, MeasuredRate, format_commands, format_goals, measure_rate
from imgaudit.benchmark.harness.table import Table
from imgaudit.statistics import Interval, mean_interval, rate_ratio

SIMULATIONS = 4000
BENCHMARKS = Path(imgaudit.benchmark.__file__).parent
ESTIMATES = {"rate", "auc", "mean", "median", "low", "high", "hits", "share"}


def simulate(truth: float, n: int) -> list[MeasuredRate]:
    hits = np.random.default_rng(n).binomial(n, truth, SIMULATIONS)
    rates = {k: measure_rate("called", "all", [number < k for number in range(n)]) for k in set(hits.tolist())}
    return [rates[k] for k in hits.tolist()]


@pytest.mark.parametrize("n", [20, 60, 200, 1000])
@pytest.mark.parametrize("bound", [0.075, 0.3, 0.9])
def test_a_rate_that_only_equals_the_bound_is_rarely_called_met(n: int, bound: float) -> None:
    samples = simulate(bound, n)
    for judge in (Goal.at_least, Goal.at_most):
        assert np.mean([judge("x", one, bound).met for one in samples]) <= 0.03


def test_a_true_rate_of_eight_per_cent_where_five_are_asked_is_not_met() -> None:
    samples = simulate(0.08, 200)
    assert np.mean([one.low <= 0.05 for one in samples]) > 0.5, "the rule that this replaces"
    assert np.mean([Goal.within_level("x", one, 0.05).met for one in samples]) <= 0.025


def test_a_goal_says_which_bound_was_wanted_and_what_was_measured() -> None:
    rate = measure_rate("called", "all", [True] * 3 + [False] * 197)
    goal = Goal.within_level("false", rate, 0.05)
    assert str(goal) == "met    false: wanted <= 5%, upper bound <= 7.5%, got 3 of 200 (1.5%, 0.3% to 4.3%)"
    assert str(Goal.at_least("found", rate, 0.9)).startswith("MISSED found: wanted lower bound >= 90%, got 3 of 200")
    assert Goal.at_most("ratio", Interval(1.0, 1.2), 1.1, got="1.10").wanted == "upper bound <= 1.1"
    unknown = Goal.unmeasured("alignment", "lower bound >= 70%", "not measured: no CLIP")
    assert not unknown.met and "no CLIP" in str(unknown)
    assert not Goal.at_least("x", Interval(float("nan"), float("nan")), 0.0, got="x").met


def test_goals_fit_a_terminal_of_80_columns() -> None:
    rate = measure_rate("called", "all", [True] * 3 + [False] * 197)
    name = "copies of images that were never trained on, captions withheld"
    lines = list(format_goals([Goal.at_most(name, rate, 0.05), Goal.exact("files", "0", "0", met=True)]))
    assert lines == [
        "",
        "goals",
        "met    copies of images that were never trained on, captions withheld: wanted",
        "       upper bound <= 5%, got 3 of 200 (1.5%, 0.3% to 4.3%)",
        "met    files: wanted 0, got 0",
    ]
    assert not list(format_goals([]))


def test_a_shell_reads_a_command_of_several_lines_as_it_was_run() -> None:
    command = f"imgaudit audit portfolio --model {'m' * 40} --framing pad --out a-folder --seed 1 --quiet --steps 8"
    lines = list(format_commands([command, "imgaudit view a"]))
    assert len(lines) == 3 and max(map(len, lines)) <= 80 and lines[-1] == "imgaudit view a"
    printed = ["sh", "-c", "printf '%s\\n' " + "\n".join(lines[:-1])]
    assert (
        subprocess.run(printed, capture_output=True, text=True, check=True).stdout.split("\n")[:-1] == command.split()
    )
    quoted = f"imgaudit audit 'two words' --model {'m' * 60}"
    assert list(format_commands([quoted])) == [quoted]


def test_no_benchmark_judges_a_goal_by_an_estimate() -> None:
    for path in sorted(BENCHMARKS.rglob("*.py")):
        if path.name == "figures.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called != "Goal", f"{path.name}:{node.lineno} makes a goal without a bound"
            if called == "Goal.exact":
                given = next(word.value for word in node.keywords if word.arg == "met")
                names = {one.attr for one in ast.walk(given) if isinstance(one, ast.Attribute)}
                assert not names & ESTIMATES, f"{path.name}:{node.lineno} judges {names & ESTIMATES}"


def test_goals_in_a_table_of_an_older_version_are_not_believed() -> None:
    class Kept(Table):
        """A table whose goals are judged when it is read."""

        n: int
        """A count."""

    assert Kept.model_validate({"n": 3, "targets": [{"met": True}]}) == Kept(n=3)


def test_ratios_have_intervals_that_hold_the_truth() -> None:
    generator = np.random.default_rng(1)
    counts = generator.poisson([20, 5], (SIMULATIONS, 2))
    held = [low <= 2 <= high for a, b in counts for low, high in [rate_ratio(int(a), 200, int(b), 100)]]
    assert np.mean(held) >= 0.94
    assert rate_ratio(0, 100, 0, 100) == Interval(0.0, np.inf) and rate_ratio(3, 100, 0, 100).high == np.inf
    timed = generator.normal(1.1, 0.02, (SIMULATIONS, 5))
    held = [low <= 1.1 <= high for row in timed for low, high in [mean_interval(row.tolist())]]
    assert 0.94 <= np.mean(held) <= 0.96
