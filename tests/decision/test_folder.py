"""Decisions over a whole folder: near-duplicates, text rungs, error rates."""

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imgaudit.decision.controls import ControlSeed
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_folder, decide
from imgaudit.schema.findings import Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Effort, protocol_for
from imgaudit.schema.records import Measurement, Rung, RungMeasurement
from tests.support.records import PROTOCOL, bank, measurement, rung

COPY, FAR, MISS = (0.99, 0.05), (0.2, 0.5), (0.4, 0.4)


def decision(targets: Sequence[Measurement], null: NullBank | None, **options: Any) -> FolderDecision:
    policy = options.pop("policy", Policy())
    return FolderDecision(targets, Evidence(null, PROTOCOL, policy, **options))


def test_near_duplicates_count_once_and_a_member_stands_only_with_its_representative() -> None:
    strong = [measurement(f"s{n}", 2.0, [COPY] * 8) for n in range(3)]
    weak = measurement("w", 0.2, [FAR] * 8)
    pairs = {strong[0].id: [(weak.id, 0.95)], weak.id: [(strong[0].id, 0.95)]}
    led_by_weak = decision([*strong, weak], bank(199), near_duplicates=pairs, groups=[[weak.id, strong[0].id]])
    assert led_by_weak.hypotheses == 3
    verdicts = {f.id: f.verdict for f in conclude_folder(led_by_weak)}
    assert verdicts[strong[0].id] is Verdict.INCONCLUSIVE
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
    one, two = (decision([t], bank(199)).replications(t) for t in (target, both))
    assert two[1].q_value == pytest.approx(2 * one[0].q_value)  # type: ignore[operator]
    assert one[0].stands and two[1].stands and not two[0].stands


def test_claims_share_one_level_over_the_folder() -> None:
    """Text, inversion, part and score have one test per image: no verdict against the controls without its q-value."""
    targets = [
        measurement(f"t{n}", 0.1 * n, [COPY] * n + [MISS] * (8 - n), [COPY] * (n % 3) + [MISS] * 6) for n in range(8)
    ]
    decided = decision(targets, bank(199))
    for finding in conclude_folder(decided):
        stands_out = finding.q_value <= 0.05  # type: ignore[operator]
        assert (finding.verdict in (Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE)) is not stands_out


def test_with_ten_prompts_an_image_pays_for_each() -> None:
    """The controls were asked with one caption, so ten prompts are ten chances."""
    asked = measurement("a", 0.1, [FAR] * 8, [(0.82, 0.25)] + [FAR] * 7)
    captions = asked.rungs[Rung.CAPTION]
    assert isinstance(captions, RungMeasurement)
    replicas = [replace(one, text=n) for n, one in enumerate(captions.replicas)]
    many = captions.model_copy(update={"texts": [f"text {n}" for n in range(8)], "replicas": replicas})
    ten = asked.model_copy(update={"rungs": asked.rungs | {Rung.CAPTION: many}})
    one_text, eight_texts = (decision([t], bank(199)).replications(t)[0].p_value for t in (asked, ten))
    assert eight_texts == pytest.approx(8 * one_text)  # type: ignore[operator]


def test_thorough_pays_at_two_looks() -> None:
    assert protocol_for(Effort.THOROUGH).generation.selection_seeds == 32
    assert Rung.PARAPHRASE.value in protocol_for(Effort.STANDARD).ladder.rungs


def evidence(count: int = 199, **options: object) -> Evidence:
    return Evidence(bank(count), PROTOCOL, Policy(), **options)  # type: ignore[arg-type]


def test_an_image_is_no_control_for_itself() -> None:
    own = measurement("control 198", 0.995, [COPY] * 8)
    p_value = decide([own], evidence())[0].p_value
    assert p_value == pytest.approx(1 / 199)


def test_false_discoveries_over_simulated_folders_stay_at_the_level() -> None:
    generator = np.random.default_rng(0)
    proportions = []
    for _ in range(60):
        folder_bank = bank(199)
        forced = {Rung.EMBEDDING: [ControlSeed(similarity=COPY[0], distance=COPY[1], guidance_scale=3.0)] * 8}
        scores = generator.normal(size=199)
        controls = [
            c.model_copy(update={"log_ratio": float(v), "rungs": forced if n % 25 == 0 else c.rungs})
            for n, (c, v) in enumerate(zip(folder_bank.controls, scores, strict=True))
        ]
        folder_bank = folder_bank.model_copy(update={"controls": controls})
        values = [*generator.normal(6, 1, 10), *generator.normal(size=20)]
        folder = [
            measurement(f"t{n}", float(v), [COPY] * 8 if n < 10 or n % 25 == 0 else [MISS] * 8)
            for n, v in enumerate(values)
        ]
        findings = decide(folder, Evidence(folder_bank, PROTOCOL, Policy()))
        found = [finding.verdict is Verdict.REPLICATED_BY_INVERSION for finding in findings]
        proportions.append(sum(found[10:]) / max(1, sum(found)))
        assert sum(found[:10]) >= 8
    assert np.mean(proportions) <= 0.05 + 3 * np.std(proportions) / np.sqrt(60)


def test_memory_does_not_grow_with_generated_images() -> None:
    """Measurements can be made anew for each walk; of what was generated for an image, nothing is kept."""

    class Made(Sequence[Measurement]):
        def __init__(self, misses: int) -> None:
            self.misses = misses

        def __len__(self) -> int:
            return 20

        def __getitem__(self, place: Any) -> Any:
            return measurement(f"t{place}", 0.1 * (place % 9), [COPY, *[MISS] * self.misses], [MISS] * self.misses)

        def __iter__(self) -> Iterator[Measurement]:
            return (self[place] for place in range(len(self)))

    def peak(count: int) -> tuple[int, FolderDecision]:
        tracemalloc.start()
        try:
            decided = decision(Made(count), null)
            return tracemalloc.get_traced_memory()[1], decided
        finally:
            tracemalloc.stop()

    null = bank(99)
    peak(8)
    (few, of_few), (many, _) = peak(8), peak(40)
    # One record of 80 images, and what is made of it, is in memory at a time; those of 20 would take 2 MB more.
    assert many - few < 400_000
    assert conclude_folder(of_few) == conclude_folder(decision(list(Made(8)), null))
