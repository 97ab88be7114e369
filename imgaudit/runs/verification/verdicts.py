"""Verdicts against what they were decided from: records, null bank, policy and the pictures."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from imgaudit.runs.conclusion import decide_run
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AlarmCode, AuditResult, Finding
from imgaudit.schema.verification import Check

SHOWN = 5
"""Fields of a finding that are named when it differs."""

BASIS = "records.jsonl, calibration.json, model_checks.json, manifest.json and the pictures give"
"""What findings follow from: nothing tells which of two files that disagree was changed."""

SENTENCES = ("reason", "message", "skipped", "planner", "blind_comparison")
"""Fields that are prose: not compared where the run was worded by another version of imgaudit."""

COUNTED = ("coincidence_p_value", "q_value")
"""Numbers of a rung that count pairs of images: not compared where another version of imgaudit counted them."""

TOLERANCE = 1e-3
"""Share by which these may differ: they rest on similarities in float32, whose last digits depend on the processor."""

OLDER = (
    "sentences, p-values of coincidence and which other images are resembled: another version of imgaudit worded and "
    "counted them; imgaudit report RUN does so again"
)
"""What is not compared in a report of another version."""

SAME_SIMILARITY = 1e-5
"""Difference of two such similarities that are the same."""


def check_verdicts(run: RunFolder, result: AuditResult) -> Check:
    """Decide a run again and compare with report.json.

    result:  content of report.json
    Raises RunFolderError and CalibrationError for a run that is too damaged to be decided.
    """
    again = decide_run(run, result.policy if result.redecided else None)
    return Check(
        name="verdicts",
        not_done=() if result.wording == again.wording else (OLDER,),
        done=f"{len(again.findings)} findings were decided again from records.jsonl, the null bank and the pictures",
        problems=tuple(_other_findings(result, again)),
    )


def _other_findings(result: AuditResult, again: AuditResult) -> Iterator[str]:
    """Say where report.json differs from what the measurements, bank and policy of the run give."""
    worded_alike = result.wording == again.wording
    before, after = (
        {one.id: place for place, one in enumerate(decided.findings)} for decided in (result, again)
    )  # fmt: skip
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"report.json has a finding {name!r:.40} that follows from nothing in the run"
            continue
        follows = again.findings[after[name]]
        if name not in before:
            yield f"report.json lacks the finding of {follows.path!r:.200}"
        elif what := _compare(result.findings[before[name]], follows, worded_alike=worded_alike):
            yield f"report.json says something else of {follows.path!r:.200} than {BASIS}: {what}"
    if len(result.findings) != len(before):
        yield "report.json has two findings of one image"
    counts, counted = (_comparable(one.summary.model_dump(mode="json"), worded_alike) for one in (result, again))
    # Reports of older versions lack counts that were added since.
    if counts != {key: value for key, value in counted.items() if key in counts}:
        yield f"the counts in report.json do not follow from its findings, and are not what {BASIS}"


def _compare(before: Finding, after: Finding, *, worded_alike: bool) -> str:
    """Return the fields in which two findings of one image differ; empty where they are the same."""
    if before == after:
        return ""
    said, follows = (_comparable(one.model_dump(mode="json"), worded_alike) for one in (before, after))
    return _differences(said, follows)


def _comparable(value: Any, worded_alike: bool) -> Any:
    """Return what must be the same in both: everything, or all but the sentences."""
    if worded_alike:
        return value
    if isinstance(value, dict):
        counted = (*COUNTED, "resembles_others") if COUNTED[0] in value else ("resembles_others",)
        return {
            key: "" if key in counted or (key in SENTENCES and isinstance(one, str)) else _comparable(one, worded_alike)
            for key, one in value.items()
        }
    if not isinstance(value, list):
        return value
    # Versions before wording 6 raised one such warning for each text, paraphrases among them; it takes nothing away.
    kept = [one for one in value if not (isinstance(one, dict) and one.get("code") == AlarmCode.CUT_CAPTION)]
    return [_comparable(one, worded_alike) for one in kept]


def _differences(said: Mapping[str, Any], follows: Mapping[str, Any]) -> str:
    fields = [name for name in Finding.model_fields if not _is_same({name: said.get(name)}, {name: follows.get(name)})]
    if "verdict" in fields:
        return f"verdict {said['verdict']}, where {follows['verdict']} follows"
    return ", ".join(fields[:SHOWN])


def _is_same(said: Any, follows: Any) -> bool:
    """Tell whether two values agree: in everything but the last digits of what similarities in float32 give."""
    if isinstance(said, list) and isinstance(follows, list):
        return len(said) == len(follows) and all(map(_is_same, said, follows))
    if not (isinstance(said, dict) and isinstance(follows, dict)):
        return bool(said == follows)
    if said.keys() != follows.keys():
        return False
    counted = COUNTED if COUNTED[0] in said else ()
    return all(
        _is_close(said[name], follows[name]) if name in counted
        else _resemble(said[name], follows[name]) if name == "resembles_others"
        else _is_same(said[name], follows[name])
        for name in said
    )  # fmt: skip


def _is_close(said: Any, follows: Any) -> bool:
    if isinstance(said, float) and isinstance(follows, float):
        return math.isclose(said, follows, rel_tol=TOLERANCE)
    return bool(said == follows)


def _resemble(said: list[Any] | str, follows: list[Any] | str) -> bool:
    """Tell whether the same images are named, in whatever order equally similar ones are."""
    if isinstance(said, str) or isinstance(follows, str):
        return said == follows
    before, after = ({one["id"]: one["similarity"] for one in named} for named in (said, follows))
    return (
        len(said) == len(follows)
        and before.keys() == after.keys()
        and all(abs(before[name] - after[name]) <= SAME_SIMILARITY for name in before)
    )
