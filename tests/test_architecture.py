"""The rules of the house that a machine can check: style, types, imports, packages, file sizes, public names."""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import imgaudit

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "imgaudit"
TESTS = ROOT / "tests"

WITHOUT_MODULE = {
    "test_architecture", "test_docs", "test_error_rates", "cli/test_main", "cli/test_help", "io/test_hostile_files",
    "index/test_refusals", "models/test_lora_refusals", "models/test_sabotaged_configurations",
    "models/test_weight_refusals", "models/families/test_family_configurations",
    "models/families/test_transformer_families", "benchmark/robustness/test_robustness",
    "benchmark/budgets/test_budgets", "similarity/descriptors/test_descriptors", "report/server/test_decision_form",
    "report/audit/test_score_search", "report/audit/test_baseline", "decision/test_baseline", "diffusion/test_baseline",
    "report/audit/test_words_of_pages",
    "models/families/test_guidance_embedding", "models/families/test_two_streams", "models/files/test_refused_files",
    "report/audit/test_skipped_files", "report/audit/test_index_access", "diffusion/test_chosen_streams",
}  # fmt: skip
"""Tests of something wider than a module, besides those in end_to_end."""

FRONT_DOORS = {
    "benchmark/budgets": "benchmark/budgets/test_budgets",
    "benchmark/index": "cli/test_index",
    "benchmark/reports": "benchmark/reports/test_scale",
    "benchmark/robustness": "benchmark/robustness/test_robustness",
    "benchmark/scale": "benchmark/scale/test_bench",
    "benchmark/speed": "benchmark/speed/test_memory",
    "cli": "cli/test_main",
    "index": "index/test_collection",
    "models/files": "models/files/test_single_file",
    "report": "report/test_formats",
    "runs/comparison": "runs/comparison/test_compare",
}
"""Packages whose modules are reached through one of them or through a command, and the test that does so."""

TESTED_BY = {
    "benchmark/harness/procedure": "cli/test_signatures",
    "benchmark/registry": "cli/test_signatures",
    "diffusion/rungs": "diffusion/test_token_search",
    "io/c2pa": "io/test_generator_marks",
    "io/metadata_bytes": "io/test_embedded_caption",
    "mitigation/evaluation_run": "mitigation/test_evaluation",
    "mitigation/mitigated": "mitigation/test_registry",
    "models/lora_settings": "models/test_lora_refusals",
    "models/pipeline": "models/test_loading",
    "runs/audit": "test_api",
    "runs/replay/comparison": "runs/replay/test_replay",
    "runs/replay/generation": "runs/replay/test_replay",
    "runs/verification/verdicts": "runs/verification/test_run",
    "schema/replay": "runs/replay/test_replay",
    "similarity/parts/photometric": "similarity/parts/test_pair",
}
"""Modules that no test imports, and the test that reaches them through what uses them."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
    ],
    ids=" ".join,
)
def test_the_checkers_find_nothing(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_go_downward() -> None:
    program = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_few_rooms_and_a_short_contract() -> None:
    packages = {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    loose = {path.stem for path in HOUSE.glob("*.py")}
    assert len(packages) <= 13 and len(loose) <= 5, (packages, loose)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [contract for contract in settings["contracts"] if contract["type"] == "layers"]
    assert layers["exhaustive"] and len(layers["layers"]) <= 12
    # Every package and module has a layer, but the one that starts the program and the one that gives out the names.
    rooms = {room.strip() for line in layers["layers"] for room in line.split("|")}
    assert rooms == packages | loose - {"__init__", "__main__"}


def test_decisions_and_schemas_load_neither_torch_nor_opencv() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for room in ("decision", "schema")
        for path in sorted((HOUSE / room).rglob("*.py"))
    ]
    program = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
    program += "assert not {'torch', 'cv2'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def imported_by(test: Path) -> set[str]:
    """Names of the modules and members that a test file imports."""
    names = set()
    for node in ast.walk(ast.parse(test.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_tests_mirror_the_packages() -> None:
    tests = [path.relative_to(TESTS).with_suffix("") for path in TESTS.rglob("test_*.py")]
    without = {
        test.as_posix()
        for test in tests
        if test.parts[0] != "end_to_end"
        and not (module := HOUSE / test.with_name(test.name.removeprefix("test_"))).is_dir()
        and not module.with_suffix(".py").is_file()
    }
    assert without == WITHOUT_MODULE


def test_every_module_has_its_tests() -> None:
    imported = {path.relative_to(TESTS).with_suffix("").as_posix(): imported_by(path) for path in TESTS.rglob("*.py")}
    for place, test in (FRONT_DOORS | TESTED_BY).items():
        assert (HOUSE / place).is_dir() or (HOUSE / f"{place}.py").is_file(), f"there is no {place}"
        package = ".".join(("imgaudit", *place.split("/")[:1]))
        assert any(name.startswith((package, "imgaudit.cli")) for name in imported[test]), f"{test} reaches no {place}"
    untested = set()
    for path in HOUSE.rglob("*.py"):
        module, text = path.relative_to(HOUSE).with_suffix(""), path.read_text(encoding="utf-8")
        if "bundled" in module.parts or path.name.startswith("__") or text.count("\n") <= 60 or ">>> " in text:
            continue
        name = ".".join(("imgaudit", *module.parts))
        own = module.with_name(f"test_{module.name}").as_posix() in imported
        tested = any(name in names for test, names in imported.items() if "test_" in test)
        front = any(module.is_relative_to(place) for place in FRONT_DOORS)
        if not (own or tested or front):
            untested.add(module.as_posix())
    assert not untested - set(TESTED_BY), "give it a test of its own, or say which test covers it"


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    questions = {"What", "Whether", "Of", "How", "Where", "Why", "Which"}
    found = []
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                decorators = {ast.unparse(one) for one in node.decorator_list}
                first = (ast.get_docstring(node) or " ").split(" ")[0]
                if first in questions and not decorators & {"property", "cached_property", "functools.cached_property"}:
                    found.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not found


def test_public_names_are_sorted_complete_and_importable() -> None:
    assert imgaudit.__all__ == sorted(imgaudit.__all__)
    for name in imgaudit.__all__:
        assert getattr(imgaudit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        imgaudit.nothing  # noqa: B018
    assert importlib.import_module("imgaudit").__version__ == imgaudit.__version__


def test_no_file_outgrows_a_reader() -> None:
    long = {
        path.name: count
        for path in (ROOT / "imgaudit").rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
