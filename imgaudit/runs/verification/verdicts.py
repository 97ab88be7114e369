"""Verdicts against what they were decided from: records, null bank, policy and the pictures."""

from collections.abc import Iterator, Mapping
from typing import Any

from imgaudit.runs.conclusion import decide_run
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AlarmCode, AuditResult, Finding
from imgaudit.schema.policy import Policy
from imgaudit.schema.verification import Check

SHOWN = 5
"""Fields of a finding that are named when it differs."""

BASIS = "records.jsonl, calibration.json, model_checks.json, manifest.json and the pictures give"
"""What findings follow from: nothing tells which of two files that disagree was changed."""

SENTENCES = ("reason", "message", "skipped", "planner", "blind_comparison")
"""Fields that are prose: not compared where the run was worded by another version of imgaudit."""


def check_verdicts(run: RunFolder) -> Check:
    """Decide a run again and compare with report.json.

    Raises RunFolderError and CalibrationError for a run that is too damaged to be decided.
    """
    again = decide_run(run, _read_policy(run))
    # Read once more: findings of many images and everything that they are decided from are not in memory together.
    result = read_result(run)
    return Check(
        name="verdicts",
        done=f"{len(again.findings)} findings were decided again from records.jsonl, the null bank and the pictures",
        problems=tuple(_other_findings(result, again)),
    )


def _read_policy(run: RunFolder) -> Policy | None:
    """Return the policy that a run was decided by again; None for its own."""
    result = read_result(run)
    return result.policy if result.redecided else None


def _other_findings(result: AuditResult, again: AuditResult) -> Iterator[str]:
    """Say where report.json differs from what the measurements, bank and policy of the run give."""
    worded_alike = result.wording == again.wording
    before, after = ({one.id: one for one in decided.findings} for decided in (result, again))
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"report.json has a finding {name!r:.40} that follows from nothing in the run"
        elif name not in before:
            yield f"report.json lacks the finding of {after[name].path!r:.200}"
        else:
            said, follows = (_comparable(one[name].model_dump(mode="json"), worded_alike) for one in (before, after))
            if said != follows:
                what = _differences(said, follows)
                yield f"report.json says something else of {after[name].path!r:.200} than {BASIS}: {what}"
    if len(result.findings) != len(before):
        yield "report.json has two findings of one image"
    said, follows = (_comparable(one.summary.model_dump(mode="json"), worded_alike) for one in (result, again))
    # Reports of older versions lack counts that were added since.
    if said != {key: value for key, value in follows.items() if key in said}:
        yield f"the counts in report.json do not follow from its findings, and are not what {BASIS}"


def _comparable(value: Any, worded_alike: bool) -> Any:
    """Return what must be the same in both: everything, or all but the sentences."""
    if worded_alike:
        return value
    if isinstance(value, dict):
        return {
            key: "" if key in SENTENCES and isinstance(one, str) else _comparable(one, worded_alike)
            for key, one in value.items()
        }
    if not isinstance(value, list):
        return value
    # Versions before wording 6 raised one such warning for each text, paraphrases among them; it takes nothing away.
    kept = [one for one in value if not (isinstance(one, dict) and one.get("code") == AlarmCode.CUT_CAPTION)]
    return [_comparable(one, worded_alike) for one in kept]


def _differences(said: Mapping[str, Any], follows: Mapping[str, Any]) -> str:
    fields = [name for name in Finding.model_fields if said.get(name) != follows.get(name)]
    if "verdict" in fields:
        return f"verdict {said['verdict']}, where {follows['verdict']} follows"
    return ", ".join(fields[:SHOWN])
