"""What the documentation says is so: commands exist, options are documented, links lead somewhere."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import refresh_tables
from defusedxml import ElementTree
from typer.main import get_command

import imgaudit
from imgaudit.cli import app
from imgaudit.report.wording import WORDING
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import Verdict

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

PAGES_WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_docs_exists_with_its_options(page: Path) -> None:
    root = get_command(app)
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for call in re.findall(r"imgaudit ([a-z].*?)(?:$|&&|#)", line):
                words = call.split()
                command = root.commands[words[0]]  # type: ignore[attr-defined]
                if hasattr(command, "commands"):
                    command = command.commands[words[1]]
                known = {option for parameter in command.params for option in parameter.opts}
                used = {word for word in words if word.startswith("-")}
                assert used <= known, f"{page.name}: {used - known} in {line!r}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text("utf-8")], ids=lambda page: page.name
)
def test_python_in_the_docs_runs(
    page: Path, model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a reader would run it: every block in turn, in a folder with a model and images."""
    make_folder("my-images", [1, 2])
    make_folder("my-unpublished-images", range(10, 14))
    shutil.copytree(model_folder, tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)
    result = names.get("result")
    assert result is None or "<table" in result._repr_html_()  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    named = re.findall(r"`((?:imgaudit|tests|examples|docs)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_reference_covers_the_public_names() -> None:
    pages = [page.read_text("utf-8") for page in (ROOT / "docs" / "reference" / "python").glob("*.md")]
    listed = [name for page in pages for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)]
    assert len(listed) == len(set(listed))
    for module in listed:
        assert importlib.util.find_spec(module), f"there is no module {module}"
    homes = {getattr(imgaudit, name).__module__ for name in imgaudit.__all__ if name != "__version__"}
    assert homes <= set(listed)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and anchor leads somewhere, every documented name exists."""
    environ = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {page.relative_to(tmp_path / "site").as_posix() for page in (tmp_path / "site").rglob("index.html")}
    assert {"index.html", "concepts/how-it-works/index.html", "reference/python/diffusion/index.html"} <= built


def test_the_figures_of_the_readme_are_printed_on_the_pages_it_links() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    table = text[text.index("| what is looked for") :].partition("\n\n")[0]
    rows = re.findall(r"^\|(.*)\|(.*)\|(.*)\| \[.*?\]\((\S+)\) \|$", table, re.MULTILINE)
    assert len(rows) >= 5
    for _, found, wrong, page in rows:
        printed = "".join(block["text"] for block in refresh_tables.BLOCK.finditer((ROOT / page).read_text("utf-8")))
        figures = re.findall(r"\d+\.\d%", found + wrong)
        assert figures and all(re.search(rf"(?<![\d.]){re.escape(figure)}", printed) for figure in figures), page


def test_the_figures_of_pruning_are_printed_by_the_benchmark_of_mitigations() -> None:
    text = (ROOT / "docs" / "concepts" / "pruning.md").read_text("utf-8")
    table = text[text.index("| set to zero |") :].partition("\n\n")[0]
    blocks = refresh_tables.BLOCK.finditer((ROOT / "docs" / "benchmarks.md").read_text("utf-8"))
    printed = next(block["text"] for block in blocks if block["command"].startswith("benchmark mitigations"))
    figures = re.findall(r"\d+ of \d+ \(.*?\)|[+-]\d.*?%\)|0\.\d{3}", table)
    assert len(figures) >= 15 and not [figure for figure in figures if figure not in printed]


def test_the_drawing_is_legible_without_eyes_and_in_the_dark() -> None:
    drawing = ElementTree.parse(ROOT / "docs" / "images" / "how-it-works.svg").getroot()
    name = "{http://www.w3.org/2000/svg}"
    texts = [element.text or "" for element in drawing.iter(f"{name}text")]
    assert drawing.findtext(f"{name}title") and drawing.get("aria-labelledby") == "title desc"
    described = (drawing.findtext(f"{name}desc") or "").lower()
    verdicts = [verdict.label for verdict in Verdict]
    assert set(verdicts) <= set(texts) and all(verdict.lower() in described for verdict in verdicts)
    assert "prefers-color-scheme: dark" in (drawing.findtext(f"{name}style") or "")
    # Nothing is fetched and nothing runs.
    assert not list(drawing.iter(f"{name}script")) and not list(drawing.iter(f"{name}image"))


def test_every_audit_option_is_a_configuration_key() -> None:
    command = get_command(app).commands["audit"]  # type: ignore[attr-defined]
    options = {parameter.name for parameter in command.params}
    assert set(AuditConfig.model_fields) <= options


def test_every_configuration_key_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    assert not {key for key in AuditConfig.model_fields if f"`{key}`" not in text}


def test_every_verdict_is_worded_with_its_limit() -> None:
    assert set(WORDING) == set(Verdict)
    assert all(wording.label and wording.meaning and wording.limit for wording in WORDING.values())
    forbidden = re.compile(r"\bsafe\b", re.IGNORECASE)
    assert not any(forbidden.search(text) for wording in WORDING.values() for text in wording)


@pytest.mark.parametrize("page", refresh_tables.PAGES, ids=lambda page: page.name)
def test_printed_tables_are_what_their_commands_print(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert refresh_tables.refreshed(text) == text, "run python examples/refresh_tables.py"
    assert text.count("printed by:") == len(refresh_tables.BLOCK.findall(text)), "a block without its table"


@pytest.mark.parametrize("page", refresh_tables.PAGES, ids=lambda page: page.name)
def test_printed_tables_fit_a_terminal(page: Path) -> None:
    # Tables are read in terminals of 80 columns, and commands in them are copied as they are.
    blocks = [match[0] for match in refresh_tables.BLOCK.finditer(page.read_text(encoding="utf-8"))]
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith("<!--")]
    assert not [line for line in lines if len(line) > 80 and not line.startswith("imgaudit ")]


def test_nothing_reported_was_measured_on_the_lab_that_chose_the_defaults() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "error-rates.md"):
        commands = re.findall(r"printed by: (.*?) -->", page.read_text(encoding="utf-8"))
        assert commands and not [command for command in commands if "labs/fit/" in command]


@pytest.mark.parametrize("script", sorted((ROOT / "findings").glob("*.sh")), ids=lambda path: path.stem)
def test_a_finding_can_be_run_and_is_listed(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert f"`{script.name}`" in (ROOT / "findings" / "README.md").read_text(encoding="utf-8")
