"""Two runs side by side: every state, what forbids a comparison, and the statistics."""

from collections.abc import Sequence
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from imgaudit.cli.exit_codes import ExitCode, FailOnChange, find_comparison_exit_code
from imgaudit.decision.verdict import conclude_skipped
from imgaudit.report import ComparisonFormat, render_comparison
from imgaudit.report.wording import CHANGE_WORDING
from imgaudit.runs.comparison.compare import compare
from imgaudit.runs.comparison.retention import retention_text
from imgaudit.runs.finished import FinishedRun
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.comparison import CHANGED, Change, Comparison, DifferenceEffect, ImageComparison, Retention
from imgaudit.schema.findings import Alarm, AlarmCode, AlarmEffect, AuditResult, Finding, Summary, Verdict
from imgaudit.schema.manifest import AuditManifest, KnownLora, KnownModel, KnownTarget
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Framing, InvMMConfig, Protocol
from imgaudit.schema.records import Measurement, Rung, Skipped, SkippedImage
from imgaudit.schema.replication import Replication
from imgaudit.statistics import clopper_pearson, fisher_exact, newcombe
from tests.support.records import PROTOCOL, digest, measurement
from tests.support.records import bank as make_bank

NOT_MEASURED = Skipped(skipped="not measured here")
COPY, NO_COPY = (0.97, 0.05), (0.3, 0.4)
OWN = {"similarity": 0.9, "distance": 0.2}


def pairs(hits: int, n: int = 16) -> list[tuple[float, float]]:
    return [COPY] * hits + [NO_COPY] * (n - hits)


def replication(which: Rung, hits: int, n: int, stands: bool, thresholds: dict[str, float] | Skipped) -> Replication:
    low, high = clopper_pearson(hits, n)
    return Replication(
        rung=which, n=n, hits=hits, invalid=0, rate=hits / n, low=low, high=high, confidence=0.95, upper_bound=high,
        guidance_scale=3.0, best_similarity=0.5, p_value=NOT_MEASURED, coincidence_p_value=NOT_MEASURED,
        q_value=NOT_MEASURED, stands=stands, thresholds=thresholds, control_rate=0.0, null_rung=which,
    )  # fmt: skip


def judged(
    name: str,
    verdict: Verdict,
    caption: int,
    embedding: int,
    *,
    invalid: int = 0,
    thresholds: dict[str, float] | Skipped = OWN,
) -> tuple[Finding, Measurement]:
    """An image with so many copies of 16 on each rung; the lowest rung with at least four of them stands."""
    measured = measurement(name, 0.1, pairs(embedding), pairs(caption), invalid=invalid)
    reproduced = verdict in (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION, Verdict.PARTIAL)
    lowest = Rung.CAPTION if caption >= 4 else Rung.EMBEDDING
    finding = Finding(
        id=measured.id, path=measured.path, sha256=measured.sha256, verdict=verdict, reason="Because.",
        rung=lowest if reproduced else Skipped(skipped="no rung reproduced the image"), score=0.1, p_value=0.5,
        q_value=0.5, group=measured.id,
        replication=[
            replication(Rung.CAPTION, caption, 16, reproduced and lowest is Rung.CAPTION, thresholds),
            replication(Rung.EMBEDDING, embedding, 16, reproduced and lowest is Rung.EMBEDDING, thresholds),
        ],
        error=NOT_MEASURED, best_replica=NOT_MEASURED, near_duplicates=[], resembles_others=[], alarms=[], seconds=1.0,
        network_evaluations=1,
    )  # fmt: skip
    return finding, measured


def finished(
    images: Sequence[tuple[Finding, Measurement]],
    *,
    model: str = "a",
    protocol: Protocol = PROTOCOL,
    policy: Policy | None = None,
    skipped: Sequence[SkippedImage] = (),
    unreached: Sequence[str] = (),
    **changes: Any,
) -> FinishedRun:
    policy = policy or Policy()
    findings = [finding for finding, _ in images] + [conclude_skipped(one) for one in skipped]
    targets = [KnownTarget(sha256=f.sha256, path=f.path, texts_sha256="t") for f, _ in images]
    targets += [KnownTarget(sha256=digest(name), path=f"/x/{name}.png", texts_sha256="t") for name in unreached]
    values: dict[str, Any] = {
        "schema_version": 3, "command": [], "protocol": protocol, "protocol_hash": protocol.hash, "policy": policy,
        "policy_hash": policy.hash, "groups": [], "measures": {}, "targets": targets, "skipped": [], "remarks": [],
        "versions": {"imgaudit": "0", "torch": "2"}, "device": "cpu", "threads": 1, "platform": "p", "seed": 0,
        "operator": "", "started": "now",
        "model": KnownModel(name=model, pipeline_class="P", fingerprint=model, files={"w": model}, resolution=16,
                            prediction_type="epsilon"),
    }  # fmt: skip
    summary = Summary(
        targets=len(targets) + len(skipped), counts=dict.fromkeys(Verdict, 0), controls=0, level=0.05, planner="",
        false_positive=Skipped(skipped="not measured"), forcing=NOT_MEASURED, hypotheses=1, alarms=[], seconds=0,
        network_evaluations=0,
    )  # fmt: skip
    return FinishedRun(
        RunFolder(Path("/nowhere")),
        AuditManifest(**(values | changes)),
        AuditResult(run={}, protocol=protocol, policy=policy, redecided=[], summary=summary, findings=findings),
        {one.id: one for _, one in images},
        make_bank(40),
    )


