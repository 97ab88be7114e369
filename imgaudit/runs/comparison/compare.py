"""Two runs of one portfolio, image by image: what changed, how sure that is, and what could not be compared.

Images are matched by the SHA-256 of their files. An image whose verdicts or rates do not mean the same in both runs is
not compared, and never looks like one that is unchanged or no longer reproduced.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from imgaudit.io.reading import format_path
from imgaudit.runs.comparison.differences import model_differences, what_differs
from imgaudit.runs.comparison.retention import retained
from imgaudit.runs.comparison.rungs import NOT_TESTED, compare_rung
from imgaudit.runs.finished import FinishedRun
from imgaudit.schema.comparison import (
    REPRODUCED,
    Change,
    ComparedRun,
    Comparison,
    DifferenceEffect,
    ImageComparison,
    ImageSide,
    RungComparison,
)
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.records import DECIDING_RUNGS, Rung, Skipped
from imgaudit.statistics import q_values

TEST = (
    "Fisher's exact test that a rung returns the image at the same rate in both runs, two-sided, every seed held to "
    "the stricter of the two runs' copy thresholds; Bonferroni over an image's rungs, then {correction} over the "
    "images tested. Seeds are taken as independent; where both runs share theirs, outcomes tend to go together, and "
    "the test then errs towards no difference. Embeddings are searched anew in every run, and another search can give "
    "another rate: theirs are shown and not tested."
)

ASKED_WITH: dict[Rung, str] = {
    Rung.PROMPT: "a prompt of the owner's",
    Rung.CAPTION: "its caption",
    Rung.PARAPHRASE: "other wordings of its text",
    Rung.TOKENS: "a prompt searched with the image in hand",
    Rung.EMBEDDING: "an embedding inverted from it",
    Rung.EMBEDDING_NOISE: "an embedding and noise learned from it",
}


class _Pair(NamedTuple):
    """One image in both runs, or in one of them."""

    sha256: str
    a: Finding | None
    b: Finding | None


class _Tested(NamedTuple):
    """An image before it is corrected over the folder: either why it cannot be compared, or its rungs."""

    pair: _Pair
    obstacle: str
    rungs: list[RungComparison]

    @property
    def p_values(self) -> dict[Rung, float]:
        """P-values of the rungs that were tested, by rung."""
        return {one.rung: one.p_value for one in self.rungs if not isinstance(one.p_value, Skipped)}

    @property
    def clearest(self) -> Rung | Skipped:
        """The rung with the smallest p-value, the lowest of several."""
        p_values = self.p_values
        return min(p_values, key=lambda rung: p_values[rung]) if p_values else NOT_TESTED

    @property
    def p_value(self) -> float:
        """Corrected for the number of rungs."""
        return min(1.0, len(self.p_values) * min(self.p_values.values()))


def compare(a: FinishedRun, b: FinishedRun) -> Comparison:
    """Every image of two runs in exactly one state. Needs no model."""
    policy, differences = a.result.policy, what_differs(a, b)
    prevented = "; ".join(
        f"{one.subject} differs: {one.message}" for one in differences if one.effect is DifferenceEffect.PREVENTS
    )
    pairs = list(_pairs(a, b))
    tested = [_test(pair, a, b, prevented) for pair in pairs]
    family = [one for one in tested if one.p_values]
    q_of = {
        one.pair.sha256: q
        for one, q in zip(family, q_values([one.p_value for one in family], policy.correction), strict=True)
    }
    images = [_image(one, q_of.get(one.pair.sha256), policy.level) for one in tested]
    order = list(Change)
    counts = Counter(image.change for image in images)
    left_out = [one.pair for one in tested if one.obstacle]
    return Comparison(
        a=_run(a),
        b=_run(b),
        same_model=a.manifest.model.fingerprint == b.manifest.model.fingerprint,
        model_differences=model_differences(a, b),
        differences=differences,
        level=policy.level,
        correction=policy.correction,
        test=TEST.format(correction=policy.correction.replace("_", "-").title()),
        total=len(pairs),
        matched=sum(pair.a is not None and pair.b is not None for pair in pairs),
        compared=len(tested) - len(left_out),
        tested=len(family),
        counts={change: counts[change] for change in Change},
        reproduced_but_not_compared={
            "a": sum(pair.a is not None and pair.a.verdict in REPRODUCED for pair in left_out),
            "b": sum(pair.b is not None and pair.b.verdict in REPRODUCED for pair in left_out),
        },
        retention=retained(images),
        images=sorted(images, key=lambda image: (order.index(image.change), image.name, image.sha256)),
    )


def _run(run: FinishedRun) -> ComparedRun:
    manifest, findings = run.manifest, [*run.images.values(), *run.unreadable]
    return ComparedRun(
        folder=format_path(run.folder.path),
        model=manifest.model.name,
        fingerprint=manifest.model.fingerprint,
        pipeline_class=manifest.model.pipeline_class,
        protocol_hash=manifest.protocol_hash,
        policy_hash=run.result.policy.hash,
        seed=manifest.seed,
        started=manifest.started,
        operator=manifest.operator,
        version=manifest.versions.get("imgaudit", "unknown"),
        controls=len(run.bank.controls) if run.bank else 0,
        files=len(findings),
        counts={verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict},
    )


def _pairs(a: FinishedRun, b: FinishedRun) -> Iterator[_Pair]:
    for sha256 in sorted(a.images.keys() | b.images.keys()):
        yield _Pair(sha256, a.images.get(sha256), b.images.get(sha256))
    # What could not be read has no SHA-256. The same path in both runs is listed once; its content may have changed.
    here, there = ({finding.path: finding for finding in run.unreadable} for run in (a, b))
    yield from (_Pair("", here.get(path), there.get(path)) for path in sorted(here.keys() | there.keys()))


def _test(pair: _Pair, a: FinishedRun, b: FinishedRun, prevented: str) -> _Tested:
    """The rungs of one image in both runs, or the first thing that forbids to compare them."""
    if pair.a is None or pair.b is None:
        there, name = (pair.a, "A") if pair.b is None else (pair.b, "B")
        if not pair.sha256 and there is not None:
            return _Tested(pair, f"not measured in run {name}, so it can be matched with nothing: {_why(there)}", [])
        return _Tested(pair, f"only in run {name}", [])
    sides = ((pair.a, "A"), (pair.b, "B"))
    for verdict, words in ((Verdict.SKIPPED, "not measured"), (Verdict.INCONCLUSIVE, "inconclusive")):
        if found := [f"{words} in run {name}: {_why(one)}" for one, name in sides if one.verdict is verdict]:
            return _Tested(pair, "; ".join(found), [])
    if prevented:
        return _Tested(pair, prevented, [])
    if a.texts[pair.sha256] != b.texts[pair.sha256]:
        return _Tested(pair, "it was asked for with other prompts or captions", [])
    return _test_rungs(pair, pair.a, pair.b, a, b)


def _why(finding: Finding) -> str:
    return finding.reason.removeprefix("Not measured: ").removesuffix(".")


def _test_rungs(pair: _Pair, left: Finding, right: Finding, a: FinishedRun, b: FinishedRun) -> _Tested:
    measured_a, measured_b = a.measurements.get(left.id), b.measurements.get(right.id)
    if measured_a is None or measured_b is None:
        name = "A" if measured_a is None else "B"
        return _Tested(pair, f"run {name} has lost its record of what was generated", [])
    for finding, name in ((left, "A"), (right, "B")):
        if finding.verdict in REPRODUCED and isinstance(finding.rung, Skipped):
            return _Tested(pair, f"run {name} does not say which rung reproduced it", [])
    # What was asked with noise learned for the image decides nothing, and may have been measured in one run only.
    here, there = (
        {one.rung: one for one in finding.replication if one.rung in DECIDING_RUNGS} for finding in (left, right)
    )
    if here.keys() != there.keys():
        only = ", ".join(sorted(rung.value for rung in here.keys() ^ there.keys()))
        return _Tested(pair, f"measured in one run only: {only}", [])
    rungs = []
    for rung in (rung for rung in DECIDING_RUNGS if rung in here):
        one = compare_rung(here[rung], there[rung], (measured_a, measured_b), (a, b))
        if isinstance(one, str):
            return _Tested(pair, f"{rung.value}: {one}", [])
        rungs.append(one)
    return _Tested(pair, "" if rungs else "no rung was measured", rungs)


def _image(tested: _Tested, q_value: float | None, level: float) -> ImageComparison:
    pair, not_compared = tested.pair, Skipped(skipped=f"not compared: {tested.obstacle}")
    sides = {
        "a": Skipped(skipped="not part of run A") if pair.a is None else _side(pair.a),
        "b": Skipped(skipped="not part of run B") if pair.b is None else _side(pair.b),
    }
    if tested.obstacle or pair.a is None or pair.b is None:
        return ImageComparison(
            sha256=pair.sha256, change=Change.NOT_COMPARABLE, reason=f"Cannot be compared: {tested.obstacle}.", **sides,
            rungs=[], tested_rung=not_compared, p_value=not_compared, q_value=not_compared, rates_differ=False,
        )  # fmt: skip
    differ = q_value is not None and q_value <= level
    change = _change(pair.a, pair.b, differ)
    return ImageComparison(
        sha256=pair.sha256,
        change=change,
        reason=f"{_what_changed(change, pair.a, pair.b, tested)} {_rates(tested, q_value, change, differ)}",
        **sides,
        rungs=tested.rungs,
        tested_rung=tested.clearest,
        p_value=NOT_TESTED if q_value is None else tested.p_value,
        q_value=NOT_TESTED if q_value is None else q_value,
        rates_differ=differ,
    )


def _side(finding: Finding) -> ImageSide:
    return ImageSide(
        path=finding.path, verdict=finding.verdict, rung=finding.rung, reason=finding.reason,
        best_replica=finding.best_replica,
    )  # fmt: skip


def _change(a: Finding, b: Finding, rates_differ: bool) -> Change:
    before, after = a.verdict in REPRODUCED, b.verdict in REPRODUCED
    if before != after:
        return Change.APPEARED if after else Change.DISAPPEARED
    if before and isinstance(a.rung, Rung) and isinstance(b.rung, Rung) and a.rung is not b.rung:
        ladder = list(Rung)
        return Change.LOWER_RUNG if ladder.index(b.rung) < ladder.index(a.rung) else Change.HIGHER_RUNG
    if a.verdict is not b.verdict:
        return Change.OTHER_VERDICT
    return Change.RATE_CHANGED if rates_differ else Change.UNCHANGED


def _what_changed(change: Change, a: Finding, b: Finding, tested: _Tested) -> str:
    match change:
        case Change.APPEARED:
            return f"Not reproduced in A within its budget; reproduced in B from {_rung(b)}."
        case Change.DISAPPEARED:
            bound = max(one.b.upper_bound for one in tested.rungs)
            sure = f"{100 * tested.rungs[0].confidence:g} %"
            return (
                f"Reproduced in A from {_rung(a)}; not reproduced in B within its budget only: up to "
                f"{bound:.1%} of attempts may still return it (at {sure})."
            )
        case Change.LOWER_RUNG:
            return f"Reproduced in both, in B with less help: from {_rung(b)} instead of {_rung(a)}."
        case Change.HIGHER_RUNG:
            return f"Reproduced in both, in B only with more help: from {_rung(b)} instead of {_rung(a)}."
        case Change.OTHER_VERDICT:
            return f"The verdict is {_words(a)} in A and {_words(b)} in B."
        case _:
            limit = "" if a.verdict in REPRODUCED else ", within the budget only"
            return f"{_words(a).capitalize()} in both{limit}."


def _words(finding: Finding) -> str:
    return finding.verdict.value.replace("_", " ")


def _rung(finding: Finding) -> str:
    assert isinstance(finding.rung, Rung)
    return ASKED_WITH[finding.rung]


def _rates(tested: _Tested, q_value: float | None, change: Change, differ: bool) -> str:
    """The rates in words: the rung that was tested, then those that could not be and had copies."""
    alone = "" if change is Change.UNCHANGED else ", so that the change rests on the verdicts alone"
    if q_value is None:
        sentences = [f"No rate was tested{alone}."]
    else:
        [clearest] = [one for one in tested.rungs if one.rung == tested.clearest]
        what = "The rates differ" if differ else "The rates do not differ beyond chance"
        numbers = f"{clearest.difference:+.0%}, {clearest.low:+.0%} to {clearest.high:+.0%}, q = {q_value:.3g}"
        sentences = [f"{what} ({_counts(clearest)}, {numbers}){'' if differ else alone}."]
    shown = [one for one in tested.rungs if isinstance(one.p_value, Skipped) and one.a.hits + one.b.hits]
    sentences += [f"Not tested, because each run asked with its own: {_counts(one)}." for one in shown]
    return " ".join(sentences)


def _counts(one: RungComparison) -> str:
    return f"{one.rung.value}: {one.a.hits} of {one.a.n} in A, {one.b.hits} of {one.b.n} in B"
