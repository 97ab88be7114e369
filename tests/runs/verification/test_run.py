"""A finished run checked by somebody else: every change of a file, of the list and of a verdict is found."""

import json

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.exceptions import RunFolderError, VerificationError
from imgaudit.io.writing import read_json, write_json
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.verification import verify_run
from imgaudit.runs.verification.verdicts import OLDER, _compare, _resemble, check_verdicts
from imgaudit.schema.findings import AuditResult, Finding
from tests.support.wrapping import unwrap


def test_an_untouched_run_matches(copy: RunFolder) -> None:
    before = {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()}
    outcome = verify_run(copy)
    assert outcome.matches and outcome.findings == len(read_json(copy.report_path)["findings"])
    listed = read_json(copy.path / "evidence.json")
    assert outcome.files == sum(len(listed[section]) for section in ("files", "pages", "growing"))
    assert {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()} == before
    assert verify_run(copy, outcome.head[:16]).matches and verify_run(copy, listed["complete_head"][:16]).matches


def test_every_kind_of_change_is_found(copy: RunFolder) -> None:
    target = next(copy.path.glob("images/*/curves.json"))
    target.write_text(target.read_text() + " ")
    (copy.path / "images" / "planted.png").write_bytes(b"new")
    lost = next(copy.path.glob("images/*/embeds.safetensors"))
    lost.unlink()
    problems = "\n".join(verify_run(copy).problems)
    assert f"{target.relative_to(copy.path).as_posix()}' was changed" in problems
    assert "'images/planted.png' was added" in problems
    assert f"{lost.relative_to(copy.path).as_posix()}' is missing" in problems


def test_a_verdict_that_was_edited_is_found_even_with_new_evidence(copy: RunFolder) -> None:
    head = verify_run(copy).head
    content = read_json(copy.report_path)
    [found] = [one for one in content["findings"] if one["verdict"] == "replicated"][:1]
    found["verdict"] = "not_reproduced"
    write_json(copy.report_path, content)
    write_evidence(copy)
    outcome = verify_run(copy)
    assert any("verdict not_reproduced, where replicated follows" in one for one in outcome.problems)
    assert outcome.head != head and any("the chain ends in" in one for one in verify_run(copy, head).problems)
    del content["findings"][0]
    write_json(copy.report_path, content)
    assert any("lacks the finding of" in one for one in verify_run(copy).problems)


def test_findings_too_many_are_named(copy: RunFolder) -> None:
    content = read_json(copy.report_path)
    first, second = content["findings"][:2]
    content["findings"] = [*content["findings"], first, {**second, "id": "f" * 16}]
    write_json(copy.report_path, content)
    write_evidence(copy)
    problems = check_verdicts(copy, read_result(copy)).problems
    assert problems[0] == f"report.json has a finding '{'f' * 16}' that follows from nothing in the run"
    assert problems[1] == "report.json has two findings of one image"


def test_the_last_digit_of_a_sum_of_seconds_may_differ_and_no_count(copy: RunFolder) -> None:
    """Python 3.12 sums numbers otherwise than 3.11 did, and reports were written with both."""
    content = read_json(copy.report_path)
    for key, share, alike in (("seconds", 1e-15, True), ("seconds", 1e-6, False), ("network_evaluations", 1, False)):
        changed = content | {"summary": content["summary"] | {key: content["summary"][key] * (1 + share)}}
        write_json(copy.report_path, changed)
        assert changed != content and (check_verdicts(copy, read_result(copy)).problems == ()) is alike


def test_a_run_worded_by_an_earlier_version_matches_by_verdicts_and_numbers(copy: RunFolder) -> None:
    content = read_json(copy.report_path)
    finding = content["findings"][0]
    finding["reason"] = "other words"
    write_json(copy.report_path, content)
    write_evidence(copy)
    assert any("says something else of" in one and "reason" in one for one in verify_run(copy).problems)
    del content["wording"]
    content["summary"]["planner"] = content["summary"]["blind_comparison"] = "other words"
    cut = {"code": "cut_caption", "effect": "warns", "message": "the paraphrase is too long"}
    finding["alarms"] += [cut, cut]
    write_json(copy.report_path, content)
    write_evidence(copy)
    outcome = verify_run(copy)
    assert outcome.matches
    [verdicts] = [check for check in outcome.checks if check.name == "verdicts"]
    assert verdicts.not_done == (OLDER,)
    finding["group"] = "0" * 16
    write_json(copy.report_path, content)
    write_evidence(copy)
    assert any("says something else of" in one and "group" in one for one in verify_run(copy).problems)


