"""Verdicts against what they were decided from: records, null bank, policy and the pictures."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from imgaudit.runs.conclusion import decide_run
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import WORDING_VERSION, AlarmCode, AuditResult, Finding
from imgaudit.schema.stored_findings import list_contents, read_content
from imgaudit.schema.verification import Check

SHOWN = 5
"""Fields of a finding that are named when it differs."""

BASIS = "records.jsonl, calibration.json, model_checks.json, manifest.json and the pictures give"
"""What findings follow from: nothing tells which of two files that disagree was changed."""

SENTENCES = ("reason", "message", "skipped", "planner", "blind_comparison")
"""Fields that are prose: not compared where the run was worded by another version of imgaudit."""

COUNTED = ("coincidence_p_value", "q_value")
"""Numbers of a rung that count pairs of images: not compared where another version of imgaudit counted them."""

TOLERANCES = {"coincidence_p_value": 1e-3, "q_value": 1e-3, "seconds": 1e-9}
"""Share by which numbers may differ: counts rest on similarities in float32, whose last digits depend on the processor,
and Python's sum of seconds on its version."""

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
    comparison = _Comparison(result)
    again = decide_run(run, result.policy if result.redecided else None, on_finding=comparison.add)
    return Check(
        name="verdicts",
        not_done=() if comparison.worded_alike else (OLDER,),
        done=f"{comparison.count} findings were decided again from records.jsonl, the null bank and the pictures",
        problems=tuple(comparison.list_problems(again)),
    )


class _Comparison:
    """The findings of report.json against those that follow from the run, which come one at a time and are not kept."""

    def __init__(self, result: AuditResult) -> None:
        self.worded_alike = result.wording == WORDING_VERSION
        self.count = 0
        self._result = result
        # Of two findings of one image the last is compared, and a sentence says that there are two.
        self._places = {one["id"]: place for place, one in enumerate(list_contents(result.findings))}
        self._missing = set(self._places)
        self._problems: list[tuple[str, str]] = []

    def add(self, follows: Finding) -> None:
        """Compare a finding that follows from the run with that of report.json."""
        self.count += 1
        place = self._places.get(follows.id)
        if place is None:
            self._problems.append((follows.id, f"report.json lacks the finding of {follows.path!r:.200}"))
            return
        self._missing.discard(follows.id)
        what = ""
        # What is written alike needs no check of its values.
        if read_content(self._result.findings, place) != follows.model_dump(mode="json"):
            what = _compare(self._result.findings[place], follows, worded_alike=self.worded_alike)
        if what:
            said = f"report.json says something else of {follows.path!r:.200} than {BASIS}: {what}"
            self._problems.append((follows.id, said))

    def list_problems(self, again: AuditResult) -> Iterator[str]:
        """Say where report.json differs from what follows, in order of the images' ids.

        again:  what follows from the run as a whole
        """
        stray = (
            (name, f"report.json has a finding {name!r:.40} that follows from nothing in the run")
            for name in self._missing
        )
        yield from (problem for _, problem in sorted([*self._problems, *stray]))
        if len(self._result.findings) != len(self._places):
            yield "report.json has two findings of one image"
        counts, counted = (
            _comparable(one.summary.model_dump(mode="json"), self.worded_alike) for one in (self._result, again)
        )
        # Reports of older versions lack counts that were added since.
        if not _is_same(counts, {key: value for key, value in counted.items() if key in counts}):
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
    counted = TOLERANCES if COUNTED[0] in said else {"seconds": TOLERANCES["seconds"]}
    return all(
        _is_close(said[name], follows[name], counted[name]) if name in counted
        else _resemble(said[name], follows[name]) if name == "resembles_others"
        else _is_same(said[name], follows[name])
        for name in said
    )  # fmt: skip


def _is_close(said: Any, follows: Any, share: float) -> bool:
    if isinstance(said, float) and isinstance(follows, float):
        return math.isclose(said, follows, rel_tol=share)
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
