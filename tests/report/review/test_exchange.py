"""Files of decisions: taken from strangers only when they fit, and handed on."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.report.review import (
    ReviewedRun,
    exchange,
    read_decisions_file,
    read_reviewed_run,
    review_status,
)
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import Verdict
from tests.support.reviews import fields, invoke, ledger_of, saved_file
from tests.support.wrapping import unwrap

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


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
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    said = "2 of 2 images decided: 1 accepted, 0 disputed, 0 unsure, 1 on which reviewers disagree"
    assert status.exit_code == 0 and said in unwrap(status.stdout)
    assert "n = 1 images" in unwrap(status.stdout)
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
