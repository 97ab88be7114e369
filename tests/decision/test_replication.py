"""Copies of a rung against the controls and against coincidence."""

from dataclasses import replace

import numpy as np

from imgaudit.decision.coincidence import CrossMatches
from imgaudit.decision.replication import Evidence, deciding_p_value, measure_hit_rate
from imgaudit.decision.verdict import decide
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import GenerationConfig, Protocol
from imgaudit.schema.records import Rung, Skipped
from tests.support.records import PROTOCOL, bank, digest, measurement, rung

COPY, FAR, MISS = (0.99, 0.05), (0.2, 0.5), (0.4, 0.4)


def conclude(measurements: list, evidence: Evidence) -> dict[str, Finding]:  # type: ignore[type-arg]
    return {f.path.split("/")[-1].removesuffix(".png"): f for f in decide(measurements, evidence)}


def evidence(count: int = 199, **options: object) -> Evidence:
    return Evidence(bank(count), PROTOCOL, Policy(), **options)  # type: ignore[arg-type]


def test_both_legs_must_agree() -> None:
    [finding] = decide([measurement("a", 2.0, [(0.99, 0.5)] * 8, [(0.99, 0.5)] * 8)], evidence())
    assert finding.verdict is Verdict.ATYPICAL and all(r.hits == 0 for r in finding.replication)


def test_without_controls_a_caption_copy_stands_on_coincidence_alone() -> None:
    names = [f"t{n}" for n in range(24)]
    targets = [measurement(name, 0.0, [MISS] * 8, [COPY] * 8 if name == "t0" else [MISS] * 8) for name in names]
    best = np.full((24, 24), 0.4)
    best[0, 0] = 0.99
    crossed = CrossMatches([digest(name)[:16] for name in names], best)
    findings = conclude(targets, Evidence(None, PROTOCOL, cross_matches={Rung.CAPTION: crossed}))
    assert findings["t0"].verdict is Verdict.REPLICATED
    assert {findings[name].verdict for name in names[1:]} == {Verdict.INCONCLUSIVE}


def test_few_copies_in_a_large_folder_stand_on_coincidence_where_the_bank_is_too_small_for_their_q_values() -> None:
    names = [f"t{n}" for n in range(60)]
    targets = [measurement(n, 0.0, [MISS] * 8, [COPY] * 8 if n == "t0" else [MISS] * 8) for n in names]
    best = np.full((60, 60), 0.4)
    best[0, 0] = 0.99
    crossed = CrossMatches([target.id for target in targets], best)
    findings = conclude(targets, evidence(cross_matches={Rung.CAPTION: crossed}))
    p_value, q_value = (getattr(findings["t0"].replication[0], n) for n in ("p_value", "q_value"))
    assert 60 * p_value > 0.05 >= q_value and findings["t0"].verdict is Verdict.REPLICATED
    assert 60 * findings["t0"].p_value > 0.05
    look_alike = best.copy()
    look_alike[3, 4:30] = 0.995
    crossed = CrossMatches([target.id for target in targets], look_alike)
    findings = conclude(targets, evidence(cross_matches={Rung.CAPTION: crossed}))
    # Nearly identical images came back and nothing says that it is no coincidence: not "not reproduced" either.
    assert findings["t0"].verdict is Verdict.INCONCLUSIVE and "near-identical" in findings["t0"].reason


def test_a_bank_without_captions_judges_captions_by_the_controls_embeddings() -> None:
    with_none = Evidence(bank(199, captions=False), PROTOCOL, Policy())
    finding = decide([measurement("a", 2.0, [COPY] * 8, [COPY] * 8)], with_none)[0]
    assert finding.replication[0].null_rung is Rung.EMBEDDING
    assert finding.verdict is Verdict.REPLICATED and finding.rung is Rung.CAPTION


def test_with_several_scales_the_rate_comes_from_seeds_that_chose_nothing() -> None:
    config = GenerationConfig(seeds=5, selection_seeds=2, guidance_scales=(1.0, 3.0))
    protocol = Protocol(generation=config)
    replicas = rung([MISS] * 7).replicas
    scales = (1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0)
    replicas = [replace(r, guidance_scale=s) for r, s in zip(replicas, scales, strict=True)]
    measured = rung([]).model_copy(update={"replicas": replicas})
    flags = [True, True, True, True, False, False, True]
    assert measure_hit_rate(measured, protocol, flags) == (3.0, 3, 1, 0.975)


def test_coincidence_is_a_floor_and_never_a_way_around_the_controls() -> None:
    """A caption makes images resemble their target more than other images: coincidence alone called 22 % of them."""
    alike = (0.6, 0.3)
    targets = [measurement(f"t{n}", 0.0, [FAR] * 8, [alike, *[FAR] * 7]) for n in range(30)]
    best = np.full((30, 30), 0.2)
    np.fill_diagonal(best, 0.6)
    crossed = CrossMatches([target.id for target in targets], best)
    for finding in decide(targets, evidence(cross_matches={Rung.CAPTION: crossed})):
        caption = finding.replication[0]
        assert caption.coincidence_p_value <= 0.01 < caption.p_value  # type: ignore[operator]
        assert deciding_p_value(caption) == caption.p_value and finding.verdict is Verdict.NOT_REPRODUCED


def test_a_folder_too_small_for_coincidence_is_judged_by_its_controls() -> None:
    targets = [measurement(name, 2.0, [COPY] * 8, [COPY] * 8) for name in ("a", "b")]
    crossed = CrossMatches([t.id for t in targets], np.array([[0.99, 0.2], [0.2, 0.99]]))
    findings = decide(targets, evidence(cross_matches={Rung.CAPTION: crossed}))
    assert {finding.verdict for finding in findings} == {Verdict.REPLICATED}
    coincidence = findings[0].replication[0].coincidence_p_value
    assert isinstance(coincidence, Skipped)
    assert coincidence.skipped == "2 pairs of other images are too few, 19 are needed"


def test_near_identical_images_that_decide_nothing_say_what_is_missing() -> None:
    targets = [measurement(name, 2.0, [COPY] * 8, [COPY] * 5 + [MISS] * 3) for name in ("a", "b")]
    crossed = CrossMatches([t.id for t in targets], np.array([[0.99, 0.2], [0.2, 0.99]]))
    finding = decide(targets, Evidence(None, PROTOCOL, cross_matches={Rung.CAPTION: crossed}))[0]
    assert finding.verdict is Verdict.INCONCLUSIVE and finding.reason == (
        "Near-identical to it are 5 of 8 images from caption and 8 of 8 images from embedding, but no conclusion can "
        "be drawn: no controls. Look at the closest one. Whether its caption returns it by coincidence could not be "
        "tested (2 pairs of other images are too few, 19 are needed): give texts to more images, or give controls or "
        "--decoys, and audit again."
    )
    [without] = decide([measurement("a", 2.0, [COPY] * 8)], Evidence(None, PROTOCOL))
    assert without.reason.startswith("Near-identical to it are 8 of 8 images from embedding, but no conclusion")
    assert without.reason.endswith("no controls. Look at the closest one.")
    [far] = decide([measurement("a", 2.0, [MISS] * 8, [MISS] * 8)], Evidence(None, PROTOCOL))
    assert far.reason == "16 images were generated, but no conclusion can be drawn: no controls."
