"""Decisions over a whole folder: near-duplicates, text rungs, error rates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_folder, decide
from imgaudit.schema.findings import Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Effort, protocol_for
from imgaudit.schema.records import Measurement, Rung
from tests.support.records import PROTOCOL, bank, measurement, rung

COPY, MISS = (0.99, 0.05), (0.4, 0.4)


def decision(targets: Sequence[Measurement], null: NullBank | None, **options: Any) -> FolderDecision:
    policy = options.pop("policy", Policy())
    return FolderDecision(targets, Evidence(null, PROTOCOL, policy, **options))


def test_near_duplicates_count_once_and_a_member_stands_only_with_its_representative() -> None:
    strong = [measurement(f"s{n}", 2.0, [COPY] * 8) for n in range(3)]
    weak = measurement("w", 0.2, [COPY] * 8)
    pairs = {strong[0].id: [(weak.id, 0.95)], weak.id: [(strong[0].id, 0.95)]}
    led_by_weak = decision([*strong, weak], bank(199), near_duplicates=pairs, groups=[[weak.id, strong[0].id]])
    assert led_by_weak.hypotheses == 3
    verdicts = {f.id: f.verdict for f in conclude_folder(led_by_weak)}
    assert verdicts[strong[0].id] is Verdict.NOT_REPRODUCED
    assert verdicts[strong[1].id] is Verdict.REPLICATED_BY_INVERSION
    led_by_strong = decision([*strong, weak], bank(199), near_duplicates=pairs, groups=[[strong[0].id, weak.id]])
    verdicts = {f.id: f.verdict for f in conclude_folder(led_by_strong)}
    assert verdicts[strong[0].id] is Verdict.REPLICATED_BY_INVERSION and verdicts[weak.id] is Verdict.NOT_REPRODUCED
    separate = decision(
        [*strong, weak], bank(199), groups=[[weak.id, strong[0].id]], policy=Policy(near_duplicates="separate")
    )
    assert separate.hypotheses == 4


def test_a_text_may_come_from_any_rung_and_pays_for_their_number() -> None:
    target = measurement("a", 0.1, [MISS] * 8, [COPY] * 8)
    both = target.model_copy(update={"rungs": target.rungs | {Rung.PROMPT: rung([MISS] * 8, "p")}})
    one, two = (decision([t], bank(199)).replications[t.id] for t in (target, both))
    assert two[1].q_value == pytest.approx(2 * one[0].q_value)  # type: ignore[operator]
    assert one[0].stands and two[1].stands and not two[0].stands


def test_thorough_pays_at_two_looks() -> None:
    assert protocol_for(Effort.THOROUGH).generation.selection_seeds == 32
    assert Rung.PARAPHRASE.value in protocol_for(Effort.STANDARD).ladder.rungs


def evidence(count: int = 199, **options: object) -> Evidence:
    return Evidence(bank(count), PROTOCOL, Policy(), **options)  # type: ignore[arg-type]


def test_an_image_is_no_control_for_itself() -> None:
    own = measurement("control 198", 0.995, [MISS] * 8)
    p_value = decide([own], evidence())[0].p_value
    assert p_value == pytest.approx(1 / 199)


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
