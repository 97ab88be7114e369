"""What people decide: kept beside the verdict, never lost, taken from strangers only when it fits, and handed on."""

import csv
import hashlib
import io
import json
import multiprocessing
import re
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markupsafe import escape
from pydantic import ValidationError
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.writing import read_json, write_json
from imgaudit.report.audit.outputs import SHOWN_CLOSEST, outputs_of
from imgaudit.report.complaint.blocks import Facts, Paragraph, Section, Statement, Table, render_statement_markdown
from imgaudit.report.complaint.package import find_image, make_package, write_package, zip_bytes
from imgaudit.report.pages import page_environment
from imgaudit.report.redaction import folders_of, without_folders
from imgaudit.report.review import (
    DecisionLedger,
    Ledger,
    ReviewChoice,
    ReviewDecision,
    ReviewedRun,
    exchange,
    read_decisions_file,
    read_reviewed_run,
    review_status,
    write_decisions_file,
)
from imgaudit.report.review import ledger as ledger_module
from imgaudit.report.review.context import review_context
from imgaudit.report.review.status import level_kappa
from imgaudit.report.wording import WORDING
from imgaudit.runs.evidence import verify_run
from imgaudit.runs.finished import FinishedRun, read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import Finding, PartEvidence, Verdict
from imgaudit.schema.pairs import GRID, Box, PairEvidence, Region, Transform
from imgaudit.schema.records import Rung, Skipped
from imgaudit.schema.text import printable
from tests.report.test_formats import HOSTILE, result, run

