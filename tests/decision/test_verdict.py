import numpy as np
import pytest

from imgaudit.decision.coincidence import CrossMatches
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.replication import Evidence, measure_hit_rate
from imgaudit.decision.verdict import conclude_folder, decide
from imgaudit.schema.findings import AlarmCode, Finding, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import GenerationConfig, Protocol
from imgaudit.schema.records import Rung, Skipped
from tests.support.records import PROTOCOL, bank, digest, measurement, rung

COPY, MISS = (0.99, 0.05), (0.4, 0.4)


def conclude(measurements: list, evidence: Evidence) -> dict[str, Finding]:  # type: ignore[type-arg]
    return {f.path.split("/")[-1].removesuffix(".png"): f for f in decide(measurements, evidence)}


def evidence(count: int = 199, **options: object) -> Evidence:
    return Evidence(bank(count), PROTOCOL, Policy(), **options)  # type: ignore[arg-type]


def test_a_copy_from_the_caption_is_replicated_at_that_rung() -> None:
    [finding] = decide([measurement("a", 2.0, [COPY] * 8, [COPY] * 6 + [MISS] * 2)], evidence())
    assert finding.verdict is Verdict.REPLICATED and finding.rung is Rung.CAPTION
    caption = finding.replication[0]
    assert (caption.hits, caption.n) == (6, 8) and caption.low < 0.75 < caption.high
    assert "6 of 8 generated images are copies" in finding.reason


def test_a_copy_from_the_embedding_only_needs_score_and_rate() -> None:
    findings = conclude(
        [
            measurement("both", 2.0, [COPY] * 8, [MISS] * 8),
            measurement("rate only", 0.1, [COPY] * 8, [MISS] * 8),
            measurement("score only", 2.0, [MISS] * 8, [MISS] * 8),
            measurement("neither", 0.1, [MISS] * 8),
        ],
        evidence(),
    )
    assert {name: f.verdict for name, f in findings.items()} == {
        "both": Verdict.REPLICATED_BY_INVERSION,
        "rate only": Verdict.NOT_REPRODUCED,
        "score only": Verdict.ATYPICAL,
        "neither": Verdict.NOT_REPRODUCED,
    }
    assert "pass the copy thresholds" in findings["rate only"].reason
    assert "below" in findings["neither"].reason and isinstance(findings["neither"].rung, Skipped)


def test_both_legs_must_agree() -> None:
    [finding] = decide([measurement("a", 2.0, [(0.99, 0.5)] * 8, [(0.99, 0.5)] * 8)], evidence())
    assert finding.verdict is Verdict.ATYPICAL and all(r.hits == 0 for r in finding.replication)


def test_controls_that_are_forced_raise_the_bar() -> None:
    calm = Evidence(bank(199), PROTOCOL, Policy())
    forced = Evidence(bank(199, forced=20), PROTOCOL, Policy())
    near = measurement("a", 2.0, [(0.96, 0.09)] * 8)
    assert decide([near], calm)[0].verdict is Verdict.REPLICATED_BY_INVERSION
    assert decide([near], forced)[0].verdict is Verdict.ATYPICAL


def test_too_few_controls_or_none_are_inconclusive() -> None:
    target = measurement("a", 2.0, [COPY] * 8, [MISS] * 8)
    decision = FolderDecision([target], evidence(10))
    [few] = conclude_folder(decision)
    assert few.verdict is Verdict.INCONCLUSIVE and "10 controls cannot give a p-value" in few.reason
    assert [alarm.code for alarm in decision.alarms] == [AlarmCode.TOO_FEW_CONTROLS]
    none = decide([target], Evidence(None, PROTOCOL, Policy()))[0]
    assert none.verdict is Verdict.INCONCLUSIVE and isinstance(none.p_value, Skipped)


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
    look_alike = best.copy()
    look_alike[3, 4:30] = 0.995
    crossed = CrossMatches([target.id for target in targets], look_alike)
    findings = conclude(targets, evidence(cross_matches={Rung.CAPTION: crossed}))
    assert findings["t0"].verdict is Verdict.NOT_REPRODUCED


