from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_folder, decide
from imgaudit.schema.findings import AlarmCode, Finding, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Rung, Skipped
from tests.support.records import PROTOCOL, bank, measurement

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


def test_copies_from_the_embedding_stand_with_and_without_the_score() -> None:
    findings = conclude(
        [
            measurement("both", 2.0, [COPY] * 8, [MISS] * 8),
            measurement("rate only", 0.1, [COPY] * 8, [MISS] * 8),
            measurement("score only", 2.0, [MISS] * 8, [MISS] * 8),
            measurement("neither", 0.1, [MISS] * 8, [MISS] * 8),
        ],
        evidence(),
    )
    assert {name: f.verdict for name, f in findings.items()} == {
        "both": Verdict.REPLICATED_BY_INVERSION,
        "rate only": Verdict.REPLICATED_BY_INVERSION,
        "score only": Verdict.ATYPICAL,
        "neither": Verdict.NOT_REPRODUCED,
    }
    assert "the 95 % interval of the rate of copies ends at 36.9%" in findings["neither"].reason
    assert isinstance(findings["neither"].rung, Skipped)


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


def test_invalid_frames_are_counted_and_never_scored() -> None:
    finding = decide([measurement("a", 0.1, [MISS] * 5, invalid=3)], evidence())[0]
    assert (finding.replication[-1].n, finding.replication[-1].invalid) == (5, 3)
    assert any("3 generated image(s) were unusable" in alarm.message for alarm in finding.alarms)
    nothing = decide([measurement("a", 0.1, [], invalid=8)], evidence())[0]
    assert isinstance(nothing.best_replica, Skipped) and nothing.replication[-1].n == 0


def test_near_duplicates_raise_an_alarm() -> None:
    target = measurement("a", 0.1, [MISS] * 8)
    finding = decide([target], evidence(near_duplicates={target.id: [("b", 0.95)]}))[0]
    assert finding.near_duplicates[0].id == "b" and any(
        "counted as one work" in alarm.message for alarm in finding.alarms
    )