def change_coincidence(finding: Finding, value: float) -> Finding:
    """Give the first rung other p-values of coincidence."""
    first, *others = finding.replication
    changed = first.model_copy(update={"coincidence_p_value": value, "q_value": 2 * value})
    return finding.model_copy(update={"replication": [changed, *others]})


def test_last_digits_of_coincidence_may_differ_and_no_more(result: AuditResult) -> None:
    """They count pairs of float32 similarities: another processor's sums can move a pair to the other side.

    Earlier versions counted them in another way.
    """
    finding = change_coincidence(result.findings[0], 0.25)
    near, far = change_coincidence(finding, 0.25 * (1 + 2e-5)), change_coincidence(finding, 0.26)
    assert _compare(finding, near, worded_alike=True) == ""
    assert _compare(finding, far, worded_alike=True) == "replication"
    assert _compare(finding, far, worded_alike=False) == ""
    skipped = finding.model_copy(update={"replication": result.findings[0].replication})
    assert _compare(finding, skipped, worded_alike=True) == "replication"
    for value in ({"p_value": 0.2500001}, {"q_value": 0.2500001}):
        assert _compare(finding, finding.model_copy(update=value), worded_alike=True) == next(iter(value))


def test_images_that_are_resembled_more_are_compared_by_name(copy: RunFolder) -> None:
    content = read_json(copy.report_path)
    content["findings"][0]["resembles_others"] = [{"id": "0" * 16, "similarity": 0.95}]
    write_json(copy.report_path, content)
    write_evidence(copy)
    assert any(one.endswith("give: resembles_others") for one in verify_run(copy).problems)
    near = [{"id": "a", "similarity": 0.95}, {"id": "b", "similarity": 0.95}]
    other = [{"id": "b", "similarity": 0.9500001}, {"id": "a", "similarity": 0.9499999}]
    assert _resemble(near, other) and not _resemble(near, other[:1])
    assert not _resemble([*near, near[0]], other)
    assert not _resemble(near[:1], [{"id": "a", "similarity": 0.951}])


def test_a_list_that_was_edited_breaks_its_chain(copy: RunFolder) -> None:
    path = copy.path / "evidence.json"
    content = read_json(path)
    original = json.dumps(content)
    content["files"][1]["sha256"] = "0" * 64
    write_json(path, content)
    assert any("its chain breaks at" in one for one in verify_run(copy).problems)
    content = json.loads(original)
    content["head"] = "f" * 64
    write_json(path, content)
    assert any("its head is not the last link" in one for one in verify_run(copy).problems)
    write_json(path, {"files": 7})
    with pytest.raises(VerificationError, match=r"evidence.json' is damaged"):
        verify_run(copy)
    path.unlink()
    with pytest.raises(VerificationError, match=r"has no evidence.json"):
        verify_run(copy)
    copy.report_path.unlink()
    with pytest.raises(RunFolderError, match=r"has no evidence.json"):
        verify_run(copy)


def test_from_the_command_line(copy: RunFolder) -> None:
    good = CliRunner().invoke(app, ["verify", str(copy.path)])
    assert good.exit_code == ExitCode.DECIDED and "findings were decided again" in unwrap(good.stdout)
    assert max(map(len, good.stdout.splitlines())) <= 80, good.stdout
    assert json.loads(CliRunner().invoke(app, ["verify", str(copy.path), "--json"]).stdout)["problems"] == []
    short = CliRunner().invoke(app, ["verify", str(copy.path), "--head", "abc"])
    assert short.exit_code != 0 and "at least 12 hexadecimal digits" in str(short.exception)
    (copy.path / "manifest.json").write_text((copy.path / "manifest.json").read_text() + "\n")
    bad = CliRunner().invoke(app, ["verify", str(copy.path)])
    assert isinstance(bad.exception, VerificationError) and "manifest.json' was changed" in unwrap(bad.stdout)