def test_an_image_is_no_control_for_itself() -> None:
    own = measurement("control 198", 0.995, [MISS] * 8)
    p_value = decide([own], evidence())[0].p_value
    assert p_value == pytest.approx(1 / 199)


def test_a_bank_without_captions_judges_captions_by_the_controls_embeddings() -> None:
    with_none = Evidence(bank(199, captions=False), PROTOCOL, Policy())
    finding = decide([measurement("a", 2.0, [COPY] * 8, [COPY] * 8)], with_none)[0]
    assert finding.replication[0].null_rung is Rung.EMBEDDING
    assert finding.verdict is Verdict.REPLICATED and finding.rung is Rung.CAPTION


def test_invalid_frames_are_counted_and_never_scored() -> None:
    finding = decide([measurement("a", 0.1, [MISS] * 5, invalid=3)], evidence())[0]
    assert (finding.replication[-1].n, finding.replication[-1].invalid) == (5, 3)
    assert any("3 generated image(s) were unusable" in alarm.message for alarm in finding.alarms)
    nothing = decide([measurement("a", 0.1, [], invalid=8)], evidence())[0]
    assert isinstance(nothing.best_replica, Skipped) and nothing.replication[-1].n == 0


def test_with_several_scales_the_rate_comes_from_seeds_that_chose_nothing() -> None:
    config = GenerationConfig(seeds=5, selection_seeds=2, guidance_scales=(1.0, 3.0))
    protocol = Protocol(generation=config)
    replicas = rung([MISS] * 7).replicas
    scales = (1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0)
    replicas = [r.model_copy(update={"guidance_scale": s}) for r, s in zip(replicas, scales, strict=True)]
    measured = rung([]).model_copy(update={"replicas": replicas})
    flags = [True, True, True, True, False, False, True]
    assert measure_hit_rate(measured, protocol, flags) == (3.0, 3, 1, 0.975)


def test_near_duplicates_raise_an_alarm() -> None:
    target = measurement("a", 0.1, [MISS] * 8)
    finding = decide([target], evidence(near_duplicates={target.id: [("b", 0.95)]}))[0]
    assert finding.near_duplicates[0].id == "b" and any(
        "counted as one work" in alarm.message for alarm in finding.alarms
    )


def test_false_discoveries_over_simulated_folders_stay_at_the_level() -> None:
    generator = np.random.default_rng(0)
    proportions = []
    for _ in range(60):
        folder_bank = bank(199)
        folder_bank = folder_bank.model_copy(
            update={"controls": [c.model_copy(update={"log_ratio": float(v)}) for c, v in
                                 zip(folder_bank.controls, generator.normal(size=199), strict=True)]}
        )  # fmt: skip
        values = [*generator.normal(6, 1, 10), *generator.normal(size=20)]
        folder = [measurement(f"t{n}", float(v), [COPY] * 8) for n, v in enumerate(values)]
        findings = decide(folder, Evidence(folder_bank, PROTOCOL, Policy()))
        found = [finding.verdict is Verdict.REPLICATED_BY_INVERSION for finding in findings]
        proportions.append(sum(found[10:]) / max(1, sum(found)))
        assert sum(found[:10]) >= 8
    assert np.mean(proportions) <= 0.05 + 3 * np.std(proportions) / np.sqrt(60)


def test_a_folder_too_small_for_coincidence_is_judged_by_its_controls() -> None:
    targets = [measurement(name, 2.0, [COPY] * 8, [COPY] * 8) for name in ("a", "b")]
    crossed = CrossMatches([t.id for t in targets], np.array([[0.99, 0.2], [0.2, 0.99]]))
    findings = decide(targets, evidence(cross_matches={Rung.CAPTION: crossed}))
    assert {finding.verdict for finding in findings} == {Verdict.REPLICATED}
    coincidence = findings[0].replication[0].coincidence_p_value
    assert isinstance(coincidence, Skipped) and "too few" in coincidence.skipped