def only(a: FinishedRun, b: FinishedRun) -> ImageComparison:
    [image] = compare(a, b).images
    return image


V = Verdict
STATES = {
    "appeared": ((V.NOT_REPRODUCED, 0, 0), (V.REPLICATED, 16, 0), Change.APPEARED, True),
    "appeared from atypical": ((V.ATYPICAL, 0, 0), (V.REPLICATED_BY_INVERSION, 0, 16), Change.APPEARED, False),
    "disappeared": ((V.REPLICATED, 16, 0), (V.NOT_REPRODUCED, 0, 0), Change.DISAPPEARED, True),
    "a verdict only": ((V.REPLICATED, 4, 0), (V.NOT_REPRODUCED, 3, 0), Change.DISAPPEARED, False),
    "lower rung": ((V.REPLICATED_BY_INVERSION, 0, 16), (V.REPLICATED, 16, 16), Change.LOWER_RUNG, True),
    "higher rung": ((V.REPLICATED, 16, 16), (V.REPLICATED_BY_INVERSION, 0, 16), Change.HIGHER_RUNG, True),
    "atypical": ((V.NOT_REPRODUCED, 0, 0), (V.ATYPICAL, 0, 0), Change.OTHER_VERDICT, False),
    "partial": ((V.PARTIAL, 16, 0), (V.REPLICATED, 16, 0), Change.OTHER_VERDICT, False),
    "rate": ((V.REPLICATED, 16, 0), (V.REPLICATED, 5, 0), Change.RATE_CHANGED, True),
    "rate by chance": ((V.REPLICATED, 16, 0), (V.REPLICATED, 14, 0), Change.UNCHANGED, False),
    "nothing": ((V.NOT_REPRODUCED, 0, 0), (V.NOT_REPRODUCED, 0, 0), Change.UNCHANGED, False),
    "skipped": ((V.REPLICATED, 16, 0), (V.SKIPPED, 0, 0), Change.NOT_COMPARABLE, False),
    "inconclusive": ((V.REPLICATED, 16, 0), (V.INCONCLUSIVE, 0, 0), Change.NOT_COMPARABLE, False),
}


@pytest.mark.parametrize(("left", "right", "change", "differ"), STATES.values(), ids=STATES)
def test_every_state(
    left: tuple[Verdict, int, int], right: tuple[Verdict, int, int], change: Change, differ: bool
) -> None:
    image = only(finished([judged("x", *left)]), finished([judged("x", *right)], model="b"))
    assert (image.change, image.rates_differ) == (change, differ)
    assert image.reason.startswith("Cannot be compared") == (change is Change.NOT_COMPARABLE)
    if change is Change.DISAPPEARED:
        assert "within its budget only: up to " in image.reason
        assert ("rests on the verdicts alone" in image.reason) == (not differ)


def test_an_image_that_cannot_be_compared_says_why_and_has_no_numbers() -> None:
    x, y = judged("x", V.REPLICATED, 16, 0), judged("y", V.REPLICATED, 16, 0)
    lost = SkippedImage(path="/x/lost.png", skipped="the file is broken")
    result = compare(finished([x, y], skipped=[lost]), finished([x], skipped=[lost], unreached=["y"]))
    reasons = sorted(image.reason for image in result.images if image.change is Change.NOT_COMPARABLE)
    assert [reason.split(": ", 1)[1].split(",")[0] for reason in reasons] == [
        "not measured in run A: the file is broken; not measured in run B: the file is broken.",
        "not measured in run B: the audit was stopped before it reached this file.",
    ]
    assert result.counts[Change.UNCHANGED] == 1 and result.total == result.matched == 3
    assert result.reproduced_but_not_compared == {"a": 1, "b": 0}
    assert all(isinstance(i.q_value, Skipped) for i in result.images if i.change is Change.NOT_COMPARABLE)
    assert only(finished([x]), finished([])).reason == "Cannot be compared: only in run A."