__all__ = ["result", "run"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

MADE = "2026-05-04T10:20:30.123Z"


@pytest.fixture
def folder(run: RunFolder, result: object, tmp_path: Path) -> RunFolder:
    shutil.copytree(run.path, tmp_path / "copy")
    return RunFolder(tmp_path / "copy")


@pytest.fixture
def reviewed(folder: RunFolder) -> ReviewedRun:
    return read_reviewed_run(folder.path)


def fields(reviewed: ReviewedRun, number: int = 0, **changes: Any) -> dict[str, Any]:
    """A decision on one of the run's images as a page writes it."""
    finding = sorted(reviewed.images.values(), key=lambda one: one.path)[number]
    values: dict[str, Any] = {
        "run_id": reviewed.run_id, "image_id": finding.id, "sha256": finding.sha256,
        "result_sha256": reviewed.result_sha256, "decision": "accept", "replication_level": 4,
        "comment": "As I see it.", "reviewer": "Ann", "made": MADE, "machine_verdict": finding.verdict.value,
    }  # fmt: skip
    return values | changes


def decision(reviewed: ReviewedRun, number: int = 0, **changes: Any) -> ReviewDecision:
    return ReviewDecision.model_validate(fields(reviewed, number, **changes) | {"source": "file", "version": "0.1.0"})


def ledger_of(reviewed: ReviewedRun) -> DecisionLedger:
    return DecisionLedger(reviewed.folder, reviewed.run_id)


def saved_file(path: Path, reviewed: ReviewedRun, *decisions: dict[str, Any]) -> Path:
    content = {"format": "imgaudit-decisions", "format_version": 1, "run_id": reviewed.run_id, "decisions": decisions}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# The record


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"decision": "delete"}, "decision"),
        ({"replication_level": 6}, "replication_level"),
        ({"replication_level": True}, "replication_level"),
        ({"replication_level": "4"}, "replication_level"),
        ({"comment": "x" * 4001}, "comment"),
        ({"comment": "\ud800"}, "comment"),
        ({"reviewer": "  "}, "reviewer"),
        ({"reviewer": "A\u202enn"}, "control or direction"),
        ({"reviewer": "x" * 121}, "reviewer"),
        ({"made": "2026-05-04T10:20:30"}, "timezone"),
        ({"made": 1777890030}, "expected a time such as"),
        ({"made": "0001-01-01T00:00:00+14:00"}, "between the years"),
        ({"sha256": "f" * 64}, "begins the sha256"),
        ({"image_id": "../../../etc/pas"}, "image_id"),
        ({"verdict": "x"}, "Extra inputs"),
        ({"machine_verdict": "guilty"}, "machine_verdict"),
    ],
)
def test_a_record_is_refused_with_its_reason(reviewed: ReviewedRun, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        decision(reviewed, **changes)


def test_a_name_is_one_name_however_it_is_typed(reviewed: ReviewedRun) -> None:
    assert decision(reviewed, reviewer="Jose\u0301 ").reviewer == decision(reviewed, reviewer="Jos\xe9").reviewer


@given(
    comment=st.text(max_size=200),
    reviewer=st.text(min_size=1, max_size=40).filter(lambda text: text.strip()),
    made=st.datetimes(timezones=st.just(UTC)),
    level=st.none() | st.integers(0, 5),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_accepted_survives_the_file_and_the_ledger(
    reviewed: ReviewedRun, comment: str, reviewer: str, made: datetime, level: int | None
) -> None:
    try:
        one = decision(reviewed, comment=comment, reviewer=reviewer, made=made.isoformat(), replication_level=level)
    except ValidationError:
        return
    text = write_decisions_file(reviewed.run_id, [one])
    assert ReviewDecision.model_validate(json.loads(text)["decisions"][0]) == one
    ledger = ledger_of(reviewed)
    ledger.append([one])
    assert one in ledger.read().history and not ledger.read().damaged


# The ledger


def test_decisions_are_appended_and_the_newest_of_a_reviewer_holds(reviewed: ReviewedRun) -> None:
    ledger = ledger_of(reviewed)
    assert ledger.read() == Ledger((), ())
    first = decision(reviewed)
    second = decision(reviewed, decision="dispute", made="2026-05-05T10:00:00Z")
    older = decision(reviewed, decision="unsure", made="2026-05-01T10:00:00Z")
    other = decision(reviewed, reviewer="Bob", decision="unsure")
    assert ledger.append([first, first, second]) == 2
    assert ledger.append([older, other]) == 2 and ledger.append([first, second, older, other]) == 0
    read = ledger.read()
    assert read.history == (first, second, older, other)
    assert read.of_image(first.image_id) == [second, other]
    # What the machine said is as it was.
    assert verify_run(reviewed.folder).matches


def test_a_line_cut_by_a_kill_swallows_nothing_and_damage_is_reported(reviewed: ReviewedRun) -> None:
    ledger = ledger_of(reviewed)
    ledger.append([decision(reviewed)])
    whole = ledger.path.read_bytes()
    stranger = decision(reviewed, run_id="0" * 16)
    for cut in (1, len(whole) // 2, len(whole) - 2):
        ledger.path.write_bytes(whole + whole[:cut])
        assert ledger.append([decision(reviewed, reviewer="Bob")]) == 1
        read = ledger.read()
        assert [one.reviewer for one in read.history] == ["Ann", "Bob"]
        assert [(line.number, line.why) for line in read.damaged] == [(2, "damaged, or cut by a kill")]
        assert whole[:cut] in ledger.path.read_bytes()
    edited = whole.replace(b'"accept"', b'"unsure"')
    ledger.path.write_bytes(edited + b"\xff\xfe\n[" * 3 + b"\n" + whole)
    read = ledger.read()
    assert len(read.history) == 1 and len(read.damaged) == 5
    DecisionLedger(reviewed.folder, "0" * 16).append([stranger])
    assert ledger.read().damaged[-1].why == f"of run {'0' * 16}"


def append_some(path: str, name: str) -> None:
    reviewed = read_reviewed_run(Path(path))
    for number in range(5):
        ledger_of(reviewed).append([decision(reviewed, reviewer=f"{name} {number}")])


def test_processes_that_append_at_once_lose_nothing(reviewed: ReviewedRun) -> None:
    context = multiprocessing.get_context("spawn")
    path = str(reviewed.folder.path)
    processes = [context.Process(target=append_some, args=(path, name)) for name in ("Ann", "Bob")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    read = ledger_of(reviewed).read()
    assert len(read.history) == 10 and not read.damaged


def test_a_strangers_run_makes_nothing_land_outside(reviewed: ReviewedRun, tmp_path: Path) -> None:
    ledger = ledger_of(reviewed)
    outside = tmp_path / "outside"
    outside.mkdir()
    ledger.folder.symlink_to(outside)
    with pytest.raises(RunFolderError, match="must be a folder of the run, and no link"):
        ledger.append([decision(reviewed)])
    ledger.folder.unlink()
    ledger.folder.mkdir()
    for name in ("decisions.jsonl", ".lock"):
        (ledger.folder / name).symlink_to(outside / "file")
        with pytest.raises(RunFolderError, match="must be a regular file of the run"):
            ledger.append([decision(reviewed)])
        (ledger.folder / name).unlink()
    assert not list(outside.iterdir())


def test_a_ledger_has_an_end(reviewed: ReviewedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "LARGEST_LEDGER", 3000)
    ledger = ledger_of(reviewed)
    with pytest.raises(RunFolderError, match="may have at most 3,000"):
        ledger.append([decision(reviewed, comment="x" * 1000)])
    assert ledger.read().history == ()
    ledger.path.write_bytes(b"x" * 3001)
    with pytest.raises(RunFolderError, match="at most 3,000 are read"):
        ledger.read()


def test_a_review_is_no_evidence_and_does_not_make_a_run_look_changed(reviewed: ReviewedRun) -> None:
    before = verify_run(reviewed.folder).head
    ledger_of(reviewed).append([decision(reviewed)])
    reviewed.folder.write_evidence()
    assert verify_run(reviewed.folder).head == before


# Files from others


def test_a_file_is_taken_once(reviewed: ReviewedRun, tmp_path: Path) -> None:
    file = saved_file(tmp_path / "d.json", reviewed, fields(reviewed), fields(reviewed, 1, source="view", version="9"))
    ledger = ledger_of(reviewed)
    decisions = read_decisions_file(file, reviewed)
    assert ledger.append(decisions) == 2 and ledger.append(read_decisions_file(file, reviewed)) == 0
    # How it came is for this run to say.
    assert {one.source.value for one in decisions} == {"file"} and decisions[1].version != "9"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run_id": "0" * 16}, "expected decisions on run .*, but got one on run 0000.*: give the folder"),
        ({"image_id": "0" * 16, "sha256": "0" * 64}, "expected one of the 2 images .* take this decision out"),
        ({"result_sha256": "0" * 64}, "expected decisions on result .* --other-result"),
        ({"machine_verdict": "not_reproduced"}, "to be replicated, but got not_reproduced: the file was edited"),
        ({"made": (datetime.now(UTC) + timedelta(days=3)).isoformat()}, "expected a decision of the past"),
        ({"decision": "x" * 10_000}, "decision: Input should be"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_of_it_is_taken(
    reviewed: ReviewedRun, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    file = saved_file(tmp_path / "d.json", reviewed, fields(reviewed), fields(reviewed, **changes))
    with pytest.raises(InputError, match=f"decision 2 of .*{reason}") as raised:
        read_decisions_file(file, reviewed)
    assert len(str(raised.value)) < 900


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no file of decisions"),
        (b'{"format": "sarif"}', "no file of decisions"),
        (b'{"format": "imgaudit-decisions", "format_version": 2}', "has format 2, expected 1"),
        (b'{"format": "imgaudit-decisions", "format_version": 1, "decisions": {}}', "no list of decisions"),
        (b'{"format": "imgaudit-decisions", "format_version": 1, "decisions": [7]}', "decision 1 .* but got 7"),
    ],
)
def test_hostile_files_are_refused_in_words(reviewed: ReviewedRun, tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "d.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_decisions_file(file, reviewed)


def test_files_are_bounded(reviewed: ReviewedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved_file(tmp_path / "d.json", reviewed, *[fields(reviewed)] * 3)
    monkeypatch.setattr(exchange, "MOST_DECISIONS", 2)
    with pytest.raises(InputError, match="has 3 decisions; at most 2"):
        read_decisions_file(file, reviewed)
    monkeypatch.setattr(exchange, "LARGEST_FILE", 10)
    with pytest.raises(InputError, match="at most 10 are read"):
        read_decisions_file(file, reviewed)


@given(JSON, st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_field_is_taken_or_refused(reviewed: ReviewedRun, value: Any, data: st.DataObject) -> None:
    values = fields(reviewed)
    values[data.draw(st.sampled_from([*values, "source", "version", "other"]))] = value
    try:
        reviewed.require(exchange.parse_decision(values, exchange.Source.FILE))
    except InputError as error:
        assert len(str(error)) < 2000


def test_decisions_on_another_result_need_a_word_and_stay_marked(reviewed: ReviewedRun, tmp_path: Path) -> None:
    changed = {"result_sha256": "0" * 64, "machine_verdict": "inconclusive"}
    file = saved_file(tmp_path / "d.json", reviewed, fields(reviewed, **changed))
    [taken] = read_decisions_file(file, reviewed, other_result=True)
    ledger_of(reviewed).append([taken])
    status = review_status(reviewed, ledger_of(reviewed).read())
    assert status.on_another_result == 1 and taken.machine_verdict is Verdict.INCONCLUSIVE


def test_folders_that_are_no_finished_run_are_refused(folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        read_reviewed_run(tmp_path)
    folder.report_path.write_text('{"a": 1}')
    with pytest.raises(RunFolderError, match=r"report.json' is damaged"):
        read_reviewed_run(folder.path)
    folder.report_path.unlink()
    with pytest.raises(RunFolderError, match="not a finished run"):
        read_reviewed_run(folder.path)


# Status


def test_kappa_is_one_minus_weighted_disagreement_over_what_chance_gives() -> None:
    # By hand: mean squared difference 0.5, over all pairings of the two reviewers' levels 7.875.
    kappa = level_kappa([0, 3, 5, 5], [0, 4, 5, 4])
    assert kappa == pytest.approx(1 - 0.5 / 7.875)
    assert level_kappa([0, 5, 2], [0, 5, 2]) == 1
    assert level_kappa([0, 5], [5, 0]) == -1
    assert isinstance(level_kappa([3, 3], [3, 3]), Skipped) and isinstance(level_kappa([3], [4]), Skipped)


def test_status_says_who_differs_from_whom(reviewed: ReviewedRun) -> None:
    ledger = ledger_of(reviewed)
    empty = review_status(reviewed, ledger.read())
    assert (empty.images, empty.decided, empty.levels) == (2, 0, [])
    ledger.append(
        [
            decision(reviewed, 0, replication_level=5),
            decision(reviewed, 1, replication_level=1),
            decision(reviewed, 0, reviewer="Bob", decision="dispute", replication_level=4),
            decision(reviewed, 1, reviewer="Bob", replication_level=1),
            decision(reviewed, 1, reviewer="Cy", replication_level=None),
        ]
    )
    status = review_status(reviewed, ledger.read())
    assert (status.decided, status.accepted, status.disputed, status.unsure, status.contested) == (2, 1, 0, 0, 1)
    assert status.decisions == {ReviewChoice.ACCEPT: 4, ReviewChoice.DISPUTE: 1, ReviewChoice.UNSURE: 0}
    assert status.reviewers == {"Ann": 2, "Bob": 2, "Cy": 1}
    [contested], [against] = status.between_reviewers, status.against_the_machine
    assert contested == against and [one.reviewer for one in contested.decisions] == ["Ann", "Bob"]
    [levels] = status.levels
    assert (levels.reviewers, levels.n, levels.same) == (("Ann", "Bob"), 2, 1)
    assert levels.kappa == pytest.approx(level_kappa([5, 1], [4, 1]))


# Command line


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["review", *map(str, arguments)])


def test_from_the_command_line(reviewed: ReviewedRun, tmp_path: Path) -> None:
    path = reviewed.folder.path
    first = saved_file(tmp_path / "ann.json", reviewed, fields(reviewed, comment="=1+1"), fields(reviewed, 1))
    second = saved_file(tmp_path / "bob.json", reviewed, fields(reviewed, reviewer="\u202abob"))
    refused = invoke("import", path, first, second)
    assert isinstance(refused.exception, InputError) and not ledger_of(reviewed).path.exists()
    second = saved_file(tmp_path / "bob.json", reviewed, fields(reviewed, reviewer="-bob", decision="dispute"))
    done = invoke("import", path, first, second)
    assert done.exit_code == 0 and "ann.json: 2 added, 0 there already" in done.stdout
    assert "ann.json: 0 added, 2 there already" in invoke("import", path, first).stdout

    status = invoke("status", path)
    assert status.exit_code == 0 and "2 of 2 images decided: 1 accepted, 0 disputed, 0 unsure, 1 where" in status.stdout
    assert "n = 1 images" in status.stdout
    assert json.loads(invoke("status", path, "--json").stdout)["decided"] == 2

    exported = invoke("export", path).stdout
    other = tmp_path / "exported.json"
    other.write_text(exported)
    assert "0 added, 3 there already" in invoke("import", path, other).stdout
    rows = list(csv.DictReader(io.StringIO(invoke("export", path, "--format", "csv").stdout)))
    assert [row["reviewer"] for row in rows] == ["Ann", "Ann", "'-bob"] and rows[0]["comment"] == "'=1+1"
    assert {row["machine_verdict"] for row in rows} == {"replicated"} and {row["result"] for row in rows} == {"this"}
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())
    invoke("export", path, "--output", tmp_path / "out.json")
    assert (tmp_path / "out.json").read_text() == exported


def test_an_unfinished_review_exits_with_three_and_damage_is_named(reviewed: ReviewedRun) -> None:
    ledger = ledger_of(reviewed)
    ledger.append([decision(reviewed)])
    with ledger.path.open("ab") as file:
        file.write(b'{"half": ')
    status = invoke("status", reviewed.folder.path)
    assert status.exit_code == ExitCode.INCOMPLETE and "1 of 2 images" in status.stdout
    assert "line 2: damaged, or cut by a kill" in status.stderr
    assert "line 2" in invoke("export", reviewed.folder.path).stderr


# The complaint package


@pytest.fixture
def finished(folder: RunFolder) -> FinishedRun:
    return read_finished_run(folder.path)


def replicated(run: FinishedRun, name: str) -> Finding:
    return next(one for one in run.result.findings if name in one.path)


def with_part(finding: Finding) -> Finding:
    half = Region(runs=(0, GRID * GRID // 2, GRID * GRID // 2), area=0.5, box=Box(left=0, top=0, right=1, bottom=0.5))
    turned = Transform(mirrored=True, scale=0.5, rotation=12.0, matrix=((1, 0, 0), (0, 1, 0)))
    pair = PairEvidence(
        geometric=9.0, photometric=8.0, inliers=17, matches=20, transform=turned, region=half, candidate_region=half
    )
    assert not isinstance(finding.best_replica, Skipped)
    part = PartEvidence(rung=Rung.CAPTION, path=finding.best_replica.path, seed=0, pair=pair)
    return finding.model_copy(update={"part": part})


def test_a_package_says_everything_a_recipient_asks(finished: FinishedRun, reviewed: ReviewedRun) -> None:
    finding = with_part(replicated(finished, "plain"))
    number = sorted(reviewed.images).index(finding.id)
    at = [one.id for one in sorted(reviewed.images.values(), key=lambda one: one.path)].index(finding.id)
    assert number in (0, 1)
    ledger_of(reviewed).append(
        [
            decision(reviewed, at, reviewer="Ann <script>", decision="dispute", comment="Only the | frame."),
            decision(reviewed, at, reviewer="Bob", result_sha256="0" * 64),
        ]
    )
    files = make_package(finished, finding)
    pages = [files["complaint.html"].decode(), files["complaint.md"].decode().replace("\\", "")]
    measured = finished.measurements[finding.id]
    [caption] = [one for one in finding.replication if one.rung is Rung.CAPTION]
    wanted = [
        "plain.png", finding.sha256, f"{measured.width} x {measured.height} pixels",
        finished.manifest.model.fingerprint, "prediction type epsilon", "“0”", "inverted embedding",
        f"{caption.hits} of {caption.n}", f"{caption.low:.1%} to {caption.high:.1%}", "seed 0", "guidance 3",
        "pixel 1.000", "closest, number 1", "Least similar", "50% of the work agrees", "17 local features", "mirrored",
        "disputes the verdict", "4 of 5: nearly all", "on another result, 0000000000000000", "Replicated from text",
        "exchangeable with the controls", "199 images", "imgaudit audit", finished.result.protocol.hash, "torch 2",
        hashlib.sha256(finished.folder.manifest_path.read_bytes()).hexdigest(), "Right in the work",
        read_json(finished.folder.path / "evidence.json")["head"], "lawful",
    ]  # fmt: skip
    for page in pages:
        for part in [*wanted, WORDING[finding.verdict].limit, WORDING[Verdict.PARTIAL].limit]:
            assert part.lower() in page.lower().replace("&#39;", "'"), part
    assert "Only the \\| frame" in files["complaint.md"].decode()
    assert "<script" not in files["complaint.html"].decode() and "style=" not in files["complaint.html"].decode()
    assert {"work/target.png", "part/work.png", "part/output.png", "outputs.csv"} <= files.keys()
    listed = list(csv.DictReader(io.StringIO(files["outputs.csv"].decode())))
    assert len(listed) == 8 and sum(row["copy"] == "yes" for row in listed) >= 4
    assert sum(name.startswith("outputs/") for name in files) == sum(row["shown"] != "" for row in listed)
    assert len(json.loads(files["decisions.json"])["decisions"]) == 2


def test_a_package_names_no_folder_and_no_other_work(finished: FinishedRun) -> None:
    finding = replicated(finished, "plain")
    home = finding.path.rsplit("/", 1)[0]
    assert Path(home).is_absolute()
    files = make_package(finished, finding)
    for name, content in files.items():
        assert home.encode() not in content and b"/tmp/" not in content, name
        assert b"onerror" not in content or name in ("complaint.md", "complaint.html", "manifest.json"), name
        assert b"=cmd" not in content, name
    manifest = json.loads(files["manifest.json"])
    assert [one["path"] for one in manifest["targets"]] == ["plain.png"]
    assert manifest["reduced"]["left_out"] == {"targets": 1, "skipped": 1}
    whole = make_package(finished, finding, whole_manifest=True)["manifest.json"]
    assert whole == finished.folder.manifest_path.read_bytes()
    assert hashlib.sha256(whole).hexdigest() == manifest["reduced"]["sha256"]


def test_hostile_names_are_text(finished: FinishedRun) -> None:
    finding = replicated(finished, "onerror")
    files = make_package(finished, finding)
    assert b"<img src=x" not in files["complaint.html"] and b"&lt;img src=x" in files["complaint.html"]
    assert b"\\<img src=x" in files["complaint.md"] and b" <img" not in files["complaint.md"]
    assert find_image(finished, f"{HOSTILE}.png") == find_image(finished, finding.id) == finding
    assert find_image(finished, finding.sha256.upper()) == finding
    with pytest.raises(InputError, match="one of the 2 images"):
        find_image(finished, "=cmd.png")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/art/a.png", "a.png"),
        ("C:\\Users\\ann\\a.png", "a.png"),
        ("\\\\server\\share\\a.png", "a.png"),
        ("~/art/a.png", "a.png"),
        ("--model=/models/sd", "--model=sd"),
        ("damaged: '/home/ann/art/sub/a.png'", "damaged: 'a.png'"),
        ("relative/a.png", "relative/a.png"),
        ("a fox / a hen", "a fox / a hen"),
        ("/", "/"),
    ],
)
def test_folders_are_cut_out(text: str, expected: str) -> None:
    folders = folders_of(["/home/ann/art/a.png", "/home/ann/art/sub/a.png", "relative/a.png"])
    assert without_folders([text], folders) == [expected]


@pytest.mark.parametrize(
    "text",
    ["# a", "- a", "1. a", "1) a", "=== a", "<b>a</b>", "[a](http://b.c)", "![a](b.png)", "https://b.c", "www.b.c",
     "a@b.c", "`a`", "*a*", "__a__", "~~a~~", "&lt;a&gt;", "a | b", "    a", "> a", "a\n\n# b", "\\`a`", "+ a"],
)  # fmt: skip
def test_nothing_in_a_statement_is_markup(text: str) -> None:
    blocks = [Paragraph(text), Facts([(text, text)]), Table((text,), [(text,)])]
    written = render_statement_markdown(Statement(text, [Section(text, blocks)]))
    html = MarkdownIt("gfm-like", {"linkify": False}).render(written)
    shown = escape(printable(text).strip()).replace("&#39;", "'").replace("&#34;", "&quot;")
    assert html.count(f">{shown}<") == 6 and html.count(shown) >= 7, html
    assert set(re.findall("<([a-z0-9]+)", html)) == {
        "h1", "h2", "p", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip


def test_a_package_is_the_same_bytes_and_its_sums_hold(finished: FinishedRun, tmp_path: Path) -> None:
    finding = replicated(finished, "plain")
    files = make_package(finished, finding)
    again = make_package(read_finished_run(finished.folder.path), finding)
    assert zip_bytes(files) == zip_bytes(again)
    written = write_package(files, tmp_path / "made" / "complaint", finished)
    assert {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()} == set(files)
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=written, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count(": OK") == len(files) - 1
    archive = write_package(files, tmp_path / "complaint.zip", finished)
    with zipfile.ZipFile(archive) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == files
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["complaint"]
    for taken in (written, archive):
        with pytest.raises(InputError, match="exists already"):
            write_package(files, taken, finished)
    with pytest.raises(InputError, match="which is evidence"):
        write_package(files, finished.folder.path / "review" / "complaint", finished)


def test_pictures_that_are_gone_or_lead_out_are_said_to_be_missing(finished: FinishedRun, tmp_path: Path) -> None:
    finding = replicated(finished, "plain")
    outputs = outputs_of(finding, finished.measurements[finding.id])
    shown = [one for one in outputs if one.role and one.rung is Rung.CAPTION]
    assert len(shown) == 4 <= SHOWN_CLOSEST and shown[-1].role == "least similar"
    secret = tmp_path / "secret.png"
    gone = finished.folder.path / shown[0].replica.path
    shutil.copy(gone, secret)
    gone.unlink()
    gone.symlink_to(secret)
    (finished.folder.path / shown[1].replica.path).write_bytes(b"no picture")
    files = make_package(finished, finding)
    assert f"outputs/{shown[0].name}" not in files and f"outputs/{shown[1].name}" not in files
    assert "2 can no longer be read" in files["complaint.md"].decode()


def test_packages_from_the_command_line(finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finding = replicated(finished, "plain")
    done = invoke("package", finished.folder.path, "plain.png")
    assert done.exit_code == 0, done.exception
    assert done.stdout.strip() == f"complaint-{finding.id}" and (tmp_path / done.stdout.strip()).is_dir()
    zipped = invoke("package", finished.folder.path, finding.id, "--output", "x.zip", "--whole-manifest")
    assert zipped.exit_code == 0 and zipfile.is_zipfile("x.zip") and "note:" not in zipped.stderr
    content = read_json(finished.folder.report_path)
    for one in content["findings"]:
        if one["sha256"]:
            one["verdict"] = "not_reproduced"
    write_json(finished.folder.report_path, content)
    negative = invoke("package", finished.folder.path, finding.id, "--output", "y.zip")
    assert "does not show that the model gives the work" in negative.stderr


def test_the_form_knows_what_is_saved(reviewed: ReviewedRun) -> None:
    ledger_of(reviewed).append([decision(reviewed, comment="<img src=x onerror=alert(1)>\u202e{{7*7}}")])
    context = review_context(reviewed.folder)
    assert (context.run_id, context.result_sha256) == (reviewed.run_id, reviewed.result_sha256)
    [(one, words)] = context.saved(decision(reviewed).image_id)
    assert one.reviewer == "Ann" and words == "accepts the verdict"
    form = page_environment().get_template("decision_form.html.jinja")
    finding = reviewed.images[one.image_id]
    shown = form.render(review=context, finding=finding, wording=WORDING)
    assert "&lt;img src=x onerror=alert(1)&gt;\\u202e{{7*7}}" in shown and "accepts the verdict, level 4" in shown
    assert f'data-result-sha256="{reviewed.result_sha256}"' in shown and WORDING[finding.verdict].label in shown
    unread = next(one for one in reviewed.result.findings if not one.sha256)
    assert "<form" not in form.render(review=context, finding=unread, wording=WORDING)
    assert [level for level, _ in context.levels] == list(range(6))
