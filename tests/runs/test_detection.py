"""`imgaudit detect`: its folder, tables, page and messages."""

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import ConfigError, InputError, RunFolderError
from imgaudit.io.tables import TablePrompt, read_prompts
from imgaudit.models import load_model
from imgaudit.models.loading import LoadedModel
from imgaudit.report.detection import segments, write_detection
from imgaudit.runs.detection import detect_into, detection_manifest, judged
from imgaudit.runs.manifest import open_manifest
from imgaudit.schema.detection import PromptDetection, PromptDetectionSettings
from imgaudit.schema.records import Skipped
from imgaudit.statistics import conformal_p_value
from tests.support.wrapping import unwrap

HOSTILE = [
    "<script>alert(1)</script> fox",
    "\x1b[31mred\x1b[0m \u202efox\u202c",
    "=HYPERLINK(1) blue",
    '"><img src=x onerror=alert(1)>',
    "fox " * 3000,
    "",
    "{{ 7 * 7 }} 猫",
    "a\x00b",
]
SETTINGS = PromptDetectionSettings(seeds=2)


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["detect", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture(scope="module")
def loaded(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), "cpu")


def prompts_of(*texts: str, **columns: object) -> list[TablePrompt]:
    return [TablePrompt(text, columns) for text in texts]


def finished(loaded: LoadedModel, folder: Path, prompts: list[TablePrompt], controls: list[TablePrompt]):  # type: ignore[no-untyped-def]
    manifest = detection_manifest(["imgaudit", "detect", "p.txt"], loaded, SETTINGS, prompts, controls, 8)
    folder.mkdir(exist_ok=True)
    stored = open_manifest(folder, manifest)
    return detect_into(folder, loaded.denoiser, stored, prompts, controls, executor=Executor(8))


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl"])
def test_tables_are_read_with_their_other_columns(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"prompts{suffix}"
    content = {
        ".txt": "a red fox\r\n\n two\x0cboats\n",
        ".csv": 'prompt,id\na red fox,1\n" two\x0cboats",2\n',
        ".jsonl": '{"prompt": "a red fox", "id": 1}\n{"prompt": " two\\fboats", "id": 2}\n',
    }[suffix]
    path.write_bytes(content.encode())
    found = read_prompts(path)
    assert [one.text for one in found] == ["a red fox", " two\x0cboats"]
    assert [len(one.columns) for one in found] == ([0, 0] if suffix == ".txt" else [1, 1])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.docx", "x", "no table of prompts"),
        ("p.txt", "\n \n", "has no prompt"),
        ("p.csv", "words\nfox\n", "but found the columns \\['words'\\]"),
        ("p.jsonl", '{"prompt": 3}', "but found int"),
        ("p.jsonl", "[1]", "expected a JSON object"),
        ("p.jsonl", '{"prompt": "a", "x": NaN}', "NaN, infinity"),
    ],
)
def test_unusable_tables_are_refused_with_the_reason(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_prompts(tmp_path / name)


def test_the_command_writes_lines_that_keep_the_tables_columns(model_folder: Path, tmp_path: Path) -> None:
    table, controls = tmp_path / "p.csv", tmp_path / "c.txt"
    table.write_text("prompt,id,score\na red fox,7,high\ntwo blue boats,8,low\na red fox,9,x\n", encoding="utf-8")
    controls.write_text("one old clock\na round table\na red fox\n", encoding="utf-8")
    out = tmp_path / "out"
    lines = run(table, "--model", model_folder, "--controls", controls, "--out", out, "--json", "--quiet").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["prompt"], row["id"], row["given_score"]) for row in rows] == [
        ("a red fox", "7", "high"), ("two blue boats", "8", "low"), ("a red fox", "9", "x"),
    ]  # fmt: skip
    for row in rows:
        assert {"score", "rms", "p_value", "q_value"} <= set(row)
        for word in row["tokens"]:
            assert row["prompt"][word["start"] : word["end"]] == word["text"] and word["weight"] > 0
    assert (out / "detection.jsonl").read_text(encoding="utf-8").splitlines() == lines
    assert len((out / "results.jsonl").read_bytes().splitlines()) == 4
    text = unwrap(run(table, "--model", model_folder, "--controls", controls, "--out", out, "--quiet"))
    assert "p from 2 control prompts" in text and "1 controls do not count" in text
    with pytest.raises(RunFolderError, match=r"other options: seeds 4, now 2.*another --out"):
        run(table, "--model", model_folder, "--controls", controls, "--out", out, "--seeds", "2")
    with pytest.raises(RunFolderError, match="other controls"):
        run(table, "--model", model_folder, "--out", out)
    with pytest.raises(RunFolderError, match="not a prompt detection"):
        run(table, "--model", model_folder, "--out", tmp_path)