def test_a_file_that_is_gone_is_known_by_its_hash_and_not_by_its_name() -> None:
    x = judged("x", V.REPLICATED, 16, 0)
    gone = finished([], unreached=["x"], skipped=[SkippedImage(path="/x/x.png", skipped="the file is gone")])
    image = only(finished([x]), gone)
    assert image.sha256 == x[0].sha256 and "not measured in run B: the file is gone" in image.reason
    renamed = (x[0].model_copy(update={"path": "/elsewhere/z.png"}), x[1])
    assert only(finished([x]), finished([renamed])).change is Change.UNCHANGED
    other = (judged("other", V.REPLICATED, 16, 0)[0].model_copy(update={"path": "/x/x.png"}), x[1])
    assert compare(finished([x]), finished([other])).matched == 0


@pytest.mark.parametrize(
    "changes",
    [{"protocol": PROTOCOL.model_copy(update={"framing": Framing.PAD})}, {"policy": Policy(level=0.1)}],
    ids=["protocol", "policy"],
)
def test_other_rules_prevent_every_comparison(changes: dict[str, Any]) -> None:
    x = judged("x", V.REPLICATED, 16, 0)
    result = compare(finished([x]), finished([judged("x", V.NOT_REPRODUCED, 0, 0)], model="b", **changes))
    assert not result.comparable and result.counts[Change.NOT_COMPARABLE] == result.total == 1
    first = result.differences[0]
    assert first.effect is DifferenceEffect.PREVENTS and " in A, " in first.message and " in B" in first.message
    assert f"{first.subject} differs: " in result.images[0].reason


def test_other_texts_and_unscored_images_are_not_compared() -> None:
    x = judged("x", V.REPLICATED, 16, 0)
    other = finished([judged("x", V.NOT_REPRODUCED, 0, 0)])
    asked = [target.model_copy(update={"texts_sha256": "other"}) for target in other.manifest.targets]
    other = replace(other, manifest=other.manifest.model_copy(update={"targets": asked}))
    assert "other prompts or captions" in only(finished([x]), other).reason
    black = finished([judged("x", V.NOT_REPRODUCED, 0, 0, invalid=17)])
    assert "embedding: 17 of 33 generated images could not be scored in run B" in only(finished([x]), black).reason
    assert only(finished([x]), finished([judged("x", V.REPLICATED, 16, 0, invalid=3)])).rungs[1].b.unscored == 3
    no_thresholds = finished([judged("x", V.NOT_REPRODUCED, 0, 0, thresholds=NOT_MEASURED)])
    assert "run B has no copy thresholds" in only(finished([x]), no_thresholds).reason
    forgotten = replace(finished([x]), measurements={})
    assert "lost its record" in only(finished([x]), forgotten).reason
    short = x[0].model_copy(update={"replication": x[0].replication[:1]})
    assert "measured in one run only: embedding" in only(finished([x]), finished([(short, x[1])])).reason


def test_rates_are_counted_by_the_stricter_thresholds_of_the_two() -> None:
    lenient = {"similarity": 0.2, "distance": 0.5}
    a, (finding, measured) = judged("x", V.NOT_REPRODUCED, 2, 0), judged("x", V.REPLICATED, 2, 0, thresholds=lenient)
    told = finding.model_copy(update={"rung": Rung.CAPTION})
    assert (
        "report and records disagree (imgaudit report decides a run again) in run B"
        in only(finished([a]), finished([(told, measured)])).reason
    )
    every = [one.model_copy(update={"hits": 16}) for one in told.replication]
    told = told.model_copy(update={"replication": every})
    caption = only(finished([a]), finished([(told, measured)])).rungs[0]
    assert (caption.a.hits, caption.b.hits, caption.b.own_hits) == (2, 2, 16)
    assert caption.thresholds == OWN and not caption.same_thresholds and caption.p_value == 1.0