def test_a_word_is_dropped_on_demand(model_folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "p.txt"
    table.write_text("a red fox\ntwo blue boats\nthe red hill\n", encoding="utf-8")
    lines = run(table, "--model", model_folder, "--drop=red", "--json").splitlines()
    first, second = map(json.loads, lines)
    assert (first["number"], first["without"], second["without"]) == (1, "a fox", "the hill")
    assert first["change"] == pytest.approx(first["score_without"] - first["score"])
    assert "prompt 3:" in run(table, "--model", model_folder, "--drop=red", "--number", "3")
    assert not (tmp_path / "imgaudit-detection").exists()
    with pytest.raises(InputError, match="no prompt has the word 're' by itself"):
        run(table, "--model", model_folder, "--drop=re")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "51"], "--steps must be first, all, or a number from 1 to --num-inference-steps"),
        (["--steps", "few"], "--steps must be"),
        (["--detector", "aura"], "--detector must be magnitude or sharpness"),
        (["--guidance-scale", "inf"], "--guidance-scale: "),
        (["--number", "1"], "--number needs --drop"),
        (["--drop", "a", "--number", "9"], "has 1 prompts"),
    ],
)
def test_wrong_options_are_said_before_a_model_is_loaded(options: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("fox", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "p.txt", "--model", "demo", *options)


def test_a_killed_run_continues_where_it_was(loaded: LoadedModel, tmp_path: Path) -> None:
    prompts = prompts_of(*(f"a red fox {number}" for number in range(6)))
    whole = finished(loaded, tmp_path / "a", prompts, [])
    lines = (tmp_path / "a" / "results.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "a" / "results.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:40])
    before = loaded.denoiser.network_evaluations
    again = finished(loaded, tmp_path / "a", prompts, [])
    # Two seeds, four prompts: a null pass and a conditional one; then one null pass for all, one whole and four words.
    assert loaded.denoiser.network_evaluations - before == 2 * (4 * 2 + 1 + 4 * 5)
    for one, other in zip(whole.prompts, again.prompts, strict=True):
        assert one.found.score == pytest.approx(other.found.score, rel=1e-5)
    before = loaded.denoiser.network_evaluations
    finished(loaded, tmp_path / "a", prompts, [])
    assert loaded.denoiser.network_evaluations == before


def test_p_values_come_from_controls_that_are_not_among_the_prompts(loaded: LoadedModel, tmp_path: Path) -> None:
    prompts = prompts_of("a red fox", "a red fox", "two blue boats")
    controls = prompts_of("one old clock", "a round table", "seven yellow birds", "a red fox", "\ud800")
    outcome = finished(loaded, tmp_path / "a", prompts, controls)
    assert (outcome.controls, outcome.left_out) == (3, 2)
    null = [
        one.found.score
        for one in finished(loaded, tmp_path / "b", controls, []).prompts[:3]
        if isinstance(one.found, PromptDetection)
    ]
    for one in outcome.prompts:
        assert isinstance(one.found, PromptDetection)
        assert one.p_value == pytest.approx(conformal_p_value(one.found.score, null))
    p = sorted({one.number: one.p_value for one in outcome.prompts[1:]}.values())
    assert max(one.q_value for one in outcome.prompts) == pytest.approx(p[1])
    without = judged(outcome.manifest, prompts, [], {one.given.text: one.found for one in outcome.prompts})
    assert all(isinstance(one.p_value, Skipped) and "no controls" in one.p_value.skipped for one in without.prompts)


class Checked(HTMLParser):
    """Collects what a page must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.bad += [name for name, value in attrs if name == "style" or name.startswith("on")]
        if tag == "script" and not dict(attrs).get("src"):
            self.bad.append("inline script")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_prompts_are_text_everywhere(loaded: LoadedModel, tmp_path: Path) -> None:
    prompts = [TablePrompt(text, {"=cmd": "@SUM(1)", "note": "<b>"}) for text in [*HOSTILE, "\ud800"]]
    outcome = finished(loaded, tmp_path / "a", prompts, [])
    page = write_detection(tmp_path / "a", outcome).read_text(encoding="utf-8")
    checked = Checked()
    checked.feed(page)
    assert not checked.bad and "img" not in checked.tags
    assert not [letter for letter in page if not letter.isprintable() and letter != "\n"]
    assert "{{" in "".join(checked.texts) and "half of a surrogate pair" in page
    # Weight is told by number and title, never by colour alone.
    marks = re.findall(r'<mark class="w\d" title="\d+ % is lost without this word">[^<]*<sub>\d+</sub></mark>', page)
    assert len(marks) == page.count("<mark") > 5
    rows = list(csv.reader((tmp_path / "a" / "detection.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 10 and len({len(row) for row in rows}) == 1
    assert not [cell for row in rows for cell in row if cell[:1] in "=+@" and cell]
    assert all(json.loads(line) for line in (tmp_path / "a" / "detection.jsonl").read_text("utf-8").splitlines())


def test_segments_are_the_prompt(loaded: LoadedModel, tmp_path: Path) -> None:
    outcome = finished(loaded, tmp_path / "a", prompts_of("  Two blue-green boats, and a fox!", "clock"), [])
    for one in outcome.prompts:
        parts = list(segments(one))
        assert "".join(part.text for part in parts) == one.given.text
        weighed = {part.text: part for part in parts if part.weight is not None}
        assert [word.text for word in one.found.tokens if word.text not in weighed] == []
        for part in weighed.values():
            assert part.share == round(100 * max(0.0, part.weight)) and 0 <= part.shade <= 9


def test_help_needs_no_model_libraries() -> None:
    program = (
        "import sys, contextlib\nfrom imgaudit.cli import app\n"
        "with contextlib.suppress(SystemExit): app(['detect', '--help'])\n"
        "assert not {'torch', 'diffusers', 'numpy', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