def test_rates_of_embeddings_that_each_run_searched_are_shown_and_not_tested() -> None:
    x, y = judged("x", V.NOT_REPRODUCED, 0, 0), judged("x", V.REPLICATED_BY_INVERSION, 0, 16)
    image = only(finished([x]), finished([y], model="b"))
    assert image.change is Change.APPEARED and not image.rates_differ and image.tested_rung is Rung.CAPTION
    assert isinstance(image.rungs[1].p_value, Skipped) and image.rungs[1].difference == 1.0
    assert "Not tested, because each run asked with its own: embedding: 0 of 16 in A, 16 of 16 in B." in image.reason
    a, b = (
        finished([(finding.model_copy(update={"replication": finding.replication[1:]}), measured)])
        for finding, measured in (x, y)
    )
    image, result = only(a, b), compare(a, b)
    assert image.change is Change.APPEARED and "No rate was tested, so that the change rests on" in image.reason
    assert (result.compared, result.tested) == (1, 0) and isinstance(image.q_value, Skipped)


def test_what_differs_besides_the_model_is_said() -> None:
    x, y = judged("x", V.REPLICATED, 16, 0), judged("y", V.REPLICATED, 16, 0)
    b = finished([x, y], seed=1, versions={"imgaudit": "1"}, device="cuda", measures={"lpips": "here"})
    b = replace(b, bank=make_bank(30))
    result = compare(finished([x]), b)
    subjects = [one.subject for one in result.differences]
    assert subjects == ["images", "controls", "seed", "version", "version", "machine", "measures"]
    assert result.same_model and result.model_differences == [] and result.comparable
    assert "torch 2 in A, not installed in B" in {one.message for one in result.differences}
    assert compare(finished([x]), finished([x], model="b")).model_differences == [
        "1 of 1 files have other content in B: w"
    ]
    assert compare(finished([x]), finished([x])).differences == []


def test_what_weakens_a_run_is_said(tmp_path: Path) -> None:
    x = judged("x", V.REPLICATED, 16, 0)
    a, b = finished([x]), finished([x], unreached=["y"], model="b")
    alarm = Alarm(code=AlarmCode.AUTOENCODER, effect=AlarmEffect.WARNS, message="the autoencoder is coarse")
    summary = b.result.summary.model_copy(update={"alarms": [alarm]})
    model = b.manifest.model.model_copy(
        update={"resolution": 32, "loras": [KnownLora(file="style.safetensors", sha256="f" * 64, weight=0.5)]}
    )
    b = replace(
        b,
        folder=RunFolder(tmp_path),
        result=b.result.model_copy(update={"summary": summary, "redecided": ["level: 0.05 here, 0.1 there"]}),
        manifest=b.manifest.model_copy(update={"model": model}),
    )
    (tmp_path / "decoys.safetensors").write_bytes(b"vectors")
    result = compare(a, b)
    messages = {one.subject: one.message for one in result.differences}
    assert messages["alarm"] == "alarm in B: the autoencoder is coarse"
    assert messages["unfinished"] == "run B was stopped: 1 of 2 files were not reached"
    assert messages["policy"].startswith("run B was decided again, not by the rules that it began with: level")
    assert "32 in B" in messages["size"] and "decoys" in messages
    assert "LoRA in B only: style.safetensors at weight 0.5 (ffffffffffffffff)" in result.model_differences


verdicts = st.sampled_from([V.REPLICATED, V.NOT_REPRODUCED, V.ATYPICAL, V.INCONCLUSIVE, V.SKIPPED])
runs = st.dictionaries(
    st.sampled_from("uvwxyz"), st.tuples(verdicts, st.integers(0, 16), st.integers(0, 16)), max_size=6
).map(lambda images: finished([judged(name, *values) for name, values in images.items()]))


@given(run=runs)
def test_a_run_compared_with_itself_has_no_change(run: FinishedRun) -> None:
    result = compare(run, run)
    assert all(result.counts[change] == 0 for change in CHANGED)
    assert result.counts[Change.UNCHANGED] == result.compared


@given(a=runs, b=runs)
def test_swapping_mirrors_and_counts_add_up(a: FinishedRun, b: FinishedRun) -> None:
    forth, back = compare(a, b), compare(b, a)
    mirror = {Change.APPEARED: Change.DISAPPEARED, Change.LOWER_RUNG: Change.HIGHER_RUNG}
    mirror |= {after: before for before, after in mirror.items()}
    other = {image.sha256: image for image in back.images}
    for image in forth.images:
        reverse = other[image.sha256]
        assert reverse.change is mirror.get(image.change, image.change)
        assert reverse.q_value == image.q_value or isinstance(image.q_value, Skipped)
        assert [-one.difference for one in reverse.rungs] == [one.difference for one in image.rungs]
    assert sum(forth.counts.values()) == forth.total == len(a.images.keys() | b.images.keys()) == len(forth.images)
    code = find_comparison_exit_code(forth, FailOnChange.CHANGED)
    assert (code is ExitCode.DECIDED) <= (forth.counts[Change.NOT_COMPARABLE] == 0)
    assert find_comparison_exit_code(forth, FailOnChange.NEVER) is ExitCode.DECIDED
    assert Comparison.model_validate_json(render_comparison(forth, ComparisonFormat.JSON)) == forth


@given(a=st.integers(0, 12), b=st.integers(0, 9))
def test_the_p_value_is_the_hypergeometric_sum_and_scipys(a: int, b: int) -> None:
    n, m, total = 12, 9, a + b
    tables = [comb(n, k) * comb(m, total - k) for k in range(max(0, total - m), min(n, total) + 1)]
    observed = comb(n, a) * comb(m, b)
    expected = sum(table for table in tables if table <= observed) / comb(n + m, total)
    assert fisher_exact(a, n, b, m) == pytest.approx(expected)
    assert fisher_exact(a, n, b, m) == pytest.approx(stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue)
    low, high = newcombe(a, n, b, m)
    assert -1 <= low <= b / m - a / n <= high <= 1
    assert newcombe(b, m, a, n) == pytest.approx((-high, -low))


def test_q_values_are_benjamini_hochberg_over_the_images_that_were_compared() -> None:
    left = {"x": (V.REPLICATED, 16, 0), "y": (V.REPLICATED, 16, 0), "z": (V.REPLICATED, 16, 0)}
    right = {"x": (V.REPLICATED, 9, 0), "y": (V.REPLICATED, 12, 0), "z": (V.SKIPPED, 0, 0)}
    a, b = (finished([judged(name, *values) for name, values in side.items()]) for side in (left, right))
    tested = [image for image in compare(a, b).images if not isinstance(image.q_value, Skipped)]
    p = [stats.fisher_exact([[16, 0], [hits, 16 - hits]]).pvalue for hits in (9, 12)]
    assert sorted(image.q_value for image in tested) == pytest.approx(  # type: ignore[type-var]
        sorted(stats.false_discovery_control(p))
    )


def test_every_change_is_worded_with_its_limit() -> None:
    assert set(CHANGE_WORDING) == set(Change)
    for wording in CHANGE_WORDING.values():
        assert wording.label and wording.meaning and wording.limit and "safe" not in " ".join(wording)


def test_what_is_retained_is_counted_by_the_help_it_takes() -> None:
    from_text, inverted = (Verdict.REPLICATED, 16, 16), (Verdict.REPLICATED_BY_INVERSION, 0, 16)
    gone, lost = (Verdict.NOT_REPRODUCED, 0, 0), (Verdict.SKIPPED, 0, 0)
    moves = [
        (from_text, from_text), (from_text, inverted), (from_text, inverted), (from_text, gone), (inverted, inverted),
        (gone, from_text), (gone, gone), (from_text, lost),
    ]  # fmt: skip
    a, b = (finished([judged(str(n), *move[side]) for n, move in enumerate(moves)]) for side in (0, 1))
    found = compare(a, b).retention
    assert isinstance(found, Retention)
    assert (found.reproduced, found.retained, found.from_text_before) == (5, 4, 4)
    assert (found.from_text, found.by_inversion_only) == (1, 3)
    assert (found.low, found.high) == pytest.approx((0.2836, 0.9949), abs=1e-4)
    assert [(one.rung, one.images, one.in_b) for one in found.by_rung] == [
        (Rung.CAPTION, 4, {Rung.CAPTION: 1, Rung.EMBEDDING: 2}), (Rung.EMBEDDING, 1, {Rung.EMBEDDING: 1})
    ]  # fmt: skip
    assert "4 of the 5 images" in retention_text(found) and "3 only by inversion" in retention_text(found)
    nothing = finished([judged("0", *gone)])
    assert isinstance(compare(nothing, nothing).retention, Skipped), "nothing of nothing is no cure"


def test_learned_noise_that_only_one_run_asked_with_is_noted_and_prevents_nothing() -> None:
    finding, measured = judged("fox", Verdict.NOT_REPRODUCED, 0, 0)
    noise = replication(Rung.EMBEDDING_NOISE, 16, 16, False, OWN)
    moved = finding.model_copy(update={"replication": [*finding.replication, noise]})
    there = finished([(moved, measured)], model="b", protocol=PROTOCOL.model_copy(update={"invmm": InvMMConfig()}))
    found = compare(finished([(finding, measured)]), there)
    [image] = found.images
    assert image.change is Change.UNCHANGED and Rung.EMBEDDING_NOISE not in {one.rung for one in image.rungs}
    assert [one.effect for one in found.differences if "InvMM" in one.message] == [DifferenceEffect.NOTED]
